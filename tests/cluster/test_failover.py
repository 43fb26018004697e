"""Replicas die, pause and come back; what was answered stays true."""

import shutil
import time

import pytest

import api
import cluster as clusters
import writers

# Answered without effect, and answered "perhaps".
REFUSED = {503}
UNKNOWN = {504}


def try_request(replica, method, target, body=None):
    """The answer, or None where there is none."""
    try:
        return replica.ask(method, target, body)
    except (api.NotSent, api.Lost):
        return None


def put_until_done(replica, name, process_id):
    """Registers, through an election if there is one. The write is the same
    each time, so an unknown outcome may be repeated."""
    def done():
        answer = try_request(replica, "POST", "/api/registry",
                             {"name": name, "node_id": 1, "process_id": process_id})
        return answer if answer is not None and answer.status in (200, 201) else None
    return clusters.eventually(f"{name} is registered", done)


def test_leader_killed_with_writes_in_flight(new_cluster):
    cluster = new_cluster().start().wait_ready()
    with writers.Writers(cluster) as load:
        for _ in range(3):
            leader = cluster.leader()
            load.wait_progress(100)
            leader.kill()
            survivors = cluster.running()
            load.wait_progress(100, survivors)
            assert cluster.leader() is not leader
            leader.start()
            leader.wait_ready()
        load.wait_progress(100)
        load.stop()
        acked, _, _ = load.check(cluster)
        assert acked >= 1500
    cluster.wait_same()


def test_nobody_waits_for_an_election_timeout(new_cluster):
    """A leader that dies is missed by its connections, one that stops hands over."""
    timeout_ms = 4000
    flags = ["--election-timeout-ms", str(timeout_ms), "--heartbeat-ms", "50"]
    cluster = new_cluster(flags=flags).start().wait_ready()
    for end in ("kill", "terminate", "terminate", "kill"):
        leader = cluster.leader()
        with writers.Writers(cluster, per_replica=1) as load:
            load.wait_progress(100)
            began = time.monotonic()
            getattr(leader, end)()
            cluster.leader(among=cluster.running())
            load.wait_progress(10, cluster.running())
            assert time.monotonic() - began < timeout_ms / 1000, end
        leader.start()
        leader.wait_ready()


def test_every_replica_killed_in_turn_under_load(new_cluster, rng):
    cluster = new_cluster().start().wait_ready()
    order = list(cluster)
    rng.shuffle(order)
    with writers.Writers(cluster, per_replica=1) as load:
        for victim in order:
            load.wait_progress(50)
            victim.kill()
            load.wait_progress(50, cluster.running())
            victim.start()
            victim.wait_ready()
        load.stop()
        load.check(cluster)
    cluster.wait_same()


def test_all_killed_and_restarted(new_cluster):
    cluster = new_cluster(flags=["--snapshot-threshold", "300", "--snapshot-trailing", "50"])
    cluster.start().wait_ready()
    with writers.Writers(cluster) as load:
        for _ in range(3):
            load.wait_progress(150)
            before = max(r.state().get("revision", 0) for r in cluster)
            for replica in cluster:
                replica.kill()
            for replica in cluster:
                replica.start()
            cluster.wait_ready()
            for replica in cluster:
                answer = try_request(replica, "GET", "/api/registry/none")
                assert answer.revision >= before, "the revision went back"
        load.wait_progress(50)
        load.stop()
        load.check(cluster)
    cluster.wait_same()


def test_follower_comes_back_by_snapshot(new_cluster):
    flags = ["--snapshot-threshold", "200", "--snapshot-trailing", "20"]
    cluster = new_cluster(flags=flags).start().wait_ready()
    victim = cluster.followers()[0]
    put_until_done(victim, "before", 1)
    with victim.api() as a:
        assert a.metric("callsign_snapshots_taken_total") == 0
    victim.kill()

    count = 50000
    answers = writers.bulk(cluster.running(),
                           [api.post_bytes(f"bulk/{i}", 1, i) for i in range(count)])
    assert len(answers) == count
    assert {a.status for a in answers} == {201}

    victim.start()
    victim.wait_ready()
    cluster.wait_same()
    with victim.api() as a:
        assert a.metric("callsign_snapshots_restored_total") >= 1
        assert a.metric("callsign_names") == count + 1
        for i in (0, 1, count // 2, count - 1):
            answer = a.get(f"bulk/{i}", "consistency=stale")
            assert answer.json()["process_id"] == i
        assert a.get("before").status == 200
    # It is a full member again: with it and one other there is a quorum.
    cluster.leader().kill()
    put_until_done(victim, "after", 2)


def test_two_of_three_dead(new_cluster):
    cluster = new_cluster().start().wait_ready()
    survivor = cluster.followers()[0]
    with survivor.api() as a:
        a.put("known", 1, 7)
        known = a.get("known")
    for replica in cluster:
        if replica is not survivor:
            replica.kill()
    clusters.eventually("the survivor knows it has no quorum",
                        lambda: survivor.state().get("health") == "no_quorum")

    tried = []

    def refused():
        tried.append(f"refused/{len(tried)}")
        answer = try_request(survivor, "POST", "/api/registry",
                             {"name": tried[-1], "node_id": 1, "process_id": 1})
        assert answer.status in REFUSED | UNKNOWN, answer
        if answer.status in UNKNOWN:
            tried.pop()  # proposed before the survivor knew
            return False
        assert answer.headers["Retry-After"]
        assert answer.code == "no_leader"
        return len(tried) >= 3
    clusters.eventually("writes are refused", refused, 40)

    with survivor.api() as a:
        stale = a.get("known", "consistency=stale")
        assert stale.status == 200 and stale.body == known.body
        first = int(stale.headers["Callsign-Staleness-Ms"])
        clusters.eventually("staleness grows", lambda: int(
            a.get("known", "consistency=stale").headers["Callsign-Staleness-Ms"]) > first)
        assert a.get("never", "consistency=stale").status == 404
        local = a.get("known", f"at_least={known.json()['revision']}")
        assert local.status == 200
        linearizable = a.get("known")
        assert linearizable.status == 503 and linearizable.code == "no_leader"
        assert a.get("never").status == 503, "nobody can know that it is not registered"
        assert a.request("GET", "/livez").status == 200
        ready = a.request("GET", "/readyz")
        assert ready.status == 503 and ready.json()["ready"] is False
        state = a.request("GET", "/api/cluster").json()
        assert state["health"] == "no_quorum" and state["why"]
        assert a.request("GET", "/metrics").status == 200

    for replica in cluster:
        if not replica.running:
            replica.start()
            break
    put_until_done(survivor, "again", 1)
    with survivor.api() as a:
        for name in tried:
            assert a.get(name).status == 404, f"{name} was refused with 503, and applied"


@pytest.mark.parametrize("attempt", range(4))
def test_an_old_leader_that_wakes_reads_nothing_old(new_cluster, attempt):
    """The leader sleeps through an election and a write. Reads that reach it
    while it still sleeps began after that write was answered."""
    cluster = new_cluster().start().wait_ready()
    old = cluster.leader()
    put_until_done(old, "key", 100)
    others = [r for r in cluster if r is not old]
    request = b"GET /api/registry/key HTTP/1.1\r\nHost: a\r\n\r\n"
    sockets = [api.connect(old.http_port, 30) for _ in range(8)]
    for sock in sockets:
        sock.sendall(request)
        assert api.read_answer(sock.makefile("rb")).json()["process_id"] == 100

    old.pause()
    new = cluster.leader(among=others)
    assert new is not old
    revision = put_until_done(others[attempt % 2], "key", 101).json()["revision"]
    for sock in sockets:
        sock.sendall(request * 3)
    old.resume()

    for sock in sockets:
        with sock, sock.makefile("rb") as stream:
            for _ in range(3):
                answer = api.read_answer(stream)
                if answer is None:
                    break
                assert answer.status in {200} | REFUSED | UNKNOWN, answer
                if answer.status == 200:
                    assert answer.json()["process_id"] == 101, "a stale linearizable read"
                    assert answer.revision >= revision
    with old.api() as a:
        clusters.eventually("the old leader serves reads again", lambda: a.get("key").status == 200)
        assert a.get("key").json()["process_id"] == 101
    cluster.wait_same()


def test_reads_see_all_that_was_answered(new_cluster):
    """Readers and a writer at all replicas, through sleeps and deaths of leaders."""
    cluster = new_cluster().start().wait_ready()
    with writers.Register(cluster) as register:
        for fault in ("pause", "kill", "pause", "kill"):
            register.wait_progress(50)
            leader = cluster.leader()
            others = [r for r in cluster if r is not leader]
            leader.pause() if fault == "pause" else leader.kill()
            assert cluster.leader(among=others) is not leader
            register.wait_progress(50)
            leader.resume() if fault == "pause" else leader.start()
            cluster.wait_ready()
        register.wait_progress(50)
    assert register.violations == []
    assert register.reads > 200


def test_a_write_at_a_sleeping_leader_is_not_lost_silently(new_cluster):
    """What a leader took in its sleep is answered truly after it woke."""
    cluster = new_cluster().start().wait_ready()
    old = cluster.leader()
    others = [r for r in cluster if r is not old]
    sockets = [api.connect(old.http_port, 30) for _ in range(8)]
    old.pause()
    for i, sock in enumerate(sockets):
        sock.sendall(api.post_bytes(f"asleep/{i}", 1, i))
    cluster.leader(among=others)
    old.resume()
    outcomes = {}
    for i, sock in enumerate(sockets):
        with sock, sock.makefile("rb") as stream:
            answer = api.read_answer(stream)
            outcomes[i] = answer.status if answer is not None else 504
    cluster.wait_ready()
    with others[0].api() as a:
        for i, status in outcomes.items():
            found = a.get(f"asleep/{i}").status
            if status in (200, 201):
                assert found == 200, "answered, and lost"
            else:
                assert status in REFUSED | UNKNOWN
                assert status in UNKNOWN or found == 404, "refused, and applied"


def test_a_follower_that_slept_reads_nothing_old(new_cluster):
    cluster = new_cluster().start().wait_ready()
    for value in range(100, 105):
        leader = cluster.leader()
        sleeper = cluster.followers()[value % 2]
        put_until_done(leader, "key", value)
        writers.read_until(sleeper, "key", value)
        with api.connect(sleeper.http_port, 30) as sock, sock.makefile("rb") as stream:
            sleeper.pause()
            put_until_done(leader, "key", value + 1000)
            sock.sendall(b"GET /api/registry/key HTTP/1.1\r\nHost: a\r\n\r\n")
            sleeper.resume()
            answer = api.read_answer(stream)
            assert answer.status in {200} | REFUSED | UNKNOWN
            if answer.status == 200:
                assert answer.json()["process_id"] == value + 1000, "a stale linearizable read"
        cluster.wait_ready()


def test_reads_during_a_restart_know_or_say_so(new_cluster):
    """A replica that has not replayed its log yet must not say 404."""
    cluster = new_cluster().start().wait_ready()
    put_until_done(cluster[1], "key", 7)
    for _ in range(3):
        for replica in cluster:
            replica.restart()
            statuses = set()

            def served():
                answer = try_request(replica, "GET", "/api/registry/key")
                statuses.add(answer and answer.status)
                return answer is not None and answer.status == 200
            clusters.eventually("the name is served", served)
            assert statuses <= {None, 200, 503}, statuses
            cluster.wait_ready()


def test_a_wiped_replica_joins_again(new_cluster):
    """Its disk was lost: it comes back without a vote until it has caught up."""
    cluster = new_cluster().start().wait_ready()
    for i in range(50):
        put_until_done(cluster[1], f"kept/{i}", i)
    victim = cluster.followers()[0]
    victim.kill()
    shutil.rmtree(victim.data_dir)
    victim.start()
    victim.wait_ready()
    cluster.wait_same()
    with victim.api() as a:
        for i in range(50):
            assert a.get(f"kept/{i}").json()["process_id"] == i
    # It counts again: the cluster goes on with it and one other.
    leader = cluster.leader()
    (leader if leader is not victim else cluster.followers()[0]).kill()
    put_until_done(victim, "with a new disk", 1)


def test_five_replicas_survive_two(new_cluster):
    cluster = new_cluster(count=5).start().wait_ready()
    for _ in range(2):
        cluster.leader().kill()
        put_until_done(cluster.running()[0], "key", len(cluster.running()))
    for replica in cluster.running():
        writers.read_until(replica, "key", 3)
