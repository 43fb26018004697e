"""Who belongs to the cluster: added, removed, replaced and handed over under load.

Under load, every write that was acknowledged has to be there in the end.
"""

import threading
import time
import urllib.parse

import pytest

import api
import certs
import cluster as clusters
from cluster import eventually
from members import Grown, join, members, put_member, voters


LOAD_PER_S = 1000
GAP_MAX_S = 0.3


@pytest.fixture
def three(tmp_path):
    with Grown(tmp_path) as cluster:
        yield cluster.start().wait_ready()


def test_a_fourth_joins_and_goes(three):
    follower = three.followers()[0]
    assert follower.ask("PUT", "/api/registry/before",
                        {"node_id": 1, "process_id": 1}).status == 201
    fourth = three.another(4, list(three))
    join(three, fourth, follower)
    assert voters(three[1]) == [1, 2, 3, 4]
    assert fourth.ask("GET", "/api/registry/before").status == 200
    # The same again is no change; other addresses are refused.
    assert put_member(follower, fourth).status == 200
    refused = put_member(follower, fourth, peer="127.0.0.1:1")
    assert (refused.status, refused.code) == (409, "member_exists")
    # Nor may two have the same addresses: it once ended the leader.
    twin = follower.ask("POST", "/api/cluster/members",
                        {"id": 5, "peer_address": fourth.peer_address,
                         "http_address": f"{api.HOST}:{fourth.http_port}"})
    assert (twin.status, twin.code) == (409, "member_exists")
    assert all(r.running for r in three)
    # It restarts as what it is.
    fourth.kill()
    fourth.start()
    fourth.wait_ready()
    gone = follower.ask("DELETE", "/api/cluster/members/4")
    assert (gone.status, gone.json()) == (200, {"id": 4})
    assert fourth.wait_exit(15) == 4
    assert "event=removed" in fourth.log
    again = follower.ask("DELETE", "/api/cluster/members/4")
    assert (again.status, again.code) == (404, "member_not_found")
    # With its old disk it is no member, and disturbs nobody.
    term = three[1].state()["term"]
    fourth.start()
    assert fourth.wait_exit(15) == 4
    assert three[1].state()["term"] == term
    # Added again it comes back with what it had.
    assert put_member(follower, fourth).status == 200
    fourth.start()
    eventually("the fourth votes again", lambda: voters(three[1]) == [1, 2, 3, 4], 20)
    fourth.wait_ready()
    three.wait_same()


def test_with_certificates_and_tokens(tmp_path):
    with Grown(tmp_path) as cluster:
        cluster.secure()
        certs.make(cluster.certs, "replica", 4)
        cluster.start().wait_ready()
        fourth = cluster.another(4, list(cluster))
        fourth.flags += [*certs.peer_flags(cluster.certs, 4), *certs.http_flags(cluster.certs),
                         "--tokens", str(cluster.certs / "tokens")]
        fourth.access = cluster[1].access
        join(cluster, fourth, cluster[2])
        assert cluster[2].ask("DELETE", "/api/cluster/members/4").status == 200
        assert fourth.wait_exit(15) == 4


def test_leadership_is_handed_over(three):
    leader = three.leader()
    to = three.followers()[0]
    done = to.ask("POST", "/api/cluster/transfer-leader", {"to": to.id})
    assert (done.status, done.json()) == (200, {"leader": to.id})
    assert three.leader() is to
    assert to.ask("POST", "/api/cluster/transfer-leader", {"to": to.id}).status == 200
    refused = leader.ask("POST", "/api/cluster/transfer-leader", {"to": 99})
    assert (refused.status, refused.code) == (409, "not_a_voter")


def test_a_leader_is_removed(three):
    leader = three.leader()
    other = three.followers()[0]
    assert other.ask("DELETE", f"/api/cluster/members/{leader.id}").status == 200
    assert leader.wait_exit(15) == 4
    left = [r for r in three if r is not leader]
    assert all(eventually("it is gone", lambda r=r: members(r) == sorted(x.id for x in left))
               for r in left)
    assert other.ask("PUT", "/api/registry/after", {"node_id": 1, "process_id": 2}).status == 201


def test_what_would_lose_the_quorum_is_refused(three):
    leader = three.leader()
    dead, alive = three.followers()
    dead.kill()
    # The leader finds out within two election timeouts that it is away.
    eventually("it counts as away", lambda: max(
        m["last_contact_ms"] or 0 for m in leader.state()["members"]) > 1000)
    refused = leader.ask("DELETE", f"/api/cluster/members/{alive.id}")
    assert (refused.status, refused.code) == (409, "would_lose_quorum")
    assert f"bring replica {dead.id} back or remove it first" in refused.json()["detail"]
    # The dead one itself may go, and a new one takes its place.
    assert leader.ask("DELETE", f"/api/cluster/members/{dead.id}").status == 200
    fourth = three.another(4, [leader, alive])
    join(three, fourth, alive)
    assert voters(leader) == sorted([leader.id, alive.id, 4])
    three.wait_same()


def test_a_lost_majority_is_recovered(three):
    survivor, *lost = list(three)
    for n in range(20):
        assert survivor.ask("PUT", f"/api/registry/kept-{n}",
                            {"node_id": 1, "process_id": n}).status == 201
    three.wait_same()
    old_id = survivor.state()["cluster_id"]
    for replica in three:
        replica.kill()
    command = survivor.command()
    told = clusters.run(command[0], "recover", *command[1:])
    assert "is the only member of its cluster now" in told.stdout
    survivor.start()
    survivor.wait_ready()
    state = survivor.state()
    assert voters(survivor) == [1] and state["cluster_id"] != old_id
    for n in range(20):
        assert survivor.ask("GET", f"/api/registry/kept-{n}").json()["process_id"] == n
    assert survivor.ask("PUT", "/api/registry/new", {"node_id": 1, "process_id": 1}).status == 201
    # What comes back of the old cluster is a stranger.
    for replica in lost:
        replica.start()
    eventually("they are refused", lambda: "another cluster" in survivor.log
               and all("another cluster" in r.log for r in lost), 15)
    assert members(survivor) == [1]
    for replica in lost:
        replica.kill()
    # The cluster grows again, with new replicas, and survives restarts.
    fourth = three.another(4, [survivor])
    join(three, fourth, survivor)
    survivor.restart()
    survivor.wait_ready()
    assert survivor.state()["cluster_id"] == state["cluster_id"]
    assert fourth.ask("GET", "/api/registry/kept-7").status == 200


@pytest.fixture(scope="module")
def calm(tmp_path_factory):
    with Grown(tmp_path_factory.mktemp("calm")) as cluster:
        yield cluster.start().wait_ready()


@pytest.mark.parametrize("method,path,body", [
    ("POST", "/api/cluster/members", {"id": 4}),
    ("POST", "/api/cluster/members", {"id": 0, "peer_address": "a:1", "http_address": "a:2"}),
    ("POST", "/api/cluster/members", {"id": 4, "peer_address": "nowhere", "http_address": "a:2"}),
    ("POST", "/api/cluster/members", {"id": 4, "peer_address": "a:1", "http_address": "a" * 300}),
    ("DELETE", "/api/cluster/members/x", None),
    ("DELETE", "/api/cluster/members/0", None),
    ("POST", "/api/cluster/transfer-leader", {}),
    ("POST", "/api/cluster/transfer-leader", {"to": -1}),
])
def test_nonsense_is_refused(calm, method, path, body):
    assert calm[1].ask(method, path, body).status == 400
    assert members(calm[1]) == [1, 2, 3]


class Load:
    """LOAD_PER_S writes a second, each through the first of the members that
    takes it; remembers when each was acknowledged."""

    def __init__(self, cluster, threads=4):
        self.cluster, self.acked, self.times, self.wrong = cluster, {}, [], []
        self._stop, self._lock = threading.Event(), threading.Lock()
        self._threads = [threading.Thread(target=self._run, args=(i, threads), daemon=True)
                         for i in range(threads)]

    def __enter__(self):
        for t in self._threads:
            t.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for t in self._threads:
            t.join(30)

    def _connect(self, at):
        running = self.cluster.running()
        return running[at % len(running)].api(timeout=5)

    def _write(self, connection, name, process_id):
        """True: acknowledged. The same owner again is no second registration, so
        a write of unknown outcome is simply sent again."""
        try:
            answer = connection.put(name, 1, process_id)
        except (api.NotSent, api.Lost):
            return False
        if answer.status in (200, 201):
            with self._lock:
                self.acked[name] = process_id
                self.times.append(time.monotonic())
            return True
        if answer.status not in (503, 504):
            self.wrong.append(answer)
        return False

    def _run(self, i, threads):
        due, serial, at = time.monotonic(), 0, i
        connection = self._connect(at)
        while not self._stop.is_set():
            due += threads / LOAD_PER_S
            time.sleep(max(0, due - time.monotonic()))
            serial += 1
            while not self._stop.is_set() and not self._write(
                    connection, f"load-{i}/{serial}", i << 32 | serial):
                connection.close()
                at += 1
                connection = self._connect(at)
        connection.close()

    def longest_gap(self):
        times = sorted(self.times)
        return max(b - a for a, b in zip(times, times[1:]))

    def check(self):
        """Every acknowledged write is there: all of them at one member, and all
        members hold the same."""
        assert self.wrong == []
        self.cluster.wait_same()
        found, target = {}, "/api/registry?prefix=load-&limit=1000"
        while target is not None:
            page = self.cluster.running()[0].ask("GET", target).json()
            found.update((e["name"], e["process_id"]) for e in page["entries"])
            target = page.get("next") and ("/api/registry?prefix=load-&limit=1000&cursor=" +
                                           urllib.parse.quote(page["next"]))
        for name, process_id in self.acked.items():
            assert found.get(name) == process_id, name


def test_rolling_restart(three, record_property):
    with Load(three) as load:
        time.sleep(1)
        for replica in list(three):
            assert replica.terminate() == 0
            replica.start()
            replica.wait_ready()
            three.wait_ready()
        time.sleep(1)
    gap = load.longest_gap()
    print(f"rolling restart: {len(load.acked)} writes, longest gap {gap * 1000:.0f} ms")
    load.check()
    assert gap <= GAP_MAX_S


def test_rolling_replacement(three):
    with Load(three) as load:
        for old in list(three):
            new = three.another(old.id + 10, [r for r in three.running()])
            through = next(r for r in three.running() if r is not old)
            join(three, new, through)
            assert through.ask("DELETE", f"/api/cluster/members/{old.id}").status == 200
            assert old.wait_exit(15) == 4
    print(f"rolling replacement: {len(load.acked)} writes, longest gap "
          f"{load.longest_gap() * 1000:.0f} ms")
    assert voters(three[11]) == [11, 12, 13]
    load.check()
