"""The power fails: what a disk was not made to keep is gone, and the daemon
with it. Every write that was answered is there afterwards.

CALLSIGN_POWER_CUTS=N makes N cuts of each kind instead of a few.
"""

import os

import pytest

import cluster as clusters
import faults
import writers

CUTS = int(os.environ.get("CALLSIGN_POWER_CUTS", "0"))
CUTS_PER_CLUSTER = 5  # so that snapshots and old segments are among what is cut
FLAGS = ["--disk-low-mib", "1", "--snapshot-threshold", "200", "--snapshot-trailing", "20"]


def rounds(quick):
    """How many cuts each cluster of a test gets."""
    count = CUTS or quick
    return [min(CUTS_PER_CLUSTER, count - done) for done in range(0, count, CUTS_PER_CLUSTER)]


def cut(victims, disks):
    """All at once: first the disks, one system call each, then the processes."""
    for victim in victims:
        disks[victim.id].cut_power()
    for victim in victims:
        if victim.running:
            victim.kill()
        status = victim.process.returncode
        assert status in (-9, 3), f"exit status {status} on a dead disk"


def power_on(victims, disks):
    for victim in victims:
        disks[victim.id].umount()
        assert disks[victim.id].mount()
        victim.start()


def survives(cluster, choose, cuts, rng):
    """Cuts again and again with writes in flight; how many were acknowledged."""
    acked = 0
    loads = []
    with faults.disks(list(cluster)) as disks:
        cluster.start().wait_ready()
        for _ in range(cuts):
            victims = choose()
            with writers.Writers(cluster) as load:
                load.wait_progress(rng.randrange(1, 120))
                cut(victims, disks)
                power_on(victims, disks)
                cluster.wait_ready()
                load.wait_progress(5)
            loads.append(load)
            for one in loads:
                known = one.check(cluster)
            acked += known[0]
        cluster.wait_same()
        doubts = sum(len(faults.events(r.log, "log_in_doubt")) for r in cluster)
        cluster.stop()
    print(f"power: {cuts} cuts, {acked} writes acknowledged, 0 lost, {doubts} times in doubt")


def test_a_cut_loses_what_was_not_synced(folder):
    """Otherwise the tests below would show nothing."""
    replica = clusters.Replica(folder, 1)
    with faults.disks([replica]) as disks:
        unsynced, synced = replica.data_dir / "unsynced", replica.data_dir / "synced"
        for path in (unsynced, synced):
            with open(path, "wb") as file:
                file.write(b"x" * faults.BLOCK)
                if path is synced:
                    file.flush()
                    os.fsync(file.fileno())
        with open(synced, "ab") as file:
            file.write(b"more")
        disks[1].cut_power()
        disks[1].umount()
        assert disks[1].mount()
        assert not unsynced.exists() or unsynced.stat().st_size == 0
        assert synced.read_bytes() == b"x" * faults.BLOCK


@pytest.mark.parametrize("round_", range(len(rounds(2))))
def test_a_replica_that_is_alone(new_cluster, rng, round_):
    cluster = new_cluster(count=1, flags=FLAGS)
    survives(cluster, lambda: list(cluster), rounds(2)[round_], rng)


@pytest.mark.parametrize("round_", range(len(rounds(1))))
def test_one_of_three(new_cluster, rng, round_):
    cluster = new_cluster(flags=FLAGS)
    survives(cluster, lambda: [rng.choice(list(cluster))], rounds(1)[round_], rng)


@pytest.mark.parametrize("round_", range(len(rounds(2))))
def test_all_three_at_once(new_cluster, rng, round_):
    cluster = new_cluster(flags=FLAGS)
    survives(cluster, lambda: list(cluster), rounds(2)[round_], rng)


@pytest.mark.parametrize("point", [0.0, 0.01, 0.05])
def test_at_the_first_start(new_cluster, point):
    """Before there is anything to lose: the directory joins."""
    cluster = new_cluster(flags=FLAGS)
    victim = cluster[2]
    with faults.disks(list(cluster)) as disks:
        cluster.start()
        try:
            victim.wait_exit(point)
        except clusters.subprocess.TimeoutExpired:
            pass
        cut([victim], disks)
        power_on([victim], disks)
        cluster.wait_ready()
        with writers.Writers(cluster) as load:
            load.wait_progress(5)
        load.check(cluster)
        cluster.stop()
