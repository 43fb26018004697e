"""Data directories that are not what they should be: a clear message, never a
wrong answer, and the rest of the cluster goes on."""

import os
import pathlib
import re

import pytest

import api
import cluster as clusters
import writers

EXIT_BROKEN = 3
MIB = 1 << 20


@pytest.fixture
def single(folder):
    """A replica of its own that was used and stopped."""
    replica = clusters.Replica(folder, 1)
    replica.start()
    replica.wait_ready()
    fill(replica, 20)
    assert replica.terminate() == 0
    yield replica
    if replica.running:
        replica.kill()


def fill(replica, count, start=0):
    with replica.api() as a:
        for i in range(start, start + count):
            assert a.put(f"name/{i}", 1, i).status == 201


def refuses(replica, *says):
    """Starts it, and expects it to end with a message that says all this."""
    before = len(replica.log)
    replica.start()
    status = replica.wait_exit()
    message = replica.log[before:]
    assert status == EXIT_BROKEN, f"exit status {status}: {message}"
    for text in says:
        assert re.search(text, message), f"{text!r} is not in: {message}"


def serves(replica, count):
    replica.start()
    replica.wait_ready()
    with replica.api() as a:
        for i in range(count):
            assert a.get(f"name/{i}").status == 200, i


def test_of_another_replica(single):
    single.id = 2
    refuses(single, str(single.data_dir), "replica 1", "replica 2")
    single.id = 1
    serves(single, 20)


def test_of_another_cluster(single):
    single.flags = ["--cluster-name", "other"]
    refuses(single, str(single.data_dir), "cluster")
    single.flags = []
    serves(single, 20)


def test_locked_by_another_process(single, folder):
    serves(single, 20)
    second = clusters.Replica(folder / "second", 1, data_dir=single.data_dir)
    second.folder.mkdir()
    refuses(second, str(single.data_dir), rf"\b{single.process.pid}\b")
    assert single.ask("GET", "/api/registry/name/1").status == 200
    # The lock ends with its process, however that ends.
    single.kill()
    serves(second, 20)
    second.kill()


def test_that_is_a_file(folder):
    replica = clusters.Replica(folder, 1)
    replica.data_dir.write_text("")
    refuses(replica, str(replica.data_dir))


def test_whose_parent_is_missing(folder):
    replica = clusters.Replica(folder, 1, data_dir=folder / "no" / "such")
    refuses(replica, str(replica.data_dir.parent))


def test_of_unknown_version(single):
    identity = single.data_dir / "identity"
    identity.write_text(re.sub(r"(?m)^(\D*)\d+", r"\g<1>999", identity.read_text(), count=1))
    refuses(single, str(identity))


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "gone"])
def test_with_a_damaged_identity(single, damage):
    identity = single.data_dir / "identity"
    text = bytearray(identity.read_bytes())
    if damage == "flip":
        text[len(text) // 2] ^= 1
    elif damage == "cut":
        del text[len(text) // 2:]
    elif damage == "empty":
        text.clear()
    if damage == "gone":
        identity.unlink()
    else:
        identity.write_bytes(text)
    refuses(single, str(identity))


def test_read_only(single):
    with clusters.mounted(single.data_dir, "--bind", single.data_dir) as mount:
        if mount is None or clusters.run("mount", "-o", "remount,ro,bind", mount).returncode != 0:
            pytest.skip("mounting is not allowed here: needs root")
        refuses(single, str(single.data_dir), "[Rr]ead-only")
    serves(single, 20)


@pytest.mark.parametrize("bytes_free", [0, 4096, 64 << 10, 2 * MIB])
def test_on_a_disk_that_is_full_from_the_start(folder, bytes_free):
    replica = clusters.Replica(folder, 1)
    replica.data_dir.mkdir()
    size = max(bytes_free, 4096)
    with clusters.mounted(replica.data_dir, "-t", "tmpfs", "-o", f"size={size}", "tmpfs") as mount:
        if mount is None:
            pytest.skip("mounting is not allowed here: needs root")
        if bytes_free == 0:
            pathlib.Path(mount, "balloon").write_bytes(b"x" * size)
        refuses(replica, str(replica.data_dir), "[Nn]o space|[Ff]ull|[Ee]nough space")
        # With room it starts, from wherever it had come.
        assert clusters.run("mount", "-o", "remount,size=64m", mount).returncode == 0
        for balloon in pathlib.Path(mount).glob("balloon"):
            balloon.unlink()
        replica.start()
        replica.wait_ready()
        fill(replica, 5)
        replica.kill()


@pytest.mark.parametrize("role", ["follower", "leader"])
def test_on_a_disk_that_fills_up(new_cluster, role):
    """The replica with the full disk says so and stands back, also as the
    leader; the others go on; with room again it comes back by itself."""
    cluster = new_cluster(flags=["--snapshot-threshold", "100000", "--disk-low-mib", "1"])
    victim = cluster[3]
    victim.data_dir.mkdir()
    with clusters.mounted(victim.data_dir, "-t", "tmpfs", "-o", "size=40m", "tmpfs") as mount:
        if mount is None:
            pytest.skip("mounting is not allowed here: needs root")
        cluster.start().wait_ready()
        if role == "leader":
            make_leader(cluster, victim)
        with open(pathlib.Path(mount, "balloon"), "wb") as balloon:
            free = os.statvfs(mount).f_bavail * os.statvfs(mount).f_bsize
            os.posix_fallocate(balloon.fileno(), 0, free - free % 4096)
        clusters.eventually("the full disk is noticed", lambda: "event=disk_space" in victim.log)
        clusters.eventually("another leads", lambda: cluster.leader() is not victim)
        # More than what the log has reserved, with names of 1 KiB.
        padding = "x" * 1000
        writers.bulk([cluster[1], cluster[2]],
                     [api.post_bytes(f"fill/{i}/{padding}", 1, i) for i in range(20000)])
        assert victim.running, victim.log[-800:]
        assert not victim.is_ready()
        with victim.api() as a:
            assert a.get(f"fill/1/{padding}", "consistency=stale").status in (200, 404)
        with cluster.leader().api() as a:
            assert a.put("goes on", 1, 1).status == 201
        os.unlink(pathlib.Path(mount, "balloon"))
        assert clusters.run("mount", "-o", "remount,size=512m", mount).returncode == 0
        victim.wait_ready(60)
        cluster.wait_same(60)
        cluster.stop()


def make_leader(cluster, wanted):
    """Kills leaders until it is the one's turn: an election is by chance, a
    hand-over is not."""
    for _ in range(20):
        leader = cluster.leader()
        if leader is wanted:
            return
        leader.kill()
        cluster.leader()
        leader.start()
        cluster.wait_ready()
    pytest.fail(f"replica {wanted.id} does not become leader")


def segments(replica):
    """The files of the log, the one that is written to last."""
    names = [p for p in (replica.data_dir / "raft").iterdir()
             if re.match(r"open-|log-|\d{16}-\d{16}$", p.name)]
    return sorted(names, key=lambda p: p.stat().st_mtime_ns)


def data_end(path):
    """Where the zeros begin that only reserve room."""
    return len(path.read_bytes().rstrip(b"\0"))


@pytest.mark.parametrize("cut_at", ["header", "half", "last", "zeros"])
def test_torn_last_segment(folder, cut_at):
    """A file of the log ends in the middle. What was acknowledged is served,
    or the replica says which file is broken; it never starts without it."""
    replica = clusters.Replica(folder, 1)
    replica.start()
    replica.wait_ready()
    fill(replica, 200)
    replica.kill()
    path = segments(replica)[-1]
    end = data_end(path)
    assert end > 64
    size = {"header": 6, "half": end // 2, "last": end - 3, "zeros": end + 1000}[cut_at]
    os.truncate(path, size)
    before = len(replica.log)
    replica.start()
    status = settled(replica)
    message = replica.log[before:]
    if status is None:
        with replica.api() as a:
            for i in range(200):
                assert a.get(f"name/{i}").status == 200, f"name/{i} was acknowledged and is gone"
        replica.kill()
        return
    assert status == EXIT_BROKEN, f"exit status {status}: {message}"
    assert path.name in message or str(replica.data_dir) in message, message


def settled(replica):
    """None once it is ready, or the status with which it ended."""
    return clusters.eventually("it serves or ends", lambda: (
        (replica.process.poll(),) if not replica.running else
        (None,) if replica.is_ready() else False))[0]


def test_a_member_with_a_torn_segment_does_no_harm(new_cluster):
    cluster = new_cluster().start().wait_ready()
    fill(cluster[1], 300)
    victim = cluster.followers()[0]
    victim.kill()
    path = segments(victim)[-1]
    os.truncate(path, data_end(path) // 2)
    victim.start()
    status = settled(victim)
    assert status in (None, EXIT_BROKEN), victim.log[-800:]
    others = [r for r in cluster if r is not victim]
    fill(others[0], 100, start=300)
    with others[1].api() as a:
        for i in range(400):
            assert a.get(f"name/{i}").status == 200
    if status is None:
        cluster.wait_same()
