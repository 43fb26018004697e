"""Claims on real daemons: get or spawn, through every replica.

CALLSIGN_CLAIM_ROUNDS is the number of rounds of the race (default 4).
"""

import itertools
import os
import threading
import time

import pytest

import api

ROUNDS = int(os.environ.get("CALLSIGN_CLAIM_ROUNDS", "4"))
_counter = itertools.count()


@pytest.fixture(params=[1, 2, 3])
def replica(shared, request):
    return shared[request.param]


@pytest.fixture
def name(request):
    return f"{request.node.nodeid}/{next(_counter)}"


def claim(replica, name, node_id=1, ttl_ms=10000, wait=0, headers=None, timeout=40):
    with replica.api(timeout) as a:
        return a.request("POST", f"/api/claims?wait={wait}",
                         {"name": name, "node_id": node_id, "ttl_ms": ttl_ms}, headers)


def end(replica, claimed, what, process_id=7, headers=None):
    body = {"process_id": process_id} if what == "confirm" else None
    return replica.ask("POST", f"/api/claims/{claimed.json()['claim_id']}/{what}", body, headers)


class Waiter(threading.Thread):
    """A claim that waits, on a thread of its own."""

    def __init__(self, *args, **more):
        super().__init__()
        self.args, self.more = args, more
        self.answer = None
        self.start()

    def run(self):
        self.answer = claim(*self.args, **self.more)

    def result(self):
        self.join(40)
        return self.answer


def test_get_or_spawn(shared, replica, name):
    mine = claim(replica, name, 3)
    assert mine.status == 201, mine
    assert mine.json()["expires_in_ms"] == 10000
    for other in shared:
        refused = claim(other, name, 4)
        assert (refused.status, refused.code) == (409, "name_claimed")
        absent = other.ask("PUT", f"/api/registry/{api.quote(name)}",
                           {"node_id": 1, "process_id": 1}, {"If-None-Match": "*"})
        assert (absent.status, absent.code) == (412, "name_claimed")
        assert other.ask("GET", f"/api/registry/{api.quote(name)}").status == 404
    done = end(replica, mine, "confirm", 42)
    assert done.status == 201
    entry = done.json()
    assert (entry["name"], entry["node_id"], entry["process_id"]) == (name, 3, 42)
    for other in shared:
        found = claim(other, name, 4)
        assert found.status == 200 and found.json() == entry
    again = end(replica, mine, "confirm", 42)
    assert (again.status, again.code) == (404, "claim_not_found")
    assert end(replica, mine, "abort").status == 404


def test_the_key_of_a_claim(shared, replica, name):
    headers = {"Idempotency-Key": name[-60:]}
    mine = claim(replica, name, headers=headers)
    for other in shared:
        again = claim(other, name, headers=headers)
        assert (again.status, again.body) == (201, mine.body)
        assert again.headers["Idempotent-Replayed"] == "true"
    confirm = {"Idempotency-Key": "c" + name[-59:]}
    done = end(replica, mine, "confirm", 1, confirm)
    for other in shared:
        assert end(other, mine, "confirm", 1, confirm).body == done.body


def test_a_plain_put_beats_a_claim(shared, replica, name):
    mine = claim(replica, name)
    waiter = Waiter(shared[2], name, wait=20)
    time.sleep(0.3)
    with replica.api() as a:
        put = a.put(name, 5, 5)
    assert put.status == 201
    assert waiter.result().status == 200 and waiter.answer.json() == put.json()
    assert end(replica, mine, "confirm").status == 404


def test_waiters_are_served_in_order_through_any_replica(shared, name):
    first = claim(shared[1], name)
    waiters = []
    for i in range(6):
        waiters.append(Waiter(shared[1 + i % 3], name, 10 + i, wait=25))
        time.sleep(0.15)  # they are in the log in this order
    current, turn = first, shared[1]
    for i, waiter in enumerate(waiters[:5]):
        assert end(turn, current, "abort").status == 200
        waiter.join(5)
        assert waiter.answer is not None, f"waiter {i} was not told"
        assert waiter.answer.status == 201
        assert all(w.answer is None for w in waiters[i + 1:])
        current, turn = waiter.answer, shared[1 + i % 3]
    done = end(turn, current, "confirm", 99)
    assert done.json()["node_id"] == 14
    last = waiters[5].result()
    assert last.status == 200 and last.json() == done.json()


def test_a_wait_ends(replica, name):
    mine = claim(replica, name)
    start = time.monotonic()
    refused = claim(replica, name, wait=1)
    assert (refused.status, refused.code) == (409, "name_claimed")
    assert 0.9 < time.monotonic() - start < 4
    # Its ticket is gone: nobody gets what nobody waits for.
    assert end(replica, mine, "abort").status == 200
    assert claim(replica, name).status == 201


def test_a_claim_that_expires_passes_on(shared, replica, name):
    start = time.monotonic()
    mine = claim(replica, name, ttl_ms=1500)
    waiter = Waiter(shared[3], name, wait=20).result()
    took = time.monotonic() - start
    assert waiter.status == 201
    assert 1.5 <= took < 4.5
    assert end(replica, mine, "confirm").status == 404
    assert end(replica, waiter, "confirm").status == 201


@pytest.mark.parametrize("body", [
    {}, {"name": "a", "node_id": 1}, {"name": "a", "node_id": 1, "ttl_ms": 999},
    {"name": "a", "node_id": 1, "ttl_ms": 600001}, {"name": "", "node_id": 1, "ttl_ms": 1000},
    {"node_id": 1, "ttl_ms": 1000}])
def test_malformed(shared, body):
    assert shared[1].ask("POST", "/api/claims", body).status == 400


@pytest.mark.parametrize("claim_id", ["1", "1-", "x-0000000000000000", "1-000000000000000g",
                                      "99999999-0000000000000000", "0-0000000000000000"])
def test_claims_that_never_were(shared, claim_id):
    answer = shared[1].ask("POST", f"/api/claims/{claim_id}/abort")
    assert (answer.status, answer.code) == (404, "claim_not_found")


def test_a_wait_is_at_most_30_s(shared, name):
    assert claim(shared[1], name, wait=31).status == 400


class Claimant(threading.Thread):
    """Claims until it knows who has the name, or is told to spawn, and then does.
    What nobody answered is asked again, with the same key, at the next replica."""

    def __init__(self, cluster, name, node_id, rng):
        super().__init__()
        self.cluster, self.name_wanted, self.node_id = cluster, name, node_id
        self.order = rng.sample([1, 2, 3], 3)
        self.key = f"{name}-{node_id}-{rng.random()}"[-64:]
        self.told = self.entry = self.error = None
        self.start()

    def ask(self, method, target, body, key):
        for attempt in range(400):
            replica = self.cluster[self.order[attempt % 3]]
            try:
                with replica.api(45) as a:
                    answer = a.request(method, target, body, {"Idempotency-Key": key})
            except (api.NotSent, api.Lost):
                answer = None
            if answer is not None and answer.status not in (503, 504):
                return answer
            time.sleep(0.05)
        raise AssertionError("nobody answers")

    def run(self):
        try:
            for turn in range(20):
                answer = self.ask("POST", "/api/claims?wait=20",
                                  {"name": self.name_wanted, "node_id": self.node_id,
                                   "ttl_ms": 20000}, f"{turn}{self.key}"[:64])
                if answer.status == 200:
                    self.entry = answer.json()
                    return
                if answer.status == 201:
                    break
                assert answer.code == "name_claimed", answer
            self.told = answer.json()["claim_id"]
            time.sleep(0.1)  # it spawns
            done = self.ask("POST", f"/api/claims/{self.told}/confirm",
                            {"process_id": self.node_id}, f"c{self.key}"[:64])
            assert done.status == 201, done
            self.entry = done.json()
        except Exception as error:  # for the test's thread
            self.error = error


def test_a_change_of_leader_ends_no_claim_early(new_cluster, name):
    """The new leader gives every claim its full time again, and ends it then."""
    cluster = new_cluster().start()
    cluster.wait_ready()
    leader = cluster.leader()
    survivor = cluster.followers()[0]
    kept = claim(survivor, name, ttl_ms=4000)
    left = claim(survivor, name + "x", ttl_ms=4000)
    assert (kept.status, left.status) == (201, 201)
    time.sleep(2.5)
    leader.kill()
    cluster.leader()
    elected = time.monotonic()
    time.sleep(2.5)  # beyond the first 4 s, within those of the new leader
    assert end(survivor, kept, "confirm").status == 201
    waiter = claim(survivor, name + "x", wait=20)
    assert waiter.status == 201
    assert time.monotonic() - elected < 4 + 3
    assert end(survivor, left, "confirm").status == 404


def test_a_hundred_claimants_and_a_dead_leader(new_cluster, rng):
    """Exactly one of 100 is told to spawn, though the leader is killed meanwhile."""
    cluster = new_cluster().start()
    cluster.wait_ready()
    for number in range(ROUNDS):
        name = f"race/{number}"
        leader = cluster.leader()
        claimants = [Claimant(cluster, name, 1 + i, rng) for i in range(100)]
        time.sleep(rng.random() * 0.3)
        leader.kill()
        leader.start()
        for claimant in claimants:
            claimant.join(60)
        errors = [c.error for c in claimants if c.error]
        assert not errors, errors[0]
        told = [c for c in claimants if c.told]
        assert len(told) == 1, f"round {number}: {len(told)} were told to spawn"
        assert {c.entry["process_id"] for c in claimants} == {told[0].node_id}
        cluster.wait_ready()
