"""The audit: who did what to the cluster, with which result, by which request; on
the real routes, through any replica, one line for each."""

import json
import re

import pytest

import api
import certs
import cluster as clusters

DOCUMENT = json.loads((clusters.TOP / "http" / "openapi.json").read_text(encoding="utf-8"))
OF_ADMINS = [(method.upper(), re.sub(r"\{\w+\}", "99", path))
             for path, item in DOCUMENT["paths"].items() for method, o in item.items()
             if isinstance(o, dict)
             and ["admin"] in [e.get("token") for e in o.get("security", [])]]
LINE = re.compile(r"event=audit (.*)")


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """Three replicas that ask for tokens, and the tokens."""
    folder = tmp_path_factory.mktemp("audit")
    path = folder / "tokens"
    tokens = {name: certs.new_token(clusters.DAEMON, path, name, role) for name, role in
              (("alice", "admin"), ("bob", "admin"), ("node-3", "write"))}
    with clusters.Cluster(folder, flags=["--tokens", str(path)]) as three:
        for replica in three:
            replica.access = api.Access(token=tokens["alice"])
        yield three.start().wait_ready(), tokens


def ask(replica, token, request_id, method, target, body=None):
    headers = {"X-Request-Id": request_id}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    replica.access, kept = api.Access(), replica.access
    try:
        return replica.ask(method, target, body, headers)
    finally:
        replica.access = kept


def audited(cluster, request_id):
    """What the logs of all replicas tell of a request: (replica, its line) once."""
    def found():
        lines = [(r.id, line) for r in cluster for line in LINE.findall(r.log)
                 if f'request_id="{request_id}"' in line]
        assert len(lines) <= 1, lines
        return lines
    return clusters.eventually(f"{request_id} is in a log", found)[0]


def check(cluster, replica, request_id, **expected):
    """The line is in the log of the replica that was asked, and says all this."""
    where, line = audited(cluster, request_id)
    assert where == replica.id
    for key, value in expected.items():
        assert f" {key}={value} " in f" {line} ", (key, value, line)
    assert "from=127.0.0.1" in line


def test_changes_of_the_cluster(guarded):
    """Added, removed, handed over: by name, also through a follower."""
    cluster, tokens = guarded
    leader = cluster.leader()
    follower, other = cluster.followers()
    members = "/api/cluster/members"

    added = ask(follower, tokens["alice"], "add-4", "POST", members, {
        "id": 4, "peer_address": "127.0.0.1:1", "http_address": "127.0.0.1:2"})
    assert added.status in (200, 201)
    check(cluster, follower, "add-4", who="alice", method="POST", target=f'"{members}"',
          status=added.status)
    assert r"\"id\": 4" in audited(cluster, "add-4")[1], "what was asked for"

    removed = ask(other, tokens["bob"], "remove-4", "DELETE", members + "/4")
    assert removed.status == 200
    check(cluster, other, "remove-4", who="bob", method="DELETE", target=f'"{members}/4"',
          status=200)
    again = ask(leader, tokens["bob"], "remove-again", "DELETE", members + "/4")
    assert again.status == 404
    check(cluster, leader, "remove-again", who="bob", status=404)

    moved = ask(leader, tokens["alice"], "lead", "POST", "/api/cluster/transfer-leader",
                {"to": follower.id})
    assert moved.status == 200
    check(cluster, leader, "lead", who="alice", method="POST", status=200,
          target='"/api/cluster/transfer-leader"')


def test_who_may_not_is_told_too(guarded):
    cluster, tokens = guarded
    cases = [("node", tokens["node-3"], "node-3", 403), ("nobody", None, "stranger", 401),
             ("forged", "f" * 43, "stranger", 401)]
    for name, token, who, status in cases:
        answer = ask(cluster[2], token, f"no-{name}", "DELETE", "/api/cluster/members/1")
        assert answer.status == status
        check(cluster, cluster[2], f"no-{name}", who=who, status=status,
              target='"/api/cluster/members/1"')
    assert {m["id"] for m in cluster.leader().state()["members"]} == {1, 2, 3}


def test_each_route_of_admins_is_audited(guarded):
    """Also those that come later: whatever the document says that an admin must do."""
    cluster, tokens = guarded
    assert len(OF_ADMINS) >= 3
    for i, (method, target) in enumerate(OF_ADMINS):
        answer = ask(cluster[1], tokens["bob"], f"route-{i}", method, target,
                     None if method == "GET" else "{")
        check(cluster, cluster[1], f"route-{i}", who="bob", method=method,
              status=answer.status)


def test_no_token_and_no_other_request_is_in_it(guarded):
    cluster, tokens = guarded
    put = ask(cluster[1], tokens["node-3"], "a-name", "POST", "/api/registry",
              {"name": "n", "node_id": 3, "process_id": 1})
    assert put.status == 201
    check_after = ask(cluster[1], tokens["bob"], "after", "DELETE", "/api/cluster/members/98")
    assert check_after.status == 404
    audited(cluster, "after")
    for replica in cluster:
        assert not [line for line in LINE.findall(replica.log) if '"a-name"' in line]
        assert not [name for name, token in tokens.items() if token in replica.log]
