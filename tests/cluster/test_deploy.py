"""What lies in deploy/ works: each file is checked by the program it is for, and
tried where that program runs without a machine of its own."""

import http.client
import json
import os
import re
import shlex
import shutil
import socket
import subprocess

import pytest
import yaml

import api
import cluster as clusters

DEPLOY = clusters.TOP / "deploy"


def needs(program):
    """The path of a program that tools/install-deps installs, or a skip that says so."""
    path = shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:{clusters.TOP}/build/tools")
    return path or pytest.skip(f"{program} is not installed: tools/install-deps test")


def flags_of_the_daemon():
    return set(re.findall(r"--[a-z-]+", clusters.run(clusters.DAEMON, "--help").stdout))


def variables_of_the_daemon():
    return set(re.findall(r"CALLSIGN_[A-Z_]+", (DEPLOY.parent / "docs/operations.md").read_text()))


# --- The service manager ------------------------------------------------------


@pytest.fixture
def managed(folder):
    """A replica under a service manager, and the manager's end of the socket."""
    path = folder / "notify"
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(str(path))
    manager.settimeout(clusters.WAIT_S)
    replica = clusters.Replica(folder, 1)
    replica.wrapper = ["env", f"NOTIFY_SOCKET={path}", "WATCHDOG_USEC=600000"]
    replica.start()
    yield replica, manager
    if replica.running:
        replica.kill()
    manager.close()


def test_it_tells_the_service_manager(managed):
    """READY once it listens, who leads, that it lives, and that it stops."""
    replica, manager = managed
    seen = [manager.recv(4096).decode()]
    assert seen[0] == "READY=1"
    replica.wait_ready()
    while {"WATCHDOG=1", "STATUS=ready, replica 1 leads"} - set(seen):
        seen.append(manager.recv(4096).decode())
    assert replica.terminate() == 0
    while seen[-1] != "STOPPING=1":
        seen.append(manager.recv(4096).decode())


def test_the_watchdog_starves_when_the_core_stands_still(managed):
    replica, manager = managed
    replica.wait_ready()
    replica.pause()
    manager.setblocking(False)
    with pytest.raises(BlockingIOError):
        while True:
            manager.recv(4096)
    manager.settimeout(1.0)
    with pytest.raises(TimeoutError):
        manager.recv(4096)
    replica.resume()
    manager.settimeout(clusters.WAIT_S)
    while manager.recv(4096) != b"WATCHDOG=1":
        pass


def test_the_unit_is_sound(folder):
    analyze = needs("systemd-analyze")
    unit = folder / "callsignd.service"
    text = (DEPLOY / "systemd/callsignd.service").read_text()
    unit.write_text(text.replace("/usr/sbin/callsignd", str(clusters.DAEMON)))
    verified = clusters.run(analyze, "verify", "--man=no", unit)
    ours = [line for line in verified.stderr.splitlines() if "callsignd.service" in line]
    assert verified.returncode == 0 and ours == [], verified.stderr
    judged = clusters.run(analyze, "security", "--offline=yes", "--threshold=20", unit)
    assert judged.returncode == 0, judged.stdout[-300:]


# --- HAProxy ------------------------------------------------------------------


@pytest.fixture
def balanced(new_cluster, folder):
    """A cluster, and the port of the HAProxy in front of it."""
    cluster = new_cluster().start().wait_ready()
    port = clusters.free_port()
    env = {**os.environ, "CALLSIGN_LISTEN": f"{api.HOST}:{port}",
           **{f"CALLSIGN_REPLICA_{r.id}": f"{api.HOST}:{r.http_port}" for r in cluster}}
    with open(folder / "haproxy.log", "wb") as log:
        proxy = subprocess.Popen([needs("haproxy"), "-db", "-f", DEPLOY / "haproxy/haproxy.cfg"],
                                 env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        clusters.eventually("HAProxy serves", lambda: status_through(port, "GET", "/readyz") == 200)
        yield cluster, port
    finally:
        proxy.kill()
        proxy.wait()


def status_through(port, method, target, body=None):
    try:
        with api.Api(port) as a:
            return a.request(method, target, body).status
    except (api.NotSent, api.Lost, http.client.HTTPException):
        return None


def test_haproxy_takes_the_configuration():
    checked = clusters.run(needs("haproxy"), "-c", "-f", DEPLOY / "haproxy/haproxy.cfg")
    assert checked.returncode == 0, checked.stderr
    assert "WARNING" not in checked.stderr and "ALERT" not in checked.stderr


def test_a_replica_killed_behind_haproxy(balanced):
    """Names pass as they are; after the kill everything goes on, and nothing that
    was answered is lost."""
    cluster, port = balanced
    strange = "a//b/../c%2Fd &'<>(x)"
    with api.Api(port) as a:
        assert a.put(strange, 1, 7).status == 201
        found = a.request("GET", "/api/registry/" + api.quote(strange))
        assert (found.status, found.json()["name"]) == (200, strange)
    cluster.leader().kill()
    answered = []

    def wrote_again():
        """Refusals and lost connections in the moment of the kill, then answers."""
        name = f"after/{len(answered)}"
        body = json.dumps({"name": name, "node_id": 2, "process_id": len(answered)})
        status = status_through(port, "POST", "/api/registry", body)
        assert status in (None, 200, 201, 503, 504), status
        if status in (200, 201):
            answered.append(name)
        return len(answered) == 50

    clusters.eventually("writes go on behind HAProxy", wrote_again)
    for name in [strange, *answered]:
        assert status_through(port, "GET", "/api/registry/" + api.quote(name)) == 200


# --- Prometheus and Grafana ---------------------------------------------------


@pytest.fixture(scope="module")
def exposed(shared):
    """A page of metrics, once there was something to count."""
    with shared[1].api() as a:
        assert a.put("metrics", 1, 1).status in (200, 201)
        return a.request("GET", "/metrics").body.decode()


def names_in(text):
    return set(re.findall(r"\b(?:callsign|process)_[a-z_]+", text))


def names_exposed(page):
    return set(re.findall(r"^((?:callsign|process)_[a-z_]+)", page, re.M))


def test_the_metrics_are_as_promtool_wants_them(exposed):
    checked = clusters.run(needs("promtool"), "check", "metrics", input=exposed)
    assert (checked.returncode, checked.stderr) == (0, ""), checked.stderr


def test_the_alerts_say_what_they_should():
    promtool = needs("promtool")
    for arguments in (("check", "rules", "callsign.rules.yaml"),
                      ("test", "rules", "callsign.rules.test.yaml")):
        checked = clusters.run(promtool, *arguments, cwd=DEPLOY / "prometheus")
        assert checked.returncode == 0, checked.stdout + checked.stderr


def test_alerts_and_dashboard_ask_for_metrics_that_exist(exposed):
    rules = yaml.safe_load((DEPLOY / "prometheus/callsign.rules.yaml").read_text())
    expressions = [rule["expr"] for group in rules["groups"] for rule in group["rules"]]
    board = json.loads((DEPLOY / "grafana/callsign.json").read_text())
    expressions += [t["expr"] for panel in board["panels"] for t in panel.get("targets", [])]
    assert len(expressions) > 20
    asked = set().union(*map(names_in, expressions))
    assert asked - names_exposed(exposed) == set()
    tested = (DEPLOY / "prometheus/callsign.rules.test.yaml").read_text()
    for group in rules["groups"]:
        for rule in group["rules"]:
            assert f"alertname: {rule['alert']}\n" in tested, f"{rule['alert']} has no test"


def test_the_dashboard_lies_flat():
    """Panels have ids of their own and do not cover each other."""
    board = json.loads((DEPLOY / "grafana/callsign.json").read_text())
    covered = set()
    assert len({p["id"] for p in board["panels"]}) == len(board["panels"])
    for panel in board["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"])
                 for y in range(at["y"], at["y"] + at["h"])}
        assert not covered & cells, panel["title"]
        covered |= cells


# --- Containers ---------------------------------------------------------------


def kubernetes():
    text = (DEPLOY / "kubernetes/callsign.yaml").read_text()
    return {(o["kind"], o["metadata"]["name"]): o for o in yaml.safe_load_all(text)}


def test_kubernetes_objects_fit_each_other():
    objects = kubernetes()
    stateful = objects["StatefulSet", "callsign"]["spec"]
    peers = objects["Service", "callsign-peers"]["spec"]
    pod = stateful["template"]["spec"]
    labels = stateful["template"]["metadata"]["labels"].items()
    (container,) = pod["containers"]
    assert stateful["serviceName"] == "callsign-peers"
    assert peers["clusterIP"] == "None" and peers["publishNotReadyAddresses"] is True
    assert stateful["podManagementPolicy"] == "Parallel", "they need each other to get ready"
    for kind, name in objects:
        spec = objects[kind, name]["spec"]
        selector = spec.get("selector", spec.get("podSelector", {}))
        assert selector.get("matchLabels", selector).items() <= labels, (kind, name)
    ports = {p["name"]: p["containerPort"] for p in container["ports"]}
    for service in ("callsign", "callsign-peers"):
        for port in objects["Service", service]["spec"]["ports"]:
            assert ports[port["targetPort"]] == port["port"]
    assert objects["PodDisruptionBudget", "callsign"]["spec"]["maxUnavailable"] == 1
    assert container["livenessProbe"]["httpGet"]["path"] == "/livez"
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert {container[p]["httpGet"]["scheme"] for p in (
        "startupProbe", "livenessProbe", "readinessProbe")} == {"HTTPS"}
    claims = [c["metadata"]["name"] for c in stateful["volumeClaimTemplates"]]
    volumes = [v["name"] for v in pod["volumes"]]
    assert [m["name"] for m in container["volumeMounts"]] == claims + volumes


@pytest.mark.parametrize("ordinal", range(3))
def test_kubernetes_starts_replicas_that_know_each_other(folder, ordinal):
    """The very command of the pod, up to the check of its configuration."""
    (container,) = kubernetes()["StatefulSet", "callsign"]["spec"]["template"]["spec"]["containers"]
    shell, option, script = container["command"]
    assert flags_of_the_daemon() >= set(re.findall(r"--[a-z-]+", script))
    script = script.replace("exec callsignd", f"exec {shlex.quote(str(clusters.DAEMON))}")
    checked = clusters.run(shell, option, script + " --check-config",
                           env={**os.environ, "POD_NAME": f"callsign-{ordinal}"})
    assert checked.returncode == 0, checked.stderr
    values = dict(re.findall(r"^([a-z-]+) = (.*)$", checked.stdout, re.M))
    members = dict(m.split("=") for m in values["initial-cluster"].split(","))
    assert values["id"] == str(ordinal + 1)
    assert members[values["id"]] == f"callsign-{ordinal}.callsign-peers:7101"


def test_compose_starts_replicas_that_know_each_other():
    compose = yaml.safe_load((DEPLOY / "container/compose.yaml").read_text())
    published = set()
    assert "CALLSIGN_INSECURE" not in str(compose)
    for name, service in compose["services"].items():
        environment = service["environment"]
        assert set(environment) <= variables_of_the_daemon()
        checked = clusters.run(clusters.DAEMON, "--check-config",
                               env={**os.environ, **environment})
        assert checked.returncode == 0, checked.stderr
        members = dict(m.split("=") for m in environment["CALLSIGN_INITIAL_CLUSTER"].split(","))
        assert members[environment["CALLSIGN_ID"]] == f"{name}:7101"
        assert set(compose["volumes"]) >= {v.split(":")[0] for v in service["volumes"]
                                           if not v.startswith("./")}
        published.update(service["ports"])
    assert len(published) == 3 and all(p.startswith("127.0.0.1:") for p in published)


def longest_pre_stop(pod):
    """Two questions at most, then the pause."""
    script = pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][2]
    return 2 * int(re.search(r"--timeout (\d+)", script)[1]) + int(
        re.search(r"sleep (\d+)", script)[1])


def test_an_end_in_time_of_every_grace_period():
    """SIGTERM takes 10 s at most; whoever waits for it waits longer."""
    unit = (DEPLOY / "systemd/callsignd.service").read_text()
    compose = yaml.safe_load((DEPLOY / "container/compose.yaml").read_text())
    pod = kubernetes()["StatefulSet", "callsign"]["spec"]["template"]["spec"]
    waits = [int(re.search(r"^TimeoutStopSec=(\d+)$", unit, re.M)[1]),
             pod["terminationGracePeriodSeconds"] - longest_pre_stop(pod)]
    waits += [int(s["stop_grace_period"].rstrip("s")) for s in compose["services"].values()]
    assert min(waits) > 10
    assert "STOPSIGNAL SIGTERM" in (DEPLOY / "container/Dockerfile").read_text()
