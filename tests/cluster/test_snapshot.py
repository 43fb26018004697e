"""Backups of a running cluster: the route, and the command that keeps them."""

import json
import socket
import subprocess
import threading

import pytest

import api
import cluster as clusters
from test_command import DONE, FAILED, callsign


def put(replica, name, process_id):
    answer = replica.ask("PUT", f"/api/registry/{name}", json.dumps(
        {"node_id": 1, "process_id": process_id}))
    assert answer.status in (200, 201)
    return answer


def test_what_is_saved_is_whole_and_the_same_everywhere(shared, tmp_path):
    last = [put(shared[1 + i % 3], f"saved-{i}", i) for i in range(30)][-1].revision
    files = []
    for replica in shared:
        path = tmp_path / f"backup-{replica.id}"
        saved = callsign("snapshot", "save", path, endpoints=[replica])
        assert saved.returncode == DONE, saved.stderr
        files.append(path.read_bytes())
        assert path.stat().st_mode & 0o777 == 0o600
    assert files[0] == files[1] == files[2]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["backup-1", "backup-2", "backup-3"]
    said = json.loads(callsign("snapshot", "inspect", tmp_path / "backup-1", "--json").stdout)
    cluster = shared[1].ask("GET", "/api/cluster").json()
    assert said["revision"] == last == cluster["revision"]
    assert said["names"] == cluster["names"]
    assert said["bytes"] == len(files[0])
    assert int(said["digest"], 16) == int(str(cluster["digest"]), 16)


def test_standard_output(shared, tmp_path):
    put(shared[1], "piped", 1)
    path = tmp_path / "backup"
    with open(path, "wb") as out:
        subprocess.run([clusters.COMMAND, "snapshot", "save", "-", "--endpoint",
                        f"http://{api.HOST}:{shared[2].http_port}"], stdout=out, check=True)
    assert callsign("snapshot", "inspect", path).returncode == DONE


def test_damage_is_found(shared, tmp_path):
    for i in range(20):
        put(shared[1], f"damaged-{i}", i)
    path = tmp_path / "backup"
    assert callsign("snapshot", "save", path, endpoints=[shared[1]]).returncode == DONE
    whole = path.read_bytes()
    broken = [whole[:n] for n in (0, 10, 55, 56, len(whole) - 1)] + [whole + b"x"]
    broken += [whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1:]
               for at in range(0, len(whole), max(1, len(whole) // 40))]
    for content in broken:
        path.write_bytes(content)
        said = callsign("snapshot", "inspect", path)
        assert said.returncode == FAILED and said.stdout == "" and said.stderr


def test_no_half_file_is_left(shared, tmp_path):
    """Nobody answers, and the old backup stays."""
    path = tmp_path / "backup"
    path.write_bytes(b"old")
    with socket.socket() as nobody:
        nobody.bind((api.HOST, 0))
        lost = callsign("snapshot", "save", path, "--timeout", 1, "--endpoint",
                        f"http://{api.HOST}:{nobody.getsockname()[1]}")
    assert lost.returncode not in (DONE, FAILED)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["backup"]
    nowhere = callsign("snapshot", "save", tmp_path / "no" / "backup", endpoints=[shared[1]])
    assert nowhere.returncode == FAILED and "No such file" in nowhere.stderr


def test_a_cut_under_load(shared, tmp_path):
    """A writer counts one name up and then another; no backup shows the second ahead."""
    stop = threading.Event()

    def write():
        count = 0
        while not stop.is_set():
            count += 1
            put(shared[1], "load-a", count)
            put(shared[1], "load-b", count)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for i in range(15):
            content = shared[1 + i % 3].ask("GET", "/api/snapshot").body
            a, b = (process_of(content, n) for n in (b"load-a", b"load-b"))
            assert b is None or a - b in (0, 1)
    finally:
        stop.set()
        writer.join()


def process_of(content, name):
    at = content.find(name)
    return int.from_bytes(content[at - 16:at - 8], "little") if at >= 0 else None


@pytest.mark.parametrize("leaves", [True, False])
def test_a_client_that_does_not_read(new_cluster, leaves):
    """It has the only place; the replica goes on, and stops in time."""
    cluster = new_cluster(1).start().wait_ready()
    for i in range(64):
        ops = [{"op": "put", "name": f"{i}-{k}-" + "x" * 900, "node_id": 1, "process_id": k}
               for k in range(128)]
        assert cluster[1].ask("POST", "/api/batch", json.dumps({"ops": ops})).status == 200
    with socket.create_connection((api.HOST, cluster[1].http_port)) as silent:
        silent.sendall(b"GET /api/snapshot HTTP/1.1\r\nHost: a\r\n\r\n")
        assert silent.recv(15).startswith(b"HTTP/1.1 200")
        second = cluster[1].ask("GET", "/api/snapshot")
        assert (second.status, second.code) == (503, "overloaded")
        assert cluster[1].ask("GET", "/livez").status == 200
        put(cluster[1], "after", 1)
        if not leaves:
            cluster[1].terminate()
            return
    clusters.eventually("the place is free again", lambda: cluster[1].ask(
        "GET", "/api/snapshot").status == 200)
    assert not list((cluster[1].data_dir).glob(".backup*"))
