"""Nodes and their leases: names go when their node goes, and not before.

Heartbeats are sent to every replica in turn; times are by this test's clock, from the moment a
heartbeat was sent, which is what a client may count on.
"""

import threading
import time

import pytest

import api
import cluster as clusters

TTL_MS = 2000
TTL_S = TTL_MS / 1000
# What the contract allows between the end of a lease and its names being gone.
AFTER_S = 1.0
LATE_S = 2.0


def put_node(replica, node_id, ttl_ms=TTL_MS, **more):
    answer = replica.ask("PUT", f"/api/nodes/{node_id}", {"ttl_ms": ttl_ms, **more})
    assert answer.status == 200, answer
    return answer.json()


def put_names(replica, node_id, count, env_id=1):
    with replica.api() as one:
        for first in range(0, count, 128):
            ops = [{"op": "put", "name": f"{node_id}/{i}", "node_id": node_id, "process_id": i,
                    "env_id": env_id} for i in range(first, min(first + 128, count))]
            answer = one.request("POST", "/api/batch", {"ops": ops})
            assert answer.status == 200, answer


def node(replica, node_id, query=""):
    return replica.ask("GET", f"/api/nodes/{node_id}{query}")


class Heart:
    """A node that sends heartbeats until it is stopped, through all replicas."""

    def __init__(self, cluster, node_id, ttl_ms=TTL_MS, gap_s=None):
        self.cluster = cluster
        self.node_id = node_id
        self.gap_s = gap_s or ttl_ms / 1000 / 8
        self.last_sent = 0.0  # of a heartbeat that was granted
        self.lost = []  # answers that say the lease is over
        self.granted = 0
        self._stop = threading.Event()
        put_node(cluster.leader(), node_id, ttl_ms)
        self.last_sent = time.monotonic()
        self._threads = [threading.Thread(target=self._run, args=(replica,))
                         for replica in cluster]
        for thread in self._threads:
            thread.start()

    def _run(self, replica):
        # Its own connection and a short patience: a paused replica must not stop the heart.
        with replica.api(timeout=1) as one:
            while not self._stop.wait(self.gap_s):
                sent = time.monotonic()
                try:
                    answer = one.request("POST", f"/api/nodes/{self.node_id}/heartbeat")
                except (api.NotSent, api.Lost):
                    continue
                if answer.status == 200:
                    self.granted += 1
                    self.last_sent = max(self.last_sent, sent)
                elif answer.status == 404:
                    self.lost.append((sent, answer))
                else:
                    assert answer.status == 503, answer

    def stop(self):
        self._stop.set()
        for thread in self._threads:
            thread.join()
        return self.last_sent


def wait_gone(replicas, name, timeout):
    """When each of them said first that the name is not there; by the replica's own state."""
    gone = {}
    end = time.monotonic() + timeout
    while len(gone) < len(replicas):
        assert time.monotonic() < end, f"{name} is still there: {gone}"
        for replica in replicas:
            if replica not in gone:
                try:
                    answer = replica.ask("GET", f"/api/registry/{api.quote(name)}"
                                                "?consistency=stale")
                except (api.NotSent, api.Lost):
                    continue
                if answer.status == 404:
                    gone[replica] = time.monotonic()
        time.sleep(0.01)
    return gone


def test_the_life_of_a_node(shared):
    one, two, three = list(shared)
    answer = one.ask("PUT", "/api/nodes/70", {"ttl_ms": 60000, "address": "10.0.0.7:4000",
                                              "attributes": {"zone": "b", "a": "\u00e4"}})
    assert answer.status == 200
    assert answer.json() == {"node_id": 70, "state": "up", "ttl_ms": 60000,
                             "revision": answer.revision}
    put_names(two, 70, 3)
    for replica in (one, two, three):
        shown = node(replica, 70).json()
        left = shown.pop("lease_left_ms")
        assert 50000 < left <= 60000
        assert shown == {"node_id": 70, "state": "up", "ttl_ms": 60000, "names": 3,
                         "revision": answer.revision, "address": "10.0.0.7:4000",
                         "attributes": {"a": "\u00e4", "zone": "b"}}
        beat = replica.ask("POST", "/api/nodes/70/heartbeat")
        assert (beat.status, beat.json()) == (200, {"ttl_ms": 60000})
    gone = three.ask("DELETE", "/api/nodes/70")
    assert gone.status == 200
    assert gone.json() == {"removed": 3, "revision": gone.revision}
    for replica in (one, two, three):
        assert replica.ask("GET", "/api/registry/70%2F0").status == 404
        assert node(replica, 70).json()["state"] == "down"
        assert replica.ask("POST", "/api/nodes/70/heartbeat").code == "node_not_found"
    refused = one.ask("POST", "/api/registry", {"name": "70/0", "node_id": 70, "process_id": 1})
    assert (refused.status, refused.code) == (409, "node_down")
    again = two.ask("DELETE", "/api/nodes/70")
    assert again.json() == {"removed": 0, "revision": again.revision}
    put_node(two, 70, 60000)
    assert one.ask("POST", "/api/registry",
                   {"name": "70/0", "node_id": 70, "process_id": 1}).status == 201


def test_a_put_replaces_the_terms(shared):
    one, two, _ = list(shared)
    first = put_node(one, 71, 30000, address="here", attributes={"a": "1"})
    second = put_node(two, 71, 40000)
    assert second["revision"] > first["revision"]
    shown = node(one, 71).json()
    assert (shown["ttl_ms"], shown["address"], shown["attributes"]) == (40000, "", {})


def test_what_is_no_node_is_refused(shared):
    one = shared.leader()
    for target in ("/api/nodes/", "/api/nodes/x", "/api/nodes/-1", "/api/nodes/07",
                   "/api/nodes/18446744073709551616"):
        answer = one.ask("PUT", target, {"ttl_ms": 1000})
        assert (answer.status, answer.code) == (400, "bad_id"), target
    for body in ({}, {"ttl_ms": 999}, {"ttl_ms": 600001}, {"ttl_ms": "x"},
                 {"ttl_ms": 1000, "address": "a" * 256}, {"ttl_ms": 1000, "address": "a\0"},
                 {"ttl_ms": 1000, "attributes": []}, {"ttl_ms": 1000, "attributes": {"a": 1}},
                 {"ttl_ms": 1000, "attributes": {"": "1"}},
                 {"ttl_ms": 1000, "attributes": {"k" * 65: "1"}},
                 {"ttl_ms": 1000, "attributes": {"k": "v" * 257}},
                 {"ttl_ms": 1000, "attributes": {str(i): "" for i in range(17)}},
                 {"ttl_ms": 1000, "attributes": {str(i): "v" * 200 for i in range(6)}}):
        answer = one.ask("PUT", "/api/nodes/72", body)
        assert answer.status == 400, body
    assert node(one, 72).code == "node_not_found"
    assert one.ask("DELETE", "/api/nodes/72").code == "node_not_found"
    assert one.ask("POST", "/api/nodes/72/heartbeat").code == "node_not_found"
    assert one.ask("GET", "/api/nodes/72/heartbeat").status == 405


def test_a_node_without_a_lease_shows_its_names(shared):
    one, two, _ = list(shared)
    put_names(one, 73, 2)
    shown = node(two, 73).json()
    assert (shown["state"], shown["names"], shown["lease_left_ms"]) == ("unleased", 2, None)
    assert two.ask("DELETE", "/api/nodes/73").json()["removed"] == 2
    assert node(one, 73).json()["state"] == "down"


def test_nodes_are_listed_in_pages(shared):
    one, two, _ = list(shared)
    for i in range(9000, 9010):
        put_node(one, i, 60000)
    seen, cursor = [], ""
    while True:
        page = two.ask("GET", f"/api/nodes?limit=3{cursor}").json()
        assert len(page["nodes"]) <= 3
        seen += [n["node_id"] for n in page["nodes"]]
        assert all(n["lease_left_ms"] is None or n["lease_left_ms"] > 0
                   for n in page["nodes"] if n["state"] == "up")
        if "next" not in page:
            break
        cursor = "&cursor=" + page["next"]
    assert seen == sorted(set(seen))
    assert set(range(9000, 9010)) <= set(seen)


def test_names_go_when_the_heart_stops(new_cluster):
    cluster = new_cluster().start().wait_ready()
    heart = Heart(cluster, 7)
    put_names(cluster.leader(), 7, 1000)
    put_names(cluster.leader(), 8, 1)
    time.sleep(2 * TTL_S)  # what is shown is that nothing happens meanwhile
    assert not heart.lost
    stopped = heart.stop()
    gone = wait_gone(list(cluster), "7/0", TTL_S + 10)
    for when in gone.values():
        assert TTL_S <= when - stopped <= TTL_S + AFTER_S
    for replica in cluster:
        assert node(replica, 7).json()["state"] == "down"
        assert replica.ask("GET", "/api/registry/8%2F0").status == 200
        assert replica.ask("GET", "/api/registry?node_id=7").json()["entries"] == []
    with cluster.leader().api() as one:
        assert one.metric("callsign_leases_expired_total") == 1
    cluster.wait_same()


@pytest.mark.parametrize("fault", ["kill", "pause"])
def test_a_change_of_leader_ends_no_lease(new_cluster, fault):
    cluster = new_cluster().start().wait_ready()
    heart = Heart(cluster, 7, ttl_ms=3000)
    put_names(cluster.leader(), 7, 10)
    idle = put_node(cluster.leader(), 9, 3000)
    put_names(cluster.leader(), 9, 1)
    assert idle["state"] == "up"
    old = cluster.leader()
    started = time.monotonic()
    getattr(old, fault)()
    others = [replica for replica in cluster if replica is not old]
    new = cluster.leader(among=others)
    took_over = time.monotonic()
    # Node 9 is dead all the time: its lease has its full time again, and no more.
    gone = wait_gone(others, "9/0", 15)
    for when in gone.values():
        assert started + 3 <= when <= took_over + 3 + LATE_S
    if fault == "pause":
        old.resume()
    else:
        old.start()
    cluster.wait_ready()
    granted = heart.granted
    clusters.eventually("heartbeats go on", lambda: heart.granted > granted + 20)
    assert not heart.lost
    assert new.ask("GET", "/api/registry/7%2F0").status == 200
    stopped = heart.stop()
    for when in wait_gone(list(cluster), "7/0", 15).values():
        assert 3 <= when - stopped <= 3 + LATE_S
    cluster.wait_same()


def test_a_replica_alone_that_slept_gives_the_time_back(new_cluster):
    cluster = new_cluster(1).start().wait_ready()
    one = cluster[1]
    put_node(one, 7)
    put_names(one, 7, 1)
    sent = time.monotonic()
    assert one.ask("POST", "/api/nodes/7/heartbeat").status == 200
    one.pause()
    time.sleep(TTL_S + 1)  # longer than the lease
    one.resume()
    woke = time.monotonic()
    assert one.ask("GET", "/api/registry/7%2F0").status == 200
    assert one.ask("POST", "/api/nodes/7/heartbeat").status == 200
    gone = wait_gone([one], "7/0", 15)[one]
    assert gone >= woke + TTL_S > sent
    assert gone <= time.monotonic()


def test_a_restart_grants_the_full_time(new_cluster):
    cluster = new_cluster().start().wait_ready()
    put_node(cluster.leader(), 7, 3000)
    put_names(cluster.leader(), 7, 1)
    for replica in cluster:
        replica.kill()
    cluster.start()
    started = time.monotonic()
    cluster.wait_ready()
    answered = cluster.leader().ask("GET", "/api/registry/7%2F0")
    assert answered.status == 200
    gone = wait_gone(list(cluster), "7/0", 20)
    assert all(when >= started + 3 for when in gone.values())
    cluster.wait_same()


def test_many_names_die_without_stopping_anybody(new_cluster):
    cluster = new_cluster(flags=["--election-timeout-ms", "1500"]).start().wait_ready()
    leader = cluster.leader()
    put_node(leader, 7, 60000)
    put_names(leader, 7, 50000)
    cluster.wait_same()
    before = leader.ask("DELETE", "/api/nodes/7").json()
    assert before["removed"] == 50000
    for replica in cluster:
        assert replica.ask("GET", "/api/registry?limit=10").json()["entries"] == []
        with replica.api() as one:
            clusters.eventually("all memory is given back",
                                lambda one=one: one.metric("callsign_names_gone") == 0)
    put_node(leader, 7, 60000)
    put_names(leader, 7, 100)
    cluster.wait_same()
