"""The first start, killed at any point of it: the next one joins.

CALLSIGN_KILL_POINTS=all dies at each call in turn instead of at some.
"""

import os

import pytest

import cluster as clusters
import faults

# System calls by which a first start makes its files, and which of them to
# die at.
CALLS = ["mkdir,mkdirat", "openat", "rename,renameat,renameat2", "fsync,fdatasync", "ftruncate",
         "pwrite64,write,pwritev,pwritev2", "fallocate", "unlink,unlinkat", "flock,fcntl"]
POINTS = range(1, 60) if os.environ.get("CALLSIGN_KILL_POINTS") == "all" else [1, 2, 3, 5, 8]
STARTS_MAX = 40


def serves(replica):
    replica.wait_ready()
    with replica.api() as a:
        assert a.put("first", 1, 1).status in (200, 201)
        assert a.get("first").status == 200


@faults.needs_strace
@pytest.mark.parametrize("calls", CALLS)
def test_a_single_replica(folder, calls):
    died = 0
    for when in POINTS:
        replica = clusters.Replica(folder / f"at-{when}", 1)
        replica.folder.mkdir()
        replica.wrapper = faults.dying_at(calls, when)
        replica.start()
        ended = clusters.eventually("it dies or serves", lambda: (
            "died" if not replica.running else "served" if replica.is_ready() else None))
        if ended == "served":  # that many calls are not made
            replica.kill_group()
            break
        died += 1
        replica.wrapper = []
        replica.start()
        serves(replica)
        replica.kill()
    print(f"{calls}: died at {died} points")


@faults.needs_strace
@pytest.mark.parametrize("calls,when", [("rename,renameat,renameat2", 1),
                                        ("rename,renameat,renameat2", 2),
                                        ("fsync,fdatasync", 2), ("fsync,fdatasync", 4),
                                        ("pwrite64,write,pwritev,pwritev2", 4), ("fallocate", 1)])
def test_a_member(new_cluster, calls, when):
    cluster = new_cluster()
    victim = cluster[2]
    victim.wrapper = faults.dying_at(calls, when)
    cluster.start()
    others = [r for r in cluster if r is not victim]
    ended = clusters.eventually("it dies or serves", lambda: (
        "died" if not victim.running else "served" if victim.is_ready() else None))
    print(f"{calls} {when}: {ended}")
    if ended == "served":
        victim.kill_group()
    victim.wrapper = []
    victim.start()
    cluster.wait_ready(30)
    for replica in cluster:
        serves(replica)
    cluster.wait_same()
    # It is a full member: with it and one other there is a quorum.
    others[0].kill()
    clusters.eventually("two go on", lambda: victim.is_ready() and others[1].is_ready())
    serves(victim)


def test_killed_again_and_again(folder, rng):
    """At points nobody chose."""
    replica = clusters.Replica(folder, 1)
    for _ in range(STARTS_MAX):
        replica.start()
        deadline = rng.uniform(0, 0.06)
        try:
            replica.wait_exit(deadline)
            raise AssertionError(f"it ended: {replica.log[-500:]}")
        except clusters.subprocess.TimeoutExpired:
            replica.kill()
    replica.start()
    serves(replica)
    replica.kill()
