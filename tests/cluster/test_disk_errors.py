"""A disk that answers with an error, or writes less than it was asked to, under
running daemons and writes: what was acknowledged is there afterwards, and a
replica that cannot go on says so and ends, or waits for the disk and goes on by
itself.

CALLSIGN_KILL_POINTS=all tries it with followers too.
"""

import os
import pathlib
import resource
import subprocess

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


@pytest.fixture(scope="session")
def shim(tmp_path_factory):
    """tests/lib/diskshim.c, for LD_PRELOAD."""
    library = tmp_path_factory.mktemp("shim") / "diskshim.so"
    source = pathlib.Path(__file__).parent.parent / "lib" / "diskshim.c"
    subprocess.run(["cc", "-std=c11", "-O2", "-shared", "-fPIC", "-o", library, source, "-ldl"],
                   check=True)
    return library


def preload(replica, library, *, aio=True):
    """What the shim does from here on is what the file returned says."""
    orders = replica.folder / f"shim-{replica.id}"
    replica.wrapper = ["env", f"LD_PRELOAD={library}", f"DISKSHIM={orders}"]
    if not aio:
        replica.wrapper.append("DISKSHIM_NO_AIO=1")
    return orders


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


def chosen(cluster, role):
    return cluster.followers()[0] if role == "follower" else cluster.leader()


def under_load(cluster, victim, fails, lives):
    """With writes all the time, `fails` is entered; returns how it went."""
    with writers.Writers(cluster) as load:
        load.wait_progress(10)
        with fails:
            outcome = ended_or_went_on(victim, load)
        check_ending(victim, outcome, lives)
        cluster.wait_ready()
        load.wait_progress(10)
    load.check(cluster)
    cluster.wait_same()
    return outcome


class Ordered:
    """The shim does so while this is entered."""

    def __init__(self, orders, word):
        self.orders, self.word = orders, word

    def __enter__(self):
        self.orders.write_text(self.word)

    def __exit__(self, *_):
        self.orders.unlink()


@faults.needs_strace
@pytest.mark.parametrize("calls,what,lives", CASES)
@pytest.mark.parametrize("role", ROLES)
def test_nothing_is_lost(new_cluster, role, calls, what, lives):
    cluster = new_cluster(count=1 if role == "alone" else 3, flags=FLAGS).start().wait_ready()
    victim = chosen(cluster, role)
    outcome = under_load(cluster, victim, faults.injected(victim, calls, what), lives)
    print(f"disk error: {role} {calls} {what}: {outcome}")


@pytest.mark.parametrize("aio", [True, False], ids=["io_submit", "thread"])
@pytest.mark.parametrize("word", ["short", "odd"])
@pytest.mark.parametrize("role", ROLES)
def test_writes_that_end_early(new_cluster, shim, role, word, aio):
    cluster = new_cluster(count=1 if role == "alone" else 3, flags=FLAGS)
    orders = {r.id: preload(r, shim, aio=aio) for r in cluster}
    cluster.start().wait_ready()
    victim = chosen(cluster, role)
    outcome = under_load(cluster, victim, Ordered(orders[victim.id], word), True)
    assert not faults.events(victim.log, "log_in_doubt")
    print(f"disk error: {role} {word} {'io_submit' if aio else 'thread'}: {outcome}")


def ends_and_comes_back(cluster, victim, load, why):
    """It ends by itself, says why, and with a sound disk has all it acknowledged."""
    assert victim.wait_exit(30) == CANNOT_GO_ON, victim.log[-500:]
    ending = victim.log.splitlines()[-1]
    assert "writing the log failed" in ending and why in ending and "log segment" in ending
    victim.wrapper = []
    victim.start()
    cluster.wait_ready()
    load.wait_progress(10)


@pytest.mark.parametrize("role", ROLES)
def test_a_write_that_was_begun_fails(new_cluster, shim, role):
    """By io_submit; at the latest when that has its turn again."""
    cluster = new_cluster(count=1 if role == "alone" else 3, flags=FLAGS)
    orders = {r.id: preload(r, shim) for r in cluster}
    cluster.start().wait_ready()
    victim = chosen(cluster, role)
    with writers.Writers(cluster) as load:
        load.wait_progress(10)
        with Ordered(orders[victim.id], "eio"):
            ends_and_comes_back(cluster, victim, load, "Input/output error")
    load.check(cluster)
    assert not faults.events(victim.log, "log_in_doubt")


@faults.needs_strace
@pytest.mark.parametrize("what,lives", [("error=EIO:when=5", False), ("error=EIO:when=5+", False),
                                        ("error=ENOSPC:when=5..8", False),
                                        ("error=EAGAIN:when=5..8", True)])
@pytest.mark.parametrize("role", ROLES)
def test_writes_of_the_thread_fail(new_cluster, shim, role, what, lives):
    """Where io_submit is refused. Nothing may be written behind a write that failed."""
    cluster = new_cluster(count=1 if role == "alone" else 3, flags=FLAGS)
    for replica in cluster:
        preload(replica, shim, aio=False)
    cluster.start().wait_ready()
    victim = chosen(cluster, role)
    outcome = under_load(cluster, victim, faults.injected(victim, WRITES, what), lives)
    print(f"disk error: {role} thread {what}: {outcome}")


@pytest.mark.parametrize("role", ROLES)
def test_limit_on_the_size_of_files(new_cluster, role):
    """The kernel cuts the write that crosses it, and refuses the next: EFBIG."""
    cluster = new_cluster(count=1 if role == "alone" else 3, flags=FLAGS).start().wait_ready()
    victim = chosen(cluster, role)
    with writers.Writers(cluster) as load:
        load.wait_progress(10)
        segment = faults.segments(victim)[-1]
        limit = faults.batches(segment)[-1] + 40 * faults.BLOCK
        resource.prlimit(victim.process.pid, resource.RLIMIT_FSIZE, (limit, limit))
        ends_and_comes_back(cluster, victim, load, "File too large")
    load.check(cluster)
    assert not faults.events(victim.log, "log_in_doubt")
