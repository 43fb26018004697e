"""Death at the n-th system call of a kind, with writes in flight and a
snapshot every few of them: every write that was answered is there afterwards.

CALLSIGN_KILL_POINTS=all tries all points instead of some.
"""

import os

import pytest

import cluster as clusters
import faults
import writers

FLAGS = ["--snapshot-threshold", "20", "--snapshot-trailing", "5"]

# Calls that change what is on the disk, and at which of them to die, counted
# from when the writes begin, by thread. The first points are tried always.
POINTS = [
    # Few: with strace in it the call is slow, and the daemon leaves it alone for a second.
    ("io_submit", (1, 2, 7), (3, 4, 5, 6, 8, 10, 12, 15)),
    ("pwrite64,pwritev", (1, 2, 7, 23, 60),
     (3, 4, 5, 6, 8, 10, 12, 14, 16, 18, 20, 21, 22, 24, 28, 34, 41, 50, 75, 110, 150)),
    ("fsync,fdatasync", (1, 2, 5), (3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 18, 20)),
    ("rename,renameat,renameat2", (1, 2, 3), (4, 5, 6, 7, 8, 9, 10)),
    ("unlink,unlinkat", (1, 2), (3, 4, 5, 6)),
    ("openat", (1, 2, 3), (4, 5, 6, 7, 8, 9, 10)),
    ("close", (2,), (1, 3, 4, 5)),
    ("write", (9,), (3, 40, 90)),
]
ALL = os.environ.get("CALLSIGN_KILL_POINTS") == "all"
WRITES_MAX = 600  # once it is ready and so many more are acknowledged, the point is not reached


def points():
    for calls, some, more in POINTS:
        for when in sorted(some + (more if ALL else ())):
            yield pytest.param(calls, when, id=f"{calls.partition(',')[0]}-{when}")


def dies_while_written_to(replica, load):
    """Until the replica is dead; False if it reached no such call."""
    enough = len(load.merged("acked")) + WRITES_MAX

    def done():
        if not replica.running:
            return "died"
        written = replica.is_ready() and len(load.merged("acked")) >= enough
        return "lives" if written else None
    return clusters.eventually("it dies or has written enough", done, timeout=60) == "died"


@pytest.fixture(autouse=True)
def one_thread_for_files(monkeypatch):
    """So that a point in it does not depend on which of them gets the work."""
    monkeypatch.setenv("UV_THREADPOOL_SIZE", "1")


@faults.needs_strace
@pytest.mark.parametrize("calls,when", points())
def test_alone(new_cluster, calls, when):
    """Nobody else has what it answered."""
    cluster = new_cluster(count=1, flags=FLAGS).start().wait_ready()
    replica = cluster[1]
    with faults.deadly(replica, calls, when), writers.Writers(cluster) as load:
        died = dies_while_written_to(replica, load)
        if not died:
            replica.kill()
        acked = len(load.merged("acked"))
        replica.start()
        replica.wait_ready()
        load.wait_progress(5)
    load.check(cluster)
    assert not faults.events(replica.log, "log_in_doubt"), "a kill leaves no doubt"
    print(f"kill: {calls} {when}: {'died' if died else 'not reached'}, {acked} acknowledged before")


@faults.needs_strace
@pytest.mark.parametrize("calls,when", [("io_submit", 5), ("pwrite64,pwritev", 3),
                                        ("fsync,fdatasync", 2),
                                        ("rename,renameat,renameat2", 1), ("openat", 20)])
def test_while_it_catches_up_by_snapshot(new_cluster, calls, when):
    cluster = new_cluster(flags=FLAGS).start().wait_ready()
    victim = cluster.followers()[0]
    with writers.Writers(cluster) as first:
        first.wait_progress(20)
    victim.kill()
    with writers.Writers(cluster.running()) as second:
        second.wait_progress(60)
        victim.wrapper = faults.dying_at(calls, when)
        victim.start()
        died = dies_while_written_to(victim, second)
        if not died:
            victim.kill_group()
        victim.wrapper = []
        victim.start()
        victim.wait_ready()
    cluster.wait_ready()
    for load in (first, second):
        load.check(cluster)
    cluster.wait_same()
    assert not faults.events(victim.log, "log_in_doubt"), "a kill leaves no doubt"
    print(f"kill: {calls} {when}: {'died' if died else 'not reached'} catching up")
