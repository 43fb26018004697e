"""GET /api/registry without a name: pages of names, from any replica."""

import json
import urllib.parse

import pytest

import api

NAMES = 12000  # more than is looked at for one page
ENV = 77


@pytest.fixture(scope="module")
def filled(shared):
    bodies = [json.dumps({"name": f"w/{i:05}", "node_id": 1 if i % 1000 == 999 else 2,
                          "process_id": i, "env_id": ENV}).encode() for i in range(NAMES)]
    requests = [b"POST /api/registry HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s"
                % (len(body), body) for body in bodies]
    answers = api.pipeline(shared.leader().http_port, requests)
    assert {answer.status for answer in answers} == {201}
    return shared


def pages(replica, **query):
    """All pages, following next."""
    found = []
    with replica.api() as a:
        while True:
            answer = a.request("GET", "/api/registry?" + urllib.parse.urlencode(query))
            assert answer.status == 200, answer
            found.append(answer.json())
            assert answer.revision == found[-1]["revision"]
            if "next" not in found[-1]:
                return found
            query["cursor"] = found[-1]["next"]


def names(found):
    return [entry["name"] for page in found for entry in page["entries"]]


@pytest.mark.parametrize("replica_id", [1, 2, 3])
def test_every_name_once_in_order(filled, replica_id):
    found = pages(filled[replica_id], env_id=ENV, limit=1000)
    assert names(found) == [f"w/{i:05}" for i in range(NAMES)]
    assert len(found) == NAMES // 1000


@pytest.mark.parametrize("replica_id", [1, 2, 3])
def test_prefix_and_node(filled, replica_id):
    replica = filled[replica_id]
    assert names(pages(replica, env_id=ENV, prefix="w/011", limit=7)) == \
        [f"w/{i:05}" for i in range(1100, 1200)]
    found = pages(replica, env_id=ENV, node_id=1)
    assert names(found) == [f"w/{i:05}" for i in range(999, NAMES, 1000)]
    assert len(found) == 2, "the work for one page is bounded"
    assert names(pages(replica, env_id=ENV, prefix="nobody")) == []
    assert names(pages(replica, env_id=ENV + 1)) == []


def test_a_list_sees_what_was_answered_before(filled):
    """Written through one replica, listed at once through another."""
    with filled[1].api() as one, filled[2].api() as two:
        for i in range(100):
            assert one.request("PUT", f"/api/registry/x{i:03}?env_id=78",
                               b'{"node_id":1,"process_id":1}').status == 201
            listed = two.request("GET", "/api/registry?env_id=78&limit=1000").json()["entries"]
            assert [entry["name"] for entry in listed] == [f"x{k:03}" for k in range(i + 1)]


def test_going_on_after_a_removal(filled):
    """The name a page ended with is gone when the next page is asked for."""
    with filled[3].api() as a:
        for name in "abcd":
            a.request("PUT", f"/api/registry/{name}?env_id=79", b'{"node_id":1,"process_id":1}')
        first = a.request("GET", "/api/registry?env_id=79&limit=2").json()
        assert a.request("DELETE", "/api/registry/b?env_id=79").status == 200
        target = f"/api/registry?env_id=79&limit=2&cursor={first['next']}"
        second = a.request("GET", target).json()
        assert names([first, second]) == list("abcd")
        assert second["revision"] > first["revision"]


def test_without_a_quorum(new_cluster):
    """Stale answers, everything else says 503; never an empty list."""
    one = new_cluster().start().wait_ready()
    leader = one.leader()
    assert leader.ask("PUT", "/api/registry/a", b'{"node_id":1,"process_id":2}').status == 201
    for replica in one:
        if replica is not leader:
            replica.kill()
    answer = leader.ask("GET", "/api/registry?consistency=stale")
    assert answer.status == 200 and names([answer.json()]) == ["a"]
    assert answer.headers["Callsign-Staleness-Ms"] is not None
    assert leader.ask("GET", "/api/registry").status == 503
