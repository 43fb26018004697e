"""Memory over a long life: nothing is lost, nothing grows.

CALLSIGN_LEAK_SECONDS is how long the load lasts (default 8); more is a long run.
"""

import os
import shutil
import time

import pytest

import api
import cluster as clusters
import writers

SECONDS = int(os.environ.get("CALLSIGN_LEAK_SECONDS", "8"))
LEAKED = 99
NAMES = 2000
GROWTH_MAX_KIB = 8192  # after the warm-up, for what allocators keep
PATIENCE_S = 60  # of a daemon that runs thirty times slower


def churn(cluster, seconds):
    """Registers, moves, looks up and removes the same names for a while."""
    end = time.monotonic() + seconds
    rounds = 0
    while time.monotonic() < end:
        rounds += 1
        requests = []
        for i in range(NAMES // 10):
            name = f"churn/{rounds % 10}/{i}"
            requests += [api.post_bytes(name, 1, rounds), call_bytes("GET", name)]
            if i % 3 == 0:
                requests.append(call_bytes("DELETE", name))
        answers = writers.bulk(cluster.running(), requests, until=lambda: time.monotonic() > end)
        # DELETE may be answered before the POST that another connection sends.
        assert {a.status for a in answers} <= {200, 201, 404}
    return rounds


def call_bytes(method, name):
    return f"{method} /api/registry/{name} HTTP/1.1\r\nHost: a\r\n\r\n".encode()


@pytest.mark.skipif(shutil.which("valgrind") is None, reason="valgrind is not installed")
def test_nothing_is_lost(new_cluster):
    """Three replicas under valgrind, with load, snapshots, a follower that
    comes back from behind them, and a leader that hands over. Each end of a
    life has to be orderly and without a leak."""
    cluster = new_cluster(flags=["--election-timeout-ms", "10000", "--heartbeat-ms", "500",
                                 "--request-timeout-ms", "30000", "--snapshot-threshold", "60",
                                 "--snapshot-trailing", "10"])
    for replica in cluster:
        replica.wrapper = ["valgrind", "--quiet", "--leak-check=full", "--fair-sched=try",
                           "--errors-for-leak-kinds=definite,indirect,possible",
                           f"--error-exitcode={LEAKED}"]
    cluster.start().wait_ready(PATIENCE_S)
    churn(cluster, SECONDS / 2)

    def end(replica):
        assert replica.terminate(PATIENCE_S) == 0, f"see {replica.log_path}"
    follower = cluster.followers()[0]
    end(follower)
    churn(cluster, SECONDS / 2)
    follower.start()
    cluster.wait_ready(PATIENCE_S)
    cluster.wait_same(PATIENCE_S)
    end(cluster.leader(PATIENCE_S))
    for replica in cluster.running():
        end(replica)


def resident_kib(replica):
    with open(f"/proc/{replica.process.pid}/status", encoding="ascii") as status:
        for line in status:
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
    raise AssertionError("no VmRSS")


def test_nothing_grows(new_cluster):
    """The same names over and over, with snapshots: memory reaches its size
    and stays there."""
    cluster = new_cluster(flags=["--snapshot-threshold", "500", "--snapshot-trailing", "100"])
    cluster.start().wait_ready()
    churn(cluster, SECONDS / 2)
    cluster.wait_same()
    before = [resident_kib(r) for r in cluster]
    rounds = churn(cluster, SECONDS)
    cluster.wait_same()
    after = [resident_kib(r) for r in cluster]
    print(f"{rounds} rounds in {SECONDS} s: KiB {before} -> {after}")
    assert rounds >= 2
    clusters.eventually(
        f"memory is what it was: KiB {before} -> {after}",
        lambda: all(resident_kib(r) <= b + GROWTH_MAX_KIB for r, b in zip(cluster, before)))
