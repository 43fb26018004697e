"""Idempotency-Key on real daemons: the first outcome, whatever happens in between."""

import itertools
import threading
import time
import uuid

import pytest

import api

_counter = itertools.count()


@pytest.fixture
def name(request):
    return f"{request.node.nodeid}/{next(_counter)}"


def key(text=None):
    return {"Idempotency-Key": text or str(uuid.uuid4())}


def same(a, b):
    return (a.status, a.body, a.headers["ETag"], a.revision) == \
        (b.status, b.body, b.headers["ETag"], b.revision)


def test_any_replica_answers_as_the_first(shared, name):
    headers = key()
    with shared[1].api() as a:
        first = a.put(name, 1, 2, headers)
        assert first.status == 201 and first.headers["Idempotent-Replayed"] is None
        assert a.put(name, 9, 9).status == 200
    for replica in shared:
        again = replica.ask("POST", "/api/registry",
                            {"process_id": "2", "node_id": 1, "name": name}, headers)
        assert same(first, again)
        assert again.headers["Idempotent-Replayed"] == "true"
        assert replica.ask("GET", f"/api/registry/{api.quote(name)}").json()["process_id"] == 9
        other = replica.ask("DELETE", f"/api/registry/{api.quote(name)}", None, headers)
        assert (other.status, other.code) == (422, "idempotency_mismatch")


def test_refusals_come_again_too(shared, name):
    headers = key()
    with shared[2].api() as a:
        first = a.remove(name, headers=headers)
        assert first.status == 404
        assert a.put(name, 1, 1).status == 201
    for replica in shared:
        with replica.api() as a:
            again = a.remove(name, headers=headers)
            assert (again.status, again.revision) == (404, first.revision)
            assert again.headers["Idempotent-Replayed"] == "true"
            assert a.get(name).status == 200
    guarded = {**key(), "If-None-Match": "*"}
    answers = [r.ask("PUT", f"/api/registry/{api.quote(name)}", {"node_id": 2, "process_id": 2},
                     guarded) for r in shared]
    assert {a.status for a in answers} == {412}
    assert len({a.body for a in answers}) == 1


def test_one_of_many_at_once(shared, name):
    """Twelve copies of one request through three replicas: applied once."""
    headers = key()
    answers = []

    def send(replica):
        answers.append(replica.ask("POST", "/api/registry",
                                   {"name": name, "node_id": 1, "process_id": 5}, headers))
    threads = [threading.Thread(target=send, args=(shared[1 + i % 3],)) for i in range(12)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert {a.status for a in answers} == {201}
    assert len({a.body for a in answers}) == 1
    assert sum(a.headers["Idempotent-Replayed"] is None for a in answers) == 1


def test_over_failover_snapshot_and_restart(new_cluster, name):
    cluster = new_cluster(flags=["--snapshot-threshold", "64", "--snapshot-trailing", "16"])
    cluster.start().wait_ready()
    headers, batch = key(), key()
    ops = {"ops": [{"op": "put", "name": f"{name}/{i}", "node_id": 1, "process_id": i}
                   for i in range(128)]}
    leader = cluster.leader()
    first = leader.ask("POST", "/api/registry", {"name": name, "node_id": 1, "process_id": 2},
                       headers)
    first_batch = leader.ask("POST", "/api/batch", ops, batch)
    assert (first.status, first_batch.status) == (201, 200)
    leader.kill()
    cluster.leader()
    with cluster.leader().api() as a:
        for i in range(200):
            assert a.put(name, 3, i).status == 200
    leader.start()
    cluster.wait_ready()
    for replica in cluster:
        replica.kill()
    cluster.start().wait_ready()
    for replica in cluster:
        again = replica.ask("POST", "/api/registry", {"name": name, "node_id": 1, "process_id": 2},
                            headers)
        assert same(first, again) and again.headers["Idempotent-Replayed"] == "true"
        again = replica.ask("POST", "/api/batch", ops, batch)
        assert again.body == first_batch.body
        assert again.headers["Idempotent-Replayed"] == "true"
    digests = {r.ask("GET", "/api/cluster").json()["digest"] for r in cluster}
    assert len(digests) == 1


def test_unknown_outcomes_are_told(new_cluster, name):
    """A counter that is moved by writers who repeat what had no answer, while leaders die:
    each step is done once."""
    cluster = new_cluster(flags=["--request-timeout-ms", "1000"]).start()
    cluster.wait_ready()
    end = time.monotonic() + 12
    steps, repeats, errors = [0], [0], []

    def write():
        revision = 0
        while time.monotonic() < end:
            headers = {**key(), **({"If-Match": f'"{revision}"'} if revision else {})}
            for attempt in itertools.count():
                replica = cluster[1 + (steps[0] + attempt) % 3]
                try:
                    answer = replica.ask("PUT", f"/api/registry/{api.quote(name)}",
                                         {"node_id": 1, "process_id": steps[0]}, headers)
                except (api.NotSent, api.Lost):
                    answer = None
                if answer is not None and answer.status in (200, 201):
                    revision = answer.json()["revision"]
                    if answer.json()["process_id"] != steps[0]:
                        errors.append(answer)
                    repeats[0] += answer.headers["Idempotent-Replayed"] is not None
                    break
                if answer is not None and answer.status not in (503, 504):
                    errors.append(answer)  # a 412 means that a step was done twice
                    return
                time.sleep(0.05)
            steps[0] += 1
    writer = threading.Thread(target=write)
    writer.start()
    while time.monotonic() < end - 3:
        leader = cluster.leader()
        leader.kill()
        cluster.leader()
        leader.start()
        cluster.wait_ready()
    writer.join()
    assert not errors
    assert steps[0] > 20
