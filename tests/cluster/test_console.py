"""The console page in a real browser: what it shows, that it keeps up, and that
hostile names stay text."""

import os
import shutil

import pytest

import api
import cluster as clusters

CHROMIUM = shutil.which("chromium")
DRIVER = shutil.which("chromedriver")
if CHROMIUM is None or DRIVER is None:
    pytest.skip("chromium and chromium-driver are not installed: tools/install-deps test",
                allow_module_level=True)
webdriver = pytest.importorskip("selenium.webdriver")


@pytest.fixture(scope="module")
def browser():
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("--headless=new", "--disable-gpu", "--disable-dev-shm-usage",
                     "--window-size=1300,1000"):
        options.add_argument(argument)
    if os.geteuid() == 0:
        options.add_argument("--no-sandbox")  # its sandbox refuses root
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.chrome.service.Service(DRIVER, log_path=os.devnull)
    driver = webdriver.Chrome(service=service, options=options)
    yield driver
    driver.quit()


@pytest.fixture
def page(browser, shared):
    """The console of replica 2, empty of what a test before it left."""
    browser.get_log("browser")
    browser.get(f"http://{api.HOST}:{shared[2].http_port}/")
    yield browser
    complaints = [e for e in browser.get_log("browser") if e["level"] in ("SEVERE", "WARNING")]
    assert complaints == [], "errors or violations of the policy in the browser"


def text(page, identifier):
    return page.find_element("id", identifier).text


def rows(page, identifier):
    """The table as the page has it, read in one go: it changes all the time."""
    return page.execute_script(
        "return [...document.getElementById(arguments[0]).rows]"
        ".map(r => [...r.cells].map(c => c.textContent))", identifier)


def owners(page):
    """Names with node and process, as the table of the registry has them."""
    return [row[:3] for row in rows(page, "entries")]


def search(page, env, prefix):
    for identifier, value in (("env", env), ("prefix", prefix)):
        field = page.find_element("id", identifier)
        field.clear()
        field.send_keys(str(value))
    page.find_element("css selector", "#search button").click()
    clusters.eventually("the page watches", lambda: text(page, "stream") == "watching")


def screenshot(page, name):
    """For people, where CALLSIGN_SCREENSHOTS names a folder."""
    folder = os.environ.get("CALLSIGN_SCREENSHOTS")
    if folder:
        page.save_screenshot(os.path.join(folder, name))


def test_the_replicas(page, shared):
    leader = shared.leader().id
    clusters.eventually("the page says ok", lambda: text(page, "health") == "ok")
    table = clusters.eventually("the replicas are there", lambda: rows(page, "members"))
    assert [row[0] for row in table] == ["1", "2", "3"]
    assert [row[0] for row in table if row[2] == "leader"] == [str(leader)]
    assert all(row[1] == "voter" for row in table)
    assert "replica 2 · ok" in page.title


def test_it_keeps_up_with_the_registry(page, shared):
    with shared[1].api() as a, shared[3].api() as other:
        for i in range(3):
            assert a.put(f"live/{i}", 5, 100 + i, env_id=9).status == 201
        assert a.put("elsewhere", 5, 1, env_id=9).status == 201
        search(page, 9, "live/")
        shown = [[f"live/{i}", "5", str(100 + i)] for i in range(3)]
        clusters.eventually("the names are there", lambda: owners(page) == shown)
        assert other.put("live/1", 6, 18446744073709551615, env_id=9).status == 200
        assert other.put("live/3", 7, 1, env_id=9).status == 201
        assert other.remove("live/0", "env_id=9").status == 200
        shown = [["live/1", "6", "18446744073709551615"], ["live/2", "5", "102"],
                 ["live/3", "7", "1"]]
        clusters.eventually("the table keeps up", lambda: owners(page) == shown)
        told = text(page, "events")
        assert "live/1 → 6 / 18446744073709551615 (was 5 / 101)" in told
        assert "live/0 (was 5 / 100)" in told and "elsewhere" not in told
    screenshot(page, "console.png")


def test_a_node_goes_with_its_names(page, shared):
    with shared[1].api() as a:
        assert a.request("PUT", "/api/nodes/77", {"ttl_ms": 600000, "address": "h:1"}).status == 200
        assert a.put("of/77", 77, 1, env_id=11).status == 201
        assert a.put("of/78", 78, 1, env_id=11).status == 201
        search(page, 11, "of/")
        clusters.eventually("the node is there", lambda: ["77", "up", "1", "h:1"] in [
            row[:2] + row[3:] for row in rows(page, "nodes")])
        assert owners(page) == [["of/77", "77", "1"], ["of/78", "78", "1"]]
        assert a.request("DELETE", "/api/nodes/77").status == 200
    clusters.eventually("its names are gone", lambda: owners(page) == [["of/78", "78", "1"]])
    clusters.eventually("it is down", lambda: ["77", "down"] in [
        row[:2] for row in rows(page, "nodes")])
    assert "node 77: 1 names" in text(page, "events")
    assert not page.find_element("id", "token-form").is_displayed()


HOSTILE = ['<img src=x onerror="document.title=\'owned\'">', "</script><script>alert(1)</script>",
           "a\u202eb\n\tc", "&amp;\"'`${7*7}"]


def test_hostile_names_stay_text(page, shared):
    with shared[1].api() as a:
        for name in HOSTILE:
            assert a.put(name, 1, 1, env_id=10).status in (200, 201)
    search(page, 10, "")
    clusters.eventually("all names are there", lambda: sorted(r[0] for r in rows(page, "entries"))
                        == sorted(HOSTILE))
    assert "owned" not in page.title
    assert page.execute_script("return document.querySelectorAll('td img, td script').length") == 0


def test_it_comes_back_after_an_outage(browser, new_cluster):
    one = new_cluster(count=1)
    one.start().wait_ready()
    browser.get(f"http://{api.HOST}:{one[1].http_port}/")
    search(browser, 1, "")
    one[1].kill()
    clusters.eventually("the page says so", lambda: text(browser, "health") == "no answer")
    one[1].start()
    one[1].wait_ready()
    with one[1].api() as a:
        assert a.put("after", 1, 1).status == 201
    clusters.eventually("the page is back", lambda: text(browser, "health") == "ok")
    clusters.eventually("and watches", lambda: owners(browser) == [["after", "1", "1"]])
    browser.get_log("browser")  # the outage left its traces


def test_what_the_page_may_do(shared):
    """Headers of the page and of each of its files; other paths are none of it."""
    files = sorted(p.name for p in (clusters.TOP / "http/console").iterdir())
    assert len(files) > 5
    for target in ["/", *(f"/console/{f}" for f in files)]:
        answer = shared[1].ask("GET", target)
        assert answer.status == 200, target
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] == "no-cache"
        assert answer.headers["Content-Type"].split(";")[0] in (
            "text/html", "text/css", "text/javascript")
    for target in ("/console/x.js", "/console/..%2fopenapi.json", "/console"):
        assert shared[1].ask("GET", target).status == 404, target
    assert shared[1].ask("GET", "/console/").status == 400
