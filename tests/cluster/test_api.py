"""Every route and every status of the HTTP API, against each replica in turn."""

import itertools
import json
import shutil
import subprocess

import pytest

import api
import cluster as clusters

U64_MAX = 2**64 - 1


@pytest.fixture(params=[1, 2, 3])
def replica(shared, request):
    """Leader and followers have to answer the same."""
    return shared[request.param]


@pytest.fixture
def name(request):
    """A name nobody else uses."""
    return f"{request.node.nodeid}/{next(_counter)}"


_counter = itertools.count()


def check_entry(answer, name, node_id, process_id, env_id=1):
    entry = check_removed(answer, name, node_id, process_id, env_id)
    assert answer.headers["ETag"] == f'"{entry["revision"]}"'
    return entry


def check_removed(answer, name, node_id, process_id, env_id=1):
    """The same without an ETag: there is nothing left to make a condition of."""
    entry = answer.json()
    assert list(entry)[:2] == ["node_id", "process_id"]
    assert (entry["name"], entry["env_id"]) == (name, env_id)
    assert (entry["node_id"], entry["process_id"]) == (node_id, process_id)
    return entry


def check_problem(answer, status, code):
    assert answer.status == status, answer
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    assert problem["code"] == code
    assert problem["message"] and problem["detail"] and problem["title"] and problem["type"]
    return problem


# --- The three routes ---------------------------------------------------------


def test_put_get_remove(replica, name):
    with replica.api() as a:
        check_problem(a.get(name), 404, "process_not_found")
        created = a.put(name, 3, 42)
        assert created.status == 201
        entry = check_entry(created, name, 3, 42)
        assert created.revision == entry["revision"]
        assert created.headers["Callsign-Served-By"] == str(replica.id)
        found = a.get(name)
        assert found.status == 200
        assert check_entry(found, name, 3, 42) == entry
        assert found.revision >= entry["revision"]
        removed = a.remove(name)
        assert removed.status == 200
        assert check_removed(removed, name, 3, 42) == entry
        assert removed.revision > entry["revision"]
        check_problem(a.get(name), 404, "process_not_found")
        check_problem(a.remove(name), 404, "process_not_found")


def test_written_anywhere_is_read_anywhere(shared, name):
    for i, (writer, reader) in enumerate(itertools.product(shared, shared)):
        with writer.api() as w, reader.api() as r:
            assert w.put(name, writer.id, i).status in (200, 201)
            check_entry(r.get(name), name, writer.id, i)
            assert r.remove(name).status == 200
            assert w.get(name).status == 404


def test_replace_and_repeat(replica, name):
    with replica.api() as a:
        first = a.put(name, 1, 1).json()
        again = a.put(name, 1, 1)
        assert again.status == 200 and again.json() == first
        other = a.put(name, 1, 2)
        assert other.status == 200
        assert other.json()["revision"] > first["revision"]


def test_put_with_the_name_in_the_path(replica, name):
    with replica.api() as a:
        target = f"/api/registry/{api.quote(name)}"
        assert a.request("PUT", target, {"node_id": 1, "process_id": 2}).status == 201
        same = {"name": name, "node_id": 1, "process_id": 2}
        assert a.request("PUT", target, same).status == 200
        other = {"name": name + "x", "node_id": 1, "process_id": 2}
        assert a.request("PUT", target, other).status == 400
        check_entry(a.get(name), name, 1, 2)


def test_name_in_the_query(replica, name):
    with replica.api() as a:
        a.put(name, 1, 2)
        target = f"/api/registry?name={api.quote(name)}"
        check_entry(a.request("GET", target), name, 1, 2)
        assert a.request("HEAD", target).status == 200
        assert a.request("DELETE", target).status == 200
        check_problem(a.request("GET", target), 404, "process_not_found")


def test_head(replica, name):
    with replica.api() as a:
        a.put(name, 1, 2)
        found = a.request("HEAD", f"/api/registry/{api.quote(name)}")
        assert (found.status, found.body) == (200, b"")
        assert found.headers["ETag"]
        assert a.request("HEAD", f"/api/registry/{api.quote(name + 'x')}").status == 404


def test_environments_are_apart(replica, name):
    with replica.api() as a:
        for env in (0, 1, 2, U64_MAX):
            assert a.put(name, 1, env, env_id=env).status == 201
        for env in (0, 1, 2, U64_MAX):
            check_entry(a.get(name, f"env_id={env}"), name, 1, env, env)
        check_entry(a.get(name), name, 1, 1, 1)
        assert a.remove(name, "env_id=2").status == 200
        assert a.get(name, "env_id=2").status == 404
        assert a.get(name, "env_id=0").status == 200


def test_environment_of_two_sources(replica, name):
    with replica.api() as a:
        body = {"name": name, "node_id": 1, "process_id": 2, "env_id": 7}
        assert a.request("POST", "/api/registry?env_id=7", body).status == 201
        assert a.request("POST", "/api/registry?env_id=8", body).status == 400
        assert a.get(name, "env_id=8").status == 404


# --- Conditions and guards ----------------------------------------------------


def test_if_none_match(replica, name):
    with replica.api() as a:
        free = {"If-None-Match": "*"}
        assert a.put(name, 1, 1, free).status == 201
        problem = check_problem(a.put(name, 2, 2, free), 412, "name_taken")
        assert (problem["current"]["node_id"], problem["current"]["process_id"]) == (1, 1)
        assert problem["current"]["name"] == name
        check_problem(a.put(name, 1, 1, free), 412, "name_taken")


def test_if_match(replica, name):
    with replica.api() as a:
        check_problem(a.put(name, 1, 1, {"If-Match": '"1"'}), 412, "precondition_failed")
        revision = a.put(name, 1, 1).json()["revision"]
        old = {"If-Match": f'"{revision}"'}
        assert a.put(name, 1, 2, old).status == 200
        problem = check_problem(a.put(name, 1, 3, old), 412, "precondition_failed")
        assert problem["current"]["process_id"] == 2
        check_problem(a.remove(name, headers=old), 412, "precondition_failed")
        new = {"If-Match": a.get(name).headers["ETag"]}
        assert a.remove(name, headers=new).status == 200


def test_remove_guarded_by_owner(replica, name):
    with replica.api() as a:
        a.put(name, 1, 2)
        problem = check_problem(a.remove(name, "node_id=1&process_id=3"), 409, "not_owner")
        assert problem["current"]["process_id"] == 2
        assert a.remove(name, "node_id=1").status == 400
        assert a.get(name).status == 200
        assert a.remove(name, "node_id=1&process_id=2").status == 200
        assert a.remove(name, "node_id=1&process_id=2").status == 404


def test_not_modified(replica, name):
    with replica.api() as a:
        etag = a.put(name, 1, 2).headers["ETag"]
        target = f"/api/registry/{api.quote(name)}"
        same = a.request("GET", target, headers={"If-None-Match": etag})
        assert (same.status, same.body) == (304, b"")
        a.put(name, 1, 3)
        assert a.request("GET", target, headers={"If-None-Match": etag}).status == 200


@pytest.mark.parametrize("headers", [
    {"If-Match": "7"}, {"If-Match": 'W/"7"'}, {"If-Match": '"x"'}, {"If-Match": '"-1"'},
    {"If-Match": '"18446744073709551616"'}, {"If-Match": '"1", "2"'}, {"If-Match": ""},
    {"If-None-Match": '"7"'}, {"If-None-Match": "*", "If-Match": '"7"'},
])
def test_malformed_conditions(replica, name, headers):
    with replica.api() as a:
        assert a.put(name, 1, 2, headers).status == 400
        assert a.get(name).status == 404


# --- Reads --------------------------------------------------------------------


def test_consistency(shared, name):
    with shared[1].api() as a:
        revision = a.put(name, 1, 2).revision
    for replica in shared:
        with replica.api() as a:
            fresh = a.get(name, f"at_least={revision}")
            assert fresh.status == 200 and fresh.revision >= revision
            stale = a.get(name, "consistency=stale")
            assert stale.status == 200  # at_least came before it
            assert int(stale.headers["Callsign-Staleness-Ms"]) < 60000
            assert a.get(name, "consistency=linearizable").status == 200


def test_a_revision_that_is_not_there_yet(replica, name):
    with replica.api() as a:
        answer = a.get(name, f"at_least={U64_MAX}")
        check_problem(answer, 503, "not_caught_up")
        assert answer.headers["Retry-After"]


@pytest.mark.parametrize("query", [
    "consistency=eventual", "consistency=", "at_least=x", "at_least=-1", "env_id=", "env_id=x",
    "env_id=18446744073709551616", "env_id=1&env_id=1", "bogus=1", "node_id=1&process_id=2",
    "consistency=stale&at_least=1", "env_id=%31%",
])
def test_malformed_queries(replica, name, query):
    with replica.api() as a:
        a.put(name, 1, 2)
        answer = a.get(name, query)
        assert answer.status == 400, answer


# --- Bodies -------------------------------------------------------------------


@pytest.mark.parametrize("body", [
    b"", b"{", b"[]", b"null", b'"x"', b"{}", b'{"name":"n"}', b'{"name":"n","node_id":1}',
    b'{"node_id":1,"process_id":2}', b'{"name":"n","node_id":1,"process_id":2} x',
    b'{"name":"n","node_id":1,"process_id":2,}', b"{'name':'n','node_id':1,'process_id':2}",
    b'{"name":"n","name":"n","node_id":1,"process_id":2}',
    b'{"name":"n","node_id":1,"n\\u006fde_id":1,"process_id":2}',
    b'{"name":7,"node_id":1,"process_id":2}', b'{"name":null,"node_id":1,"process_id":2}',
    b'{"name":"","node_id":1,"process_id":2}', b'{"name":"a\\u0000b","node_id":1,"process_id":2}',
    b'{"name":"\xff","node_id":1,"process_id":2}', b'{"name":"\\ud800","node_id":1,"process_id":2}',
    b'{"name":"a\nb","node_id":1,"process_id":2}',
    b'\xef\xbb\xbf{"name":"n","node_id":1,"process_id":2}',
    b'{"name":"n","node_id":1,"process_id":2,"x":[[[[[[[[[1]]]]]]]]]}',
    b'{"name":"n","node_id":1,"process_id":2,"x":tru}',
    b'{"name":"n","node_id":1,"process_id":2,"env_id":"x"}',
    b'{"name":"n","node_id":1,"process_id":2,"env_id":null}',
])
def test_malformed_bodies(replica, body):
    with replica.api() as a:
        answer = a.request("POST", "/api/registry", body)
        assert answer.status == 400, answer
        assert answer.code


def test_members_nobody_knows_are_ignored(replica, name):
    with replica.api() as a:
        assert a.put(name, 1, 2, tags=[1, {"a": None}], x="y").status == 201


@pytest.mark.parametrize("kind", [None, "application/json", "application/x-www-form-urlencoded",
                                  "text/plain; charset=latin1", "nonsense"])
def test_any_content_type(replica, name, kind):
    with replica.api() as a:
        assert a.put(name, 1, 2, {"Content-Type": kind} if kind else {}).status == 201


# --- Other routes -------------------------------------------------------------


def test_cluster(shared):
    leader = shared.leader()
    for replica in shared:
        answer = replica.ask("GET", "/api/cluster")
        assert answer.status == 200
        state = answer.json()
        assert state["id"] == replica.id
        assert state["leader"] == leader.id
        assert state["health"] == "ok" and state["why"] == ""
        assert state["applied_index"] <= state["commit_index"]
        assert sorted(m["id"] for m in state["members"]) == [1, 2, 3]
        for member in state["members"]:
            assert member["role"] == "voter"
            assert member["peer_address"] == shared[member["id"]].peer_address
            assert member["http_address"] == f"{api.HOST}:{shared[member['id']].http_port}"
            assert member["leader"] == (member["id"] == leader.id)


def test_health(replica):
    for target in ("/livez", "/readyz"):
        assert replica.ask("GET", target).status == 200
        assert replica.ask("HEAD", target).body == b""


def test_version(replica):
    version = replica.ask("GET", "/version").json()
    assert version["version"] and version["raft"] and version["libmicrohttpd"]
    shown = clusters.run(clusters.DAEMON, "--version").stdout
    assert version["version"] in shown


def test_metrics(replica, name):
    with replica.api() as a:
        before = a.metric("callsign_commands_applied_total")
        revision = a.put(name, 1, 2).revision
        a.get(name)
        assert a.metric("callsign_commands_applied_total") > before
        assert a.metric("callsign_revision") >= revision
        text = a.request("GET", "/metrics")
        assert text.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    names = set()
    for line in text.body.decode().splitlines():
        if not line.startswith("#"):
            names.add(line.split("{")[0].split()[0])
            float(line.rpartition(" ")[2])
    assert all(n.startswith(("callsign_", "process_")) for n in names)
    for part in ("http_requests_total", "http_request_duration_seconds_bucket", "is_leader"):
        assert "callsign_" + part in names


def test_no_such_route(replica):
    with replica.api() as a:
        for target in ("/index.html", "/api", "/api/", "/api/registryx", "/api/cluster/",
                       "/apix/registry/a", "/livez/x", "//api/cluster", "/API/cluster"):
            check_problem(a.request("GET", target), 404, "route_not_found")


@pytest.mark.parametrize("method,target,allowed", [
    ("POST", "/api/registry/n", {"GET", "HEAD", "PUT", "DELETE", "OPTIONS"}),
    ("PATCH", "/api/registry/n", {"GET", "HEAD", "PUT", "DELETE", "OPTIONS"}),
    ("PUT", "/api/registry", {"GET", "HEAD", "POST", "DELETE", "OPTIONS"}),
    ("POST", "/api/cluster", {"GET", "HEAD", "OPTIONS"}),
    ("DELETE", "/livez", {"GET", "HEAD", "OPTIONS"}),
])
def test_methods(replica, method, target, allowed):
    with replica.api() as a:
        refused = a.request(method, target)
        check_problem(refused, 405, "method_not_allowed")
        assert {m.strip() for m in refused.headers["Allow"].split(",")} == allowed
        options = a.request("OPTIONS", target)
        assert options.status == 204
        assert {m.strip() for m in options.headers["Allow"].split(",")} == allowed


# --- HTTP manners -------------------------------------------------------------


def test_limits(replica):
    with replica.api() as a:
        assert a.request("GET", "/api/registry/" + "a" * 9000).status == 414
    with replica.api() as a:
        assert a.request("GET", "/livez", headers={"X": "a" * 40000}).status == 431
    with replica.api() as a:
        body = {"name": "n", "node_id": 1, "process_id": 2, "x": "a" * 70000}
        check_problem(a.request("POST", "/api/registry", body), 413, "body_too_large")
    with replica.api() as a:
        body["x"] = "a" * 60000
        assert a.request("POST", "/api/registry", body).status in (200, 201)


def test_keep_alive_and_pipelining(replica, name):
    many = [api.post_bytes(f"{name}/{i}", 1, i) for i in range(200)]
    many += [f"GET /api/registry/{api.quote(f'{name}/{i}')} HTTP/1.1\r\nHost: a\r\n\r\n".encode()
             for i in range(200)]
    answers = list(api.pipeline(replica.http_port, many, window=50))
    assert [a.status for a in answers] == [201] * 200 + [200] * 200
    assert [a.json()["process_id"] for a in answers] == [*range(200), *range(200)]


def test_chunked_body(replica, name):
    body = json.dumps({"name": name, "node_id": 1, "process_id": 2}).encode()
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
    answer = api.raw(replica.http_port, b"POST /api/registry HTTP/1.1\r\nHost: a\r\n"
                     b"Transfer-Encoding: chunked\r\n\r\n" + chunks)
    assert answer.status == 201
    check_entry(answer, name, 1, 2)


def test_expect_continue(replica, name):
    body = json.dumps({"name": name, "node_id": 1, "process_id": 2}).encode()
    with api.connect(replica.http_port) as sock, sock.makefile("rb") as stream:
        sock.sendall(b"POST /api/registry HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n"
                     b"Content-Length: %d\r\n\r\n" % len(body))
        assert stream.readline().split()[1] == b"100"
        assert stream.readline() == b"\r\n"
        sock.sendall(body)
        assert api.read_answer(stream).status == 201


def test_a_client_that_half_closes_is_answered(replica):
    with api.connect(replica.http_port) as sock, sock.makefile("rb") as stream:
        sock.sendall(b"GET /api/cluster HTTP/1.1\r\nHost: a\r\n\r\n")
        sock.shutdown(1)
        assert api.read_answer(stream).status == 200


@pytest.mark.parametrize("request_bytes,statuses", [
    (b"GET /livez HTTP/1.1\r\n\r\n", {400}),
    (b"GET /livez HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", {400}),
    (b"POST /api/registry HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
     {400}),
    (b"POST /api/registry HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n"
     b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", {400}),
    (b"POST /api/registry HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
     {400, 501}),
    (b"POST /api/registry HTTP/1.1\r\nHost: a\r\nContent-Length : 2\r\n\r\n{}", {400}),
    (b"POST /api/registry HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", {400, 413}),
    (b"POST /api/registry HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n",
     {400, 413}),
    (b"FROB /livez HTTP/1.1\r\nHost: a\r\n\r\n", {400, 405, 501}),
    (b"GET /livez HTTP/9.9\r\nHost: a\r\n\r\n", {400, 505}),
    (b"GET /api/registry/%00 HTTP/1.1\r\nHost: a\r\n\r\n", {400}),
    (b"GET /api/registry/%zz HTTP/1.1\r\nHost: a\r\n\r\n", {400}),
    (b"GET /api/registry/%ff HTTP/1.1\r\nHost: a\r\n\r\n", {400}),
    (b"GET /api/registry/%f HTTP/1.1\r\nHost: a\r\n\r\n", {400}),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", {400}),
])
def test_hostile_requests(replica, request_bytes, statuses):
    answer = api.raw(replica.http_port, request_bytes)
    assert answer is None or answer.status in statuses, answer
    assert replica.ask("GET", "/livez").status == 200


def test_the_three_calls_by_curl(shared, name):
    """As docs/api.md has them, with what curl adds by itself."""
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("curl is not installed")
    for replica in shared:
        base = f"http://{api.HOST}:{replica.http_port}/api/registry"
        body = json.dumps({"name": name, "node_id": 3, "process_id": 42})

        def call(*arguments):
            out = subprocess.run([curl, "-sS", "-w", "\n%{http_code}", *arguments], check=True,
                                 capture_output=True, text=True, timeout=20).stdout
            text, _, status = out.rpartition("\n")
            return int(status), json.loads(text)

        status, entry = call("-d", body, base)
        assert status == 201 and (entry["node_id"], entry["process_id"]) == (3, 42)
        assert call(f"{base}/{api.quote(name)}") == (200, entry)
        assert call("-X", "DELETE", f"{base}/{api.quote(name)}") == (200, entry)
        assert call(f"{base}/{api.quote(name)}")[0] == 404
