"""A disk that answers with an error, under running daemons and writes: what
was acknowledged is there afterwards, and a replica that cannot go on says so
and ends, or waits for the disk and goes on by itself.

CALLSIGN_KILL_POINTS=all tries it with followers too.
"""

import os

import pytest

import cluster as clusters
import faults
import writers

FLAGS = ["--snapshot-threshold", "20", "--snapshot-trailing", "5"]
WRITES = "pwrite64,pwritev"
SUBMITS = "io_submit"
SYNCS = "fsync,fdatasync"
RENAMES = "rename,renameat,renameat2"
CANNOT_GO_ON = 3
ENOUGH = 60  # acknowledged writes since the first error, with snapshots among them

# What fails, how, and whether the replica has to live through it: None where
# that depends on what the call was for.
ERRORS = [
    # By the threads: segments, the mark, snapshots, and the log without io_submit.
    (WRITES, "error=EIO:when=5", None),
    (WRITES, "error=EIO:when=5+", None),
    (WRITES, "error=EAGAIN:when=5..8", True),
    (WRITES, "error=EINTR:when=5..8", True),
    # The space was reserved before. Where a file system has none all the same,
    # as one that copies on write, what the write did is not known.
    (WRITES, "error=ENOSPC:when=5..8", None),
    # Refused before anything was begun: the thread writes instead.
    (SUBMITS, "error=EAGAIN:when=3..6", True),
    (SUBMITS, "error=EIO:when=3+", True),
    (SYNCS, "error=EIO:when=2", None),
    (SYNCS, "error=EIO:when=2+", None),
    (RENAMES, "error=EIO:when=1+", None),
    (RENAMES, "error=ENOSPC:when=2..4", None),
    ("openat", "error=EIO:when=3+", None),
    ("openat", "error=EMFILE:when=3..6", None),
    ("unlink,unlinkat", "error=EIO:when=1+", None),
    ("fallocate", "error=ENOSPC:when=1..3", None),
]
ROLES = ["alone", "leader"]
if os.environ.get("CALLSIGN_KILL_POINTS") == "all":
    ROLES.append("follower")
CASES = [pytest.param(*e, id=f"{e[0].partition(',')[0]}-{e[1]}") for e in ERRORS]


def ended_or_went_on(replica, load):
    def acknowledged():
        return sum(len(w.acked) for w in load.through(replica))
    enough = acknowledged() + ENOUGH

    def done():
        if not replica.running:
            return "ended"
        return "went on" if acknowledged() >= enough else None
    return clusters.eventually("it ends, or goes on with writes", done, timeout=60)


def check_ending(replica, outcome, lives):
    if outcome == "ended":
        assert lives is not True, "it had to live through that"
        assert replica.wait_exit() == CANNOT_GO_ON, replica.log[-500:]
        last = [line for line in replica.log.splitlines() if "level=error" in line]
        assert last, "it did not say why"
        replica.start()
    else:
        assert lives is not False, "nothing may be written behind a write that failed"


@faults.needs_strace
@pytest.mark.parametrize("calls,what,lives", CASES)
@pytest.mark.parametrize("role", ROLES)
def test_nothing_is_lost(new_cluster, role, calls, what, lives):
    cluster = new_cluster(count=1 if role == "alone" else 3, flags=FLAGS).start().wait_ready()
    victim = cluster.followers()[0] if role == "follower" else cluster.leader()
    with writers.Writers(cluster) as load:
        load.wait_progress(10)
        with faults.injected(victim, calls, what):
            outcome = ended_or_went_on(victim, load)
        check_ending(victim, outcome, lives)
        cluster.wait_ready()
        load.wait_progress(10)
    load.check(cluster)
    cluster.wait_same()
    print(f"disk error: {role} {calls} {what}: {outcome}")
