"""Event streams on real daemons: replayed, they are the registry."""

import pathlib
import random
import re
import socket
import threading
import time

import pytest

import api
import cluster as clusters
import watch

# Few log entries between snapshots and behind them: who was away gets one.
FLAGS = ["--snapshot-threshold", "50", "--snapshot-trailing", "10"]


class Load:
    """Threads that register and remove, one name or several at once, and end nodes."""

    def __init__(self, cluster, rng, threads=2):
        self.cluster = cluster
        self.done = 0
        self.avoided = None  # a replica that nobody asks
        self._stopping = False
        self._threads = [threading.Thread(target=self._run, args=(random.Random(rng.random()),),
                                          daemon=True) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def _run(self, rng):
        while not self._stopping:
            replica = rng.choice([r for r in self.cluster if r is not self.avoided])
            try:
                with replica.api(timeout=3) as a:
                    for _ in range(20):
                        if self._stopping or self._one(a, rng) >= 500:
                            break
                        self.done += 1
            except (api.NotSent, api.Lost):
                time.sleep(0.02)

    def _one(self, a, rng):
        name = f"n/{rng.randrange(30)}"
        kind = rng.randrange(60)
        if kind == 0:
            node = f"/api/nodes/{rng.randrange(4)}"
            return max(a.request("DELETE", node).status,
                       a.request("PUT", node, {"ttl_ms": 600000}).status)
        if kind < 12:
            return a.remove(name).status
        if kind < 24:
            ops = [{"op": "put", "name": f"n/{i}", "node_id": rng.randrange(4),
                    "process_id": rng.randrange(3)} for i in rng.sample(range(30), 5)]
            return a.request("POST", "/api/batch", {"ops": ops}).status
        return a.put(name, rng.randrange(4), rng.randrange(3), env_id=1 + rng.randrange(2)).status

    def wait(self, count):
        wanted = self.done + count
        clusters.eventually(f"{count} writes more", lambda: self.done >= wanted, 30)

    def stop(self):
        self._stopping = True
        for thread in self._threads:
            thread.join(20)
            assert not thread.is_alive()


def table(replica):
    """Everything in the environments 1 and 2, and the revision."""
    found = {}
    for env_id in (1, 2):
        answer = replica.ask("GET", f"/api/registry?env_id={env_id}&limit=1000")
        assert answer.status == 200 and "next" not in answer.json()
        for entry in answer.json()["entries"]:
            found[entry["env_id"], entry["name"]] = watch.owner(entry)
    return found, answer.json()["revision"]


def check(followers, cluster):
    """What each has is what is there, in its environment."""
    expected, revision = table(cluster.leader())
    for follower in followers:
        follower.wait(revision, 30)
        env_id = 2 if "env_id=2" in follower.query else 1
        there = {k: o for k, o in expected.items() if k[0] == env_id}
        assert follower.copy.names == there
        follower.stop()
    for follower in followers:
        follower.join(30)
        assert follower.error is None, follower.error


def test_replayed_they_are_the_registry(new_cluster, rng):
    """One stream at each replica and two that wander, while the leader is
    killed, replicas restart and one is away for so long that it gets a snapshot."""
    cluster = new_cluster(flags=FLAGS).start().wait_ready()
    followers = [watch.Follower([r]) for r in cluster]
    followers += [watch.Follower(cluster), watch.Follower(cluster, "env_id=2")]
    for follower in followers:
        follower.start()
    load = Load(cluster, rng)
    load.wait(50)
    for _ in range(2):
        leader = cluster.leader()
        load.avoided = leader
        leader.kill()
        load.wait(40)
        leader.start()
        leader.wait_ready()
        load.avoided = None
        load.wait(20)
    away = rng.choice(cluster.followers())
    load.avoided = away
    away.kill()
    leader = cluster.leader()
    taken = metric(leader, "callsign_snapshots_taken_total")
    while metric(leader, "callsign_snapshots_taken_total") < taken + 2:
        load.wait(50)
    away.start()
    # From its own disk, and then from the leader.
    clusters.eventually("a snapshot was installed",
                        lambda: metric(away, "callsign_snapshots_restored_total") >= 2)
    load.avoided = None
    load.wait(50)
    load.stop()
    cluster.wait_ready()
    check(followers, cluster)
    cluster.wait_same()
    assert all(f.copy.changes > 50 for f in followers)
    assert sum(f.streams for f in followers) >= len(followers) + 3  # three replicas died
    # The one that stayed with who was away was told to begin anew.
    assert followers[away.id - 1].copy.resets > 0


def metric(replica, name):
    try:
        with replica.api() as a:
            return a.metric(name)
    except (api.NotSent, api.Lost):
        return -1


def test_resumed_anywhere(new_cluster):
    """What one replica sent so far, any other goes on with, without a quorum too."""
    cluster = new_cluster().start().wait_ready()
    for i in range(10):
        assert cluster[1].ask("PUT", f"/api/registry/n{i}",
                              {"node_id": 1, "process_id": i}).status == 201
    with watch.Stream(cluster[1].http_port) as stream:
        place = stream.until("synced")[-1].id
    assert place == 10
    for replica in cluster:
        with watch.Stream(replica.http_port, after=7) as stream:
            assert [next(stream).id for _ in range(3)] == [8, 9, 10]
    for replica in cluster:
        clusters.eventually("all is applied", lambda r=replica: r.state()["revision"] == 10)
    cluster[2].kill()
    cluster[3].kill()
    with watch.Stream(cluster[1].http_port, after=7) as stream:
        assert [next(stream).id for _ in range(3)] == [8, 9, 10]
    with watch.Stream(cluster[1].http_port, "consistency=stale") as stream:
        assert stream.until("synced")[-1].id == 10
    with pytest.raises(watch.Refused, match="no_leader"):
        watch.Stream(cluster[1].http_port)


def test_events_of_all_sizes(new_cluster):
    replica = new_cluster(count=1).start().wait_ready()[1]
    with watch.Stream(replica.http_port) as stream, replica.api() as a:
        watch.check_sizes(stream, a)


def test_a_poll_is_answered_by_any_replica(new_cluster):
    cluster = new_cluster().start().wait_ready()
    revision = cluster[1].ask("PUT", "/api/registry/a", {"node_id": 1, "process_id": 1}).revision
    answers = {}

    def poll(replica):
        answers[replica.id] = replica.ask("GET", f"/api/registry/a?after={revision}&wait=30")
    threads = [threading.Thread(target=poll, args=(r,)) for r in cluster]
    for thread in threads:
        thread.start()
    for replica in cluster:
        clusters.eventually("the poll waits", lambda r=replica: metric(r, "callsign_watches") == 1)
    assert cluster[1].ask("PUT", "/api/registry/a", {"node_id": 2, "process_id": 1}).status == 200
    for thread in threads:
        thread.join(20)
    for replica in cluster:
        assert answers[replica.id].status == 200
        assert answers[replica.id].json()["node_id"] == 2
        assert answers[replica.id].revision == revision + 1


def test_the_end_of_a_node_is_one_event(new_cluster):
    cluster = new_cluster().start().wait_ready()
    for i in range(100):
        assert cluster[1].ask("PUT", f"/api/registry/n{i}",
                              {"node_id": 1 + i % 2, "process_id": i}).status == 201
    followers = [watch.Follower([r]) for r in cluster]
    with watch.Stream(cluster[2].http_port, "node_id=2") as other:
        other.until("synced")
        for follower in followers:
            follower.start()
            follower.wait(100, 20)
            assert len(follower.copy.names) == 100
        answer = cluster[3].ask("DELETE", "/api/nodes/1")
        assert answer.status == 200 and answer.json()["removed"] == 50
        assert cluster[1].ask("PUT", "/api/registry/n1",
                              {"node_id": 3, "process_id": 1}).status == 200
        assert next(other).data["node_id"] == 3
    check(followers, cluster)
    assert all(f.copy.changes == 2 and len(f.copy.names) == 50 for f in followers)


def test_idle_streams_are_small(new_cluster):
    """10,000 of them take at most 20 KiB each; here it is fewer, of the same size."""
    count = 1000
    replica = new_cluster(count=1).start().wait_ready()[1]

    def open_streams(number):
        return [watch.Stream(replica.http_port, f"name=quiet{i}") for i in range(number)]
    warm = open_streams(50)
    before = resident_kib(replica)
    streams = open_streams(count)
    assert metric(replica, "callsign_watches") == count + 50
    assert (resident_kib(replica) - before) / count <= 20
    with replica.api() as a:
        assert a.put("quiet7", 1, 1).status == 201
    streams[7].until("synced")
    assert next(streams[7]).data["name"] == "quiet7"
    for stream in warm + streams:
        stream.close()


def resident_kib(replica):
    status = pathlib.Path(f"/proc/{replica.process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status).group(1))


def test_a_replica_that_stops_ends_its_streams(new_cluster):
    cluster = new_cluster(count=1).start().wait_ready()
    with watch.Stream(cluster[1].http_port) as stream:
        stream.until("synced")
        cluster[1].signal(15)
        assert next(stream, None) is None
    assert cluster[1].wait_exit() == 0


def test_who_never_reads_costs_the_others_nothing(new_cluster):
    """A client that takes nothing is cut, and what it left unread is bounded."""
    cluster = new_cluster(count=1).start().wait_ready()
    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect((api.HOST, cluster[1].http_port))
        deaf.sendall(b"GET /api/watch HTTP/1.1\r\nHost: a\r\n\r\n")
        with watch.Stream(cluster[1].http_port) as stream, cluster[1].api() as a:
            stream.until("synced")
            name = "\x01" * 1000  # six bytes each in JSON
            for i in range(3000):
                assert a.put(name, 1, i).status in (200, 201)
                assert next(stream).id == i + 1
                if a.metric("callsign_watch_drops_total") == 1:
                    break
            assert a.metric("callsign_watch_drops_total") == 1
            clusters.eventually("it is gone", lambda: a.metric("callsign_watches") == 1)
            assert a.put("after", 1, 1).status == 201
            assert next(stream).data["name"] == "after"
