"""Damage to the files of one replica: docs/operations.md, "A damaged replica",
step by step on real daemons."""

import re
import shutil

import pytest

import api
import cluster as clusters
import faults
import writers

EXIT_BROKEN = 3
ADVICE = "docs/operations.md"
# Little per segment and few entries between snapshots: every kind of file is there.
FLAGS = ["--snapshot-threshold", "20", "--snapshot-trailing", "5"]


def refuses(replica, *says):
    """Starts it; it ends with a message that says all this."""
    before = len(replica.log)
    replica.start()
    status = replica.wait_exit()
    message = replica.log[before:]
    assert status == EXIT_BROKEN, f"exit status {status}: {message}"
    for text in says:
        assert str(text) in message, f"{text!r} is not in: {message}"


def replaced(replica):
    """Moves its directory away, as step 3 says."""
    shutil.move(replica.data_dir, f"{replica.data_dir}.damaged")


def votes(replica):
    return (replica.data_dir / "voter.marker").exists()


def take_part(cluster, replica):
    """It is whole again: it holds what the others hold, votes, and with it and
    one other there is a quorum."""
    replica.wait_ready()
    clusters.eventually(f"replica {replica.id} votes", lambda: votes(replica))
    cluster.wait_ready()
    cluster.wait_same()
    cluster.leader().kill()
    if not replica.running:
        replica.start()
        next(r for r in cluster if r is not replica).kill()
    cluster.wait_ready()
    with replica.api() as a:
        assert a.put("with two of three", 1, 1).status in (200, 201)
    for other in cluster:
        if not other.running:
            other.start()
    cluster.wait_ready()


def write(cluster, count=100):
    with writers.Writers(cluster, per_replica=1) as load:
        load.wait_progress(count // len(list(cluster)))
    return load


def damage_log(replica):
    segment = faults.segments(replica)[0]
    at = faults.batches(segment)[0]
    faults.flip(segment, at + faults.BATCH_HEAD + 40)
    return segment.name, f"at byte {at}"


def damage_ballot(replica):
    for copy in (0, faults.BLOCK):
        faults.flip(faults.raft_folder(replica) / "ballot", copy + 48)
    return "ballot", "both copies"


def damage_installed_snapshot(replica):
    """One that came from the leader: no log reaches back behind it."""
    for snapshot in faults.snapshots(replica):
        faults.flip(snapshot, snapshot.stat().st_size - 10)
    return faults.snapshots(replica)[-1].name, "checksum"


def lose_segment(replica):
    segment = faults.segments(replica)[-1]
    segment.unlink()
    return "log-", str(replica.data_dir)


@pytest.mark.parametrize("damage", [damage_log, damage_ballot, damage_installed_snapshot,
                                    lose_segment])
def test_a_damaged_member_is_replaced(new_cluster, damage):
    cluster = new_cluster(flags=FLAGS).start().wait_ready()
    victim = cluster.followers()[0]
    loads = [write(cluster)]
    victim.kill()
    if damage is damage_installed_snapshot:
        with writers.Writers(cluster.running(), per_replica=1) as load:
            load.wait_progress(60)
        loads.append(load)
        before = len(victim.log)
        victim.start()
        victim.wait_ready()
        cluster.wait_same()
        with victim.api() as a:
            assert a.metric("callsign_snapshots_restored_total") >= 1, victim.log[before:]
        victim.kill()
    says = damage(victim)
    status, printed = faults.inspect(victim.data_dir)
    assert status == EXIT_BROKEN, printed
    assert "verdict: a replica refuses to start" in printed
    for text in says[:1]:
        assert text in printed, printed
    # Again and again: a refusal changes nothing.
    refuses(victim, victim.data_dir, ADVICE, *says)
    refuses(victim, victim.data_dir, ADVICE, *says)
    assert faults.inspect(victim.data_dir) == (status, printed)

    with writers.Writers(cluster.running(), per_replica=1) as load:
        load.wait_progress(20)
        replaced(victim)
        victim.start()
        victim.wait_ready()
        load.wait_progress(20)
    loads.append(load)
    take_part(cluster, victim)
    for load in loads:
        load.check(cluster)


@pytest.mark.parametrize("kind", ["ballot", "mark", "snapshot", "older snapshot"])
def test_damage_that_is_made_up_for(new_cluster, kind):
    """One of two copies, or a snapshot whose entries the log still has."""
    cluster = new_cluster(count=1, flags=FLAGS).start().wait_ready()
    replica = cluster[1]
    load = write(cluster)
    clusters.eventually("there are two snapshots", lambda: len(faults.snapshots(replica)) >= 2)
    replica.kill()
    path = {"ballot": faults.raft_folder(replica) / "ballot",
            "mark": faults.raft_folder(replica) / "mark",
            "snapshot": faults.snapshots(replica)[-1],
            "older snapshot": faults.snapshots(replica)[0]}[kind]
    faults.flip(path, 100)
    status, printed = faults.inspect(replica.data_dir)
    assert status == 0 and path.name in printed, printed
    assert "verdict: everything that was acknowledged is there" in printed
    replica.start()
    replica.wait_ready()
    load.check(cluster)


def test_inspect_of_a_good_directory(new_cluster):
    cluster = new_cluster(count=1, flags=FLAGS).start().wait_ready()
    replica = cluster[1]
    write(cluster)
    assert replica.terminate() == 0
    before = {p.name: p.read_bytes() for p in faults.raft_folder(replica).iterdir()}
    for path in (replica.data_dir, faults.raft_folder(replica)):
        status, printed = faults.inspect(path)
        assert status == 0, printed
        for name in before:
            assert f"{name}: " in printed
        assert "verdict: everything that was acknowledged is there" in printed
        assert "amage" not in printed
    after = {p.name: p.read_bytes() for p in faults.raft_folder(replica).iterdir()}
    assert after == before
    status, printed = faults.inspect(replica.data_dir / "none")
    assert status == EXIT_BROKEN and "No such file" in printed


@pytest.mark.parametrize("name", ["open-1", "metadata1", "0000000000000001-0000000000000042",
                                  "snapshot-1-2-3"])
def test_a_log_of_raft_uv_is_refused(folder, name):
    replica = clusters.Replica(folder, 1)
    replica.start()
    replica.wait_ready()
    assert replica.terminate() == 0
    raft = faults.raft_folder(replica)
    shutil.rmtree(raft)
    raft.mkdir()
    (raft / name).write_bytes(b"\1" * 32)
    refuses(replica, raft, name, "earlier release in another format", "rejoin")
    assert [p.name for p in raft.iterdir()] == [name], "a refused directory was changed"


def killed_with_a_doubtful_write(replica, others=()):
    """Kills it under load until its last write is one the mark does not prove,
    and damages that one; the writers of all rounds."""
    loads = []

    def done():
        if not replica.running:
            replica.start()
            replica.wait_ready()
        with writers.Writers([replica, *others], per_replica=1) as load:
            load.wait_progress(20)
            replica.kill()
        loads.append(load)
        return faults.damage_last_write(replica)

    clusters.eventually("the last write is beyond the mark", done, timeout=60)
    return loads


def test_a_single_replica_in_doubt(new_cluster):
    cluster = new_cluster(count=1).start().wait_ready()
    replica = cluster[1]
    load = write(cluster)
    killed_with_a_doubtful_write(replica)
    status, printed = faults.inspect(replica.data_dir)
    assert status == 0 and "may have been acknowledged" in printed, printed
    refuses(replica, replica.data_dir, "--accept-data-loss")
    refuses(replica, replica.data_dir, "--accept-data-loss")
    replica.flags.append("--accept-data-loss")
    replica.start()
    replica.wait_ready()
    load.check(cluster)
    assert replica.terminate() == 0
    # For one start: from then on nothing is in doubt.
    replica.flags.remove("--accept-data-loss")
    replica.start()
    replica.wait_ready()
    load.check(cluster)


def test_a_member_in_doubt(new_cluster):
    cluster = new_cluster().start().wait_ready()
    victim = cluster.followers()[0]
    loads = killed_with_a_doubtful_write(victim, [r for r in cluster if r is not victim])
    before = len(victim.log)
    victim.start()
    victim.wait_ready()
    message = victim.log[before:]
    assert faults.events(message, "log_in_doubt"), message
    assert faults.events(message, "votes"), message
    take_part(cluster, victim)
    for load in loads:
        load.check(cluster)


def grown(cluster):
    """Two more replicas, taken in through the first one."""
    first = cluster[1]
    for replica_id in (2, 3):
        replica = clusters.Replica(cluster.folder, replica_id)
        replica.flags += ["--cluster-id", first.state()["cluster_id"],
                          "--join", f"1={first.peer_address}"]
        added = first.ask("POST", "/api/cluster/members",
                          {"id": replica_id, "peer_address": replica.peer_address,
                           "http_address": f"{api.HOST}:{replica.http_port}"})
        assert added.status == 200, added
        replica.start()
        cluster.replicas.append(replica)
        clusters.eventually(f"replica {replica_id} votes", lambda r=replica: (
            votes(r) and r.is_ready()
            and {"id": r.id, "role": "voter"}.items()
            <= next(m for m in first.state()["members"] if m["id"] == r.id).items()), 20)


def test_a_founder_in_doubt(new_cluster):
    """Its flags name nobody but itself, its log does: it asks the others."""
    cluster = new_cluster(count=1).start().wait_ready()
    founder = cluster[1]
    grown(cluster)
    loads = killed_with_a_doubtful_write(founder, list(cluster)[1:])
    before = len(founder.log)
    founder.start()
    founder.wait_ready()
    message = founder.log[before:]
    assert faults.events(message, "log_in_doubt"), message
    above = [int(n) for n in re.findall(r"event=votes above_term=(\d+)", message)]
    assert above and above[-1] > 0, message
    take_part(cluster, founder)
    for load in loads:
        load.check(cluster)


def beyond_mark(replica):
    segment = faults.segments(replica)[-1]
    return faults.sequence(segment, faults.batches(segment)[-1]) > faults.marked(replica)


def all_killed_with_doubtful_writes(cluster):
    """All at once, in the middle of writes, until each one's last write is one
    its mark does not prove. The writers of all rounds."""
    loads = []

    def done():
        for replica in cluster:
            if not replica.running:
                replica.start()
        cluster.wait_ready()
        with writers.Writers(cluster, per_replica=1) as load:
            load.wait_progress(20)
            for replica in cluster:
                replica.signal(9)
            for replica in cluster:
                replica.kill()
        loads.append(load)
        return all(beyond_mark(replica) for replica in cluster)

    clusters.eventually("three last writes are beyond their marks", done, timeout=60)
    return loads


def accept_data_loss(replicas):
    for replica in replicas:
        if replica.running:
            replica.kill()
        replica.flags.append("--accept-data-loss")
        replica.start()
        replica.flags.remove("--accept-data-loss")


def log_end(replica):
    """Term and index, as inspect says."""
    _, printed = faults.inspect(replica.data_dir)
    return tuple(map(int, re.search(r"log ends with: term (\d+), entry (\d+)", printed).groups()))


def check_all_but_a_tail(cluster, loads):
    """Lost are at most the last writes, and on all replicas the same. How many."""
    acked = {k: v for load in loads for k, v in load.merged("acked").items()}
    kept = {}
    for replica in cluster:
        with replica.api() as a:
            there = {name: revision for name, (_, revision) in acked.items()
                     if a.get(name).status == 200}
        assert not kept or kept == there
        kept = there
    lost = [revision for name, (_, revision) in acked.items() if name not in kept]
    assert not lost or min(lost) > max(kept.values()), "something in the middle is gone"
    return len(lost)


def test_all_in_doubt(new_cluster):
    """Nobody can prove anything: they wait and serve nothing rather than guess,
    until the operator accepts what may be lost."""
    cluster = new_cluster().start().wait_ready()
    victims = list(cluster)
    loads = all_killed_with_doubtful_writes(cluster)
    assert all(faults.damage_last_write(r) for r in victims)
    for replica in victims:
        replica.start()
    clusters.eventually("all say it", lambda: all(
        faults.events(r.log, "log_in_doubt") for r in victims))
    clusters.eventually("all answer", lambda: all(r.state() for r in victims))
    for replica in victims:
        clusters.eventually("it says why", lambda r=replica: (
            "lost their data" in r.state().get("why", "")))
        assert "All replicas in doubt" in replica.state()["why"]
        assert not replica.is_ready()
        assert not votes(replica)
        with replica.api() as a:
            assert a.put("nothing", 1, 1).status == 503
            assert a.get("writer-1/1").status == 503
            stale = a.get("nothing", "consistency=stale")
            assert stale.status == 404, stale
            assert a.request("GET", "/livez").status == 200

    accept_data_loss(victims[:2])
    for replica in victims[:2]:
        clusters.eventually("it waits for the third", lambda r=replica: (
            f"waiting for it, or a past, of replica {victims[2].id}"
            in r.state().get("why", "")))
    accept_data_loss(victims[2:])
    cluster.wait_ready()
    for replica in victims:
        clusters.eventually("it votes", lambda r=replica: votes(r))
    lost = check_all_but_a_tail(cluster, loads)
    assert lost <= 3, "one write of each writer"
    cluster.wait_same()
    take_part(cluster, victims[0])
    print(f"all in doubt: {lost} writes lost")


def test_all_in_doubt_and_one_has_the_most(new_cluster):
    """What any replica still holds is kept, although the two others have the
    votes to elect one of them."""
    cluster = new_cluster().start().wait_ready()
    loads = all_killed_with_doubtful_writes(cluster)
    best = max(cluster, key=log_end)
    end = log_end(best)
    # In doubt, as its mark is gone, and yet with all it had.
    (faults.raft_folder(best) / "mark").unlink()
    others = [r for r in cluster if r is not best]
    assert all(faults.damage_last_write(r) for r in others)
    assert log_end(best) == end and all(log_end(r) < end for r in others)
    accept_data_loss([*others, best])
    cluster.wait_ready()
    assert check_all_but_a_tail(cluster, loads) == 0
    cluster.wait_same()


def test_doubt_of_two_and_a_third_with_a_past(new_cluster):
    cluster = new_cluster().start().wait_ready()
    loads = all_killed_with_doubtful_writes(cluster)
    followers = list(cluster)[1:]
    assert all(faults.damage_last_write(r) for r in followers)
    for replica in cluster:
        replica.start()
    clusters.eventually("two are in doubt", lambda: all(
        "lost their data" in r.state().get("why", "") for r in followers))
    accept_data_loss(followers)
    cluster.wait_ready()
    check_all_but_a_tail(cluster, loads)
    cluster.wait_same()
    take_part(cluster, followers[0])


def test_a_replaced_member_cannot_accept_loss(new_cluster):
    """Its votes are gone as well; only one that kept them may."""
    cluster = new_cluster().start().wait_ready()
    load = write(cluster)
    victim, other = cluster.followers()
    victim.kill()
    other.kill()
    replaced(victim)
    accept_data_loss([victim])
    clusters.eventually("it waits as without", lambda: (
        f"waiting once for replica {other.id}" in victim.state().get("why", "")))
    assert not votes(victim)
    other.start()
    take_part(cluster, victim)
    load.check(cluster)


@pytest.mark.parametrize("role", ["follower", "leader"])
def test_a_disk_that_turns_read_only(new_cluster, role):
    cluster = new_cluster(flags=["--disk-low-mib", "1"])
    with faults.disks(list(cluster)) as disks:
        cluster.start().wait_ready()
        victim = cluster.leader() if role == "leader" else cluster.followers()[0]
        with writers.Writers(cluster, per_replica=1) as load:
            load.wait_progress(30)
            disks[victim.id].turn_read_only()
            assert victim.wait_exit() == EXIT_BROKEN
            broken = faults.events(victim.log, "replica_broken")
            assert broken and str(victim.data_dir) in broken[-1], victim.log[-800:]
            load.wait_progress(30, cluster.running(), timeout=5)
            refuses(victim, victim.data_dir, "Read-only")
            disks[victim.id].umount()
            assert disks[victim.id].mount()
            victim.start()
            victim.wait_ready()
            load.wait_progress(30)
        take_part(cluster, victim)
        load.check(cluster)


def test_a_replaced_member_waits_for_all_others(new_cluster):
    """Step 4: with another one down the wait does not end, and both routes say
    what it waits for."""
    cluster = new_cluster().start().wait_ready()
    victim, other = cluster.followers()
    load = write(cluster)
    victim.kill()
    other.kill()
    replaced(victim)
    victim.start()
    waits = f"waiting once for replica {other.id}"
    clusters.eventually("it says what it waits for", lambda: (
        waits in victim.state().get("why", "")))
    ready = victim.ask("GET", "/readyz")
    assert ready.status == 503 and waits in ready.json()["why"], ready
    assert not votes(victim)
    other.start()
    take_part(cluster, victim)
    load.check(cluster)


def test_a_member_on_a_mount_point_is_replaced(new_cluster):
    """There the contents of the directory move, as it cannot move itself."""
    cluster = new_cluster(flags=["--disk-low-mib", "1", *FLAGS])
    victim = cluster[2]
    with faults.disks([victim]):
        cluster.start().wait_ready()
        load = write(cluster)
        victim.kill()
        says = damage_log(victim)
        refuses(victim, victim.data_dir, ADVICE, *says)
        away = victim.folder / "damaged"
        away.mkdir()
        for path in (victim.data_dir / "identity", *victim.data_dir.glob("*.marker"),
                     faults.raft_folder(victim)):
            shutil.move(path, away)
        victim.start()
        take_part(cluster, victim)
        load.check(cluster)
        cluster.stop()


def test_in_doubt_and_a_voter_never_returns(new_cluster):
    """Nobody can say what was committed any more: one of them goes on alone."""
    cluster = new_cluster().start().wait_ready()
    load = write(cluster)
    all_killed_with_doubtful_writes(cluster)
    survivor, other, gone = cluster
    assert all(faults.damage_last_write(r) for r in (survivor, other))
    shutil.rmtree(gone.data_dir)
    survivor.flags.append("--accept-data-loss")
    recovered = clusters.run(survivor.command()[0], "recover", *survivor.command()[1:])
    assert recovered.returncode == 0, recovered.stdout + recovered.stderr
    survivor.start()
    survivor.wait_ready()
    load.check([survivor])
