"""Compose and Kubernetes with TLS and tokens, as far as a machine without either
can tell: what their files say is done, and the daemons are started with exactly
the options the files give, in a tree like the container's."""

import os
import re
import shlex

import pytest
import yaml

import api
import certs
import cluster as clusters

DEPLOY = clusters.TOP / "deploy"
COMPOSE = DEPLOY / "container/compose.yaml"
KUBERNETES = DEPLOY / "kubernetes/callsign.yaml"


def head(path):
    """The commands in the comment on top: its first block that is set in."""
    block = re.search(r"(?:^#   .*\n)+", path.read_text(), re.M)[0]
    return [" ".join(line[1:].split()) for line in block.replace("\\\n#", " ").splitlines()]


def prepare(folder, commands):
    """Certificates and tokens, made as the file says."""
    made = 0
    for command in commands:
        words = shlex.split(command)
        if words[0].endswith("make-certificates"):
            done = clusters.run(certs.SCRIPT, *words[1:], cwd=folder)
        elif words[:3] == ["callsignd", "token", "new"]:
            done = clusters.run(clusters.DAEMON, *words[1:words.index(">")], cwd=folder)
            (folder / words[-1]).write_text(done.stdout)
        else:
            continue
        assert done.returncode == 0, done.stderr
        made += 1
    assert made == 4, "two of certificates, two of tokens"


def copy(source, target):
    """A file that root owns and the daemon's group may read."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(source.read_bytes())
    os.chmod(target, 0o440)


class Contained(clusters.Replica):
    """A replica that is started as in its container; what differs is where the
    tree begins, and the ports, of which one machine has only one of each."""

    def __init__(self, folder, replica_id):
        super().__init__(folder, replica_id)
        self.tree = folder / f"tree-{replica_id}"
        (self.tree / "var/lib/callsignd").mkdir(parents=True)
        self.names = {}  # what other replicas are called: where they are
        self.env = {}
        self.words = []

    def here(self, text):
        for name, address in self.names.items():
            text = text.replace(name, address)
        for before, after in ((":7101", f":{self.peer_port}"), (":8101", f":{self.http_port}"),
                              ("/etc/callsignd", str(self.tree / "etc/callsignd")),
                              ("/var/lib/callsignd", str(self.tree / "var/lib/callsignd")),
                              ("exec callsignd", f"exec {shlex.quote(str(clusters.DAEMON))}")):
            text = text.replace(before, after)
        return re.sub(r"\bcallsign (?=\"\$@)", f"{shlex.quote(str(clusters.COMMAND))} ", text)

    def command(self):
        env = [f"{key}={self.here(value)}" for key, value in self.env.items()]
        return ["env", *env, *map(self.here, self.words)]

    def run_inside(self, words):
        return clusters.run("env", *[f"{k}={v}" for k, v in self.env.items()],
                            *map(self.here, words))


def know(replicas, name):
    for replica in replicas:
        replica.names = {f"{name(r.id)}:7101": r.peer_address for r in replicas}


def trust(replicas, secrets, token):
    """Checks the authority; the names in the certificate are not 127.0.0.1's."""
    for replica in replicas:
        replica.access = certs.access(secrets, (secrets / token).read_text().strip())
        replica.access.context.check_hostname = False


@pytest.fixture
def three(folder):
    cluster = clusters.Cluster(folder)
    cluster.replicas = [Contained(folder, i) for i in (1, 2, 3)]
    with cluster:
        yield cluster


def diagnose(replicas, secrets, token):
    asked = clusters.run(clusters.COMMAND, "doctor", "--ca", secrets / "ca.crt", "--token-file",
                         secrets / token,
                         *[f"--endpoint=https://localhost:{r.http_port}" for r in replicas])
    return asked.stdout + asked.stderr


# --- Compose -----------------------------------------------------------------------


def test_compose(three, folder):
    """The cluster forms, is healthy as the file asks for it, and keeps strangers out."""
    compose = yaml.safe_load(COMPOSE.read_text())
    prepare(folder, head(COMPOSE))
    know(three, lambda i: f"callsign-{i}")
    for replica in three:
        service = compose["services"][f"callsign-{replica.id}"]
        keys = []
        for volume in service["volumes"]:
            source, target = volume.split(":")[:2]
            if source.startswith("./"):
                copy(folder / source, replica.tree / target[1:])
                keys.append(source)
        assert [k for k in keys if "replica-" in k and f"replica-{replica.id}." not in k] == []
        replica.env = {**service["environment"], "CALLSIGN_DATA_DIR": "/var/lib/callsignd"}
        replica.words = [str(clusters.DAEMON)]
    trust(three, folder / "secrets", "admin.token")
    three.start().wait_ready()
    for replica in three:
        command, *words = compose["services"][f"callsign-{replica.id}"]["healthcheck"]["test"]
        assert command == "CMD" and words[0] == "callsign"
        health = replica.run_inside([str(clusters.COMMAND), *words[1:]])
        assert (health.returncode, health.stdout) == (0, "ok\n"), health.stderr
    with api.Api(three[1].http_port, access=api.Access(three[1].access.context)) as stranger:
        assert stranger.request("GET", "/api/registry/n").status == 401
        assert stranger.request("GET", "/livez").status == 200
    assert three.leader().ask("POST", "/api/registry", {
        "name": "n", "node_id": 1, "process_id": 1}).status == 201


# --- Kubernetes --------------------------------------------------------------------


@pytest.fixture
def pods(three, folder):
    """The three pods of the StatefulSet, and its container."""
    stateful = next(o for o in yaml.safe_load_all(KUBERNETES.read_text())
                    if o["kind"] == "StatefulSet")
    pod = stateful["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    commands = head(KUBERNETES)
    prepare(folder, commands)
    made = {words[4]: {os.path.basename(w[12:]): folder / w[12:] for w in words[5:]}
            for words in map(shlex.split, commands) if words[:3] == ["kubectl", "create", "secret"]}
    mounts = {m["name"]: m for m in container["volumeMounts"]}
    know(three, lambda i: f"callsign-{i - 1}.callsign-peers")
    for replica in three:
        name = f"callsign-{replica.id - 1}"
        for volume in pod["volumes"]:
            files, secret = made[volume["secret"]["secretName"]], volume["secret"]
            assert secret["defaultMode"] == 0o440
            items = secret.get("items", [{"key": key, "path": key} for key in files])
            assert {i["key"] for i in items} == set(files)
            mount = mounts[volume["name"]]
            own = mount.get("subPathExpr", "").replace("$(POD_NAME)", name)
            for item in items:
                if item["path"].startswith(own + "/") or not own:
                    path = item["path"][len(own) + 1 if own else 0:]
                    copy(files[item["key"]], replica.tree / mount["mountPath"][1:] / path)
        replica.env = {"POD_NAME": name}
        replica.words = container["command"]
    trust(three, folder / "secrets", "pods.token")
    three.start().wait_ready()
    return three, container, folder / "secrets"


def test_kubernetes(pods):
    """The cluster forms; before a pod ends another one leads, and only then."""
    three, container, secrets = pods
    assert diagnose(three, secrets, "pods.token") == ""
    for replica in three:
        peer = os.listdir(replica.tree / "etc/callsignd/peer")
        assert sorted(peer) == ["ca.crt", "replica.crt", "replica.key"]
    hook = container["lifecycle"]["preStop"]["exec"]["command"]
    leader, follower = three.leader(), three.followers()[0]
    term = leader.state()["term"]
    stopped = follower.run_inside(hook)
    assert stopped.returncode == 0, stopped.stderr
    assert three.leader() is leader and leader.state()["term"] == term
    stopped = leader.run_inside(hook)
    assert stopped.returncode == 0, stopped.stderr
    assert three.leader() is not leader
    assert leader.terminate() == 0
    # With two left, the same again: the other one leads.
    second = three.leader()
    assert second.run_inside(hook).returncode == 0
    assert three.leader() is not second
