"""The callsign command and deploy/local-cluster against live replicas."""

import json
import os
import pty
import socket
import subprocess
import time

import pytest

import api
import cluster as clusters
from command import (DONE, FAILED, NOT_FOUND, REFUSED, UNAVAILABLE, UNCHANGED, UNKNOWN, USAGE,
                     callsign, url)

@pytest.fixture
def name(request):
    return f"{request.node.name} <a/b> %2F 名前"


def test_put_get_remove(shared, name):
    put = callsign("put", name, 3, 42, endpoints=[shared[1]])
    assert put.returncode == DONE and put.stderr == ""
    node, process, revision, env, shown = put.stdout.rstrip("\n").split("\t")
    assert (node, process, env, shown) == ("3", "42", "1", name)
    assert callsign("get", name, endpoints=[shared[2]]).stdout == put.stdout
    again = callsign("get", name, "--at-least", revision, endpoints=[shared[3]])
    assert again.stdout == put.stdout
    stale = callsign("get", name, "--consistency", "stale", endpoints=[shared[3]])
    assert stale.stdout == put.stdout
    assert callsign("remove", name, endpoints=[shared[3]]).stdout == put.stdout
    for command in ("get", "remove"):
        gone = callsign(command, name, endpoints=[shared[1]])
        assert gone.returncode == NOT_FOUND
        assert gone.stdout == "" and name in gone.stderr


def test_conditions(shared, name):
    ask = [shared[2]]
    assert callsign("put", name, 1, 1, "--if-absent", endpoints=ask).returncode == DONE
    taken = callsign("put", name, 2, 2, "--if-absent", endpoints=ask)
    assert taken.returncode == REFUSED
    assert "name_taken" in taken.stderr and taken.stdout.startswith("1\t1\t")
    revision = taken.stdout.split("\t")[2]
    assert callsign("put", name, 1, 2, "--if-revision", revision, endpoints=ask).returncode == DONE
    late = callsign("put", name, 1, 3, "--if-revision", revision, endpoints=ask)
    assert late.returncode == REFUSED and "precondition_failed" in late.stderr
    other = callsign("remove", name, "--if-owner", "1:3", endpoints=ask)
    assert other.returncode == REFUSED and "not_owner" in other.stderr
    assert callsign("remove", name, "--if-owner", "1:2", endpoints=ask).returncode == DONE


def test_environments_and_exact_ids(shared, name):
    big = str(2**64 - 1)
    assert callsign("put", name, big, str(2**53 + 1), "--env", big,
                    endpoints=[shared[1]]).returncode == DONE
    assert callsign("get", name, endpoints=[shared[1]]).returncode == NOT_FOUND
    found = callsign("get", name, "--env", big, "--json", endpoints=[shared[1]])
    entry = json.loads(found.stdout)
    assert (entry["node_id"], entry["process_id"]) == (2**64 - 1, 2**53 + 1)
    assert entry["env_id"] == 2**64 - 1 and entry["name"] == name


def test_json_on_failure(shared, name):
    gone = callsign("get", name, "--json", endpoints=[shared[1]])
    assert gone.returncode == NOT_FOUND and gone.stderr == ""
    assert json.loads(gone.stdout)["outcome"] == "not_found"
    callsign("put", name, 1, 1, endpoints=[shared[1]])
    taken = callsign("put", name, 2, 2, "--if-absent", "--json", endpoints=[shared[1]])
    answer = json.loads(taken.stdout)
    assert (answer["outcome"], answer["code"]) == ("refused", "name_taken")
    assert answer["current"]["process_id"] == 1


def test_list(shared):
    env = ("--env", "4711")
    empty = callsign("list", *env, endpoints=[shared[2]])
    assert (empty.returncode, empty.stdout, empty.stderr) == (DONE, "", "")
    names = [f"w/{i:03} \x01 {'ä' * 300}" for i in range(250)]  # more than two pages
    with shared[1].api() as a:
        for i, each in enumerate(names):
            assert a.put(each, 1 + i % 2, i, env_id=4711).status == 201
    listed = callsign("list", *env, "--json", endpoints=[shared[2]])
    assert listed.returncode == DONE
    entries = [json.loads(line) for line in listed.stdout.splitlines()]
    assert [(e["name"], e["process_id"]) for e in entries] == list(zip(names, range(250)))
    some = callsign("list", *env, "--prefix", "w/01", "--node", "2", endpoints=[shared[3]])
    rows = [line.split("\t") for line in some.stdout.splitlines()]
    assert [row[:2] + row[3:4] for row in rows] == [["2", str(i), "4711"] for i in range(11, 20, 2)]
    # A follower answers a forwarded write before it has applied it: a read it waits for first.
    assert callsign("get", *env, names[-1], endpoints=[shared[1]]).returncode == DONE
    stale = callsign("list", *env, "--consistency", "stale", "--json", endpoints=[shared[1]])
    assert len(stale.stdout.splitlines()) == 250
    assert callsign("list", "x", endpoints=[shared[1]]).returncode == USAGE
    with open("/dev/full", "w", encoding="ascii") as full:
        lost = subprocess.run([clusters.COMMAND, "list", *env, "--endpoint", url(shared[1])],
                              stdout=full, stderr=subprocess.DEVNULL, timeout=40, check=False)
    assert lost.returncode == FAILED


def test_status(shared):
    state = json.loads(callsign("status", "--json", endpoints=[shared[2]]).stdout)
    assert state["id"] == 2 and state["health"] == "ok"
    rows = [line.split("\t") for line in
            callsign("status", endpoints=[shared[2]]).stdout.splitlines()]
    assert [row[0] for row in rows] == ["1", "2", "3"]
    assert [row[2] for row in rows].count("yes") == 1


def test_a_table_on_a_terminal(shared):
    """With headings, and a name that tries to drive the terminal."""
    evil = "\x1b[2J\x1b]0;title\x07"
    callsign("put", evil, 3, 42, endpoints=[shared[1]])
    parent, child = pty.openpty()
    with subprocess.Popen([clusters.COMMAND, "get", evil, "--endpoint", url(shared[1])],
                          stdout=child, stdin=child, stderr=child) as process:
        os.close(child)
        shown = b""
        try:
            while chunk := os.read(parent, 4096):
                shown += chunk
        except OSError:  # the other end is closed: all was read
            pass
        assert process.wait(20) == DONE
    os.close(parent)
    heading, row = shown.decode().splitlines()
    assert heading.startswith("\x1b[1m") and heading.endswith("\x1b[0m")  # bold
    assert heading[4:-4].split() == ["NODE", "PROCESS", "REVISION", "ENV", "NAME"]
    assert "\x1b" not in row and "\\x1B[2J" in row


def test_colors(shared):
    """Only on a terminal, unless somebody asks."""
    plain = callsign("health", endpoints=[shared[1]])
    assert (plain.returncode, plain.stdout) == (DONE, "ok\n")
    asked = callsign("health", "--color", "always", endpoints=[shared[1]])
    assert asked.stdout == "\x1b[32mok\x1b[0m\n"
    assert "\x1b" not in callsign("status", "--color", "never", endpoints=[shared[1]]).stdout


def test_health_and_version(shared):
    shown = callsign("health", "--json", endpoints=[shared[1]])
    assert json.loads(shown.stdout) == {"health": "ok"}
    assert callsign("version", endpoints=[shared[1]]).stdout.startswith("callsign ")
    assert "raft" in json.loads(callsign("version", "--json", endpoints=[shared[1]]).stdout)
    rows = callsign("member", "list", endpoints=[shared[1]]).stdout.splitlines()
    assert [row.split("\t")[0] for row in rows] == ["1", "2", "3"]


def test_nodes(shared, name):
    ask = [shared[1]]
    assert callsign("node", "up", 77, "--ttl", 600, "--address", "10.0.0.1:1", endpoints=ask) \
        .returncode == DONE
    callsign("put", name, 77, 1, endpoints=ask)
    listed = callsign("node", "list", endpoints=ask).stdout
    rows = [line.split("\t") for line in listed.splitlines()]
    row = next(r for r in rows if r[0] == "77")
    assert row[1:3] + row[4:] == ["up", "600000", "1", "10.0.0.1:1"]
    listed = json.loads(callsign("node", "list", "--json", endpoints=ask).stdout)
    assert 77 in [n["node_id"] for n in listed["nodes"]]
    down = callsign("node", "down", 77, endpoints=ask)
    assert (down.returncode, down.stdout) == (DONE, "1\n")
    assert callsign("get", name, endpoints=ask).returncode == NOT_FOUND
    refused = callsign("put", name, 77, 1, endpoints=ask)
    assert refused.returncode == REFUSED and "node_down" in refused.stderr
    never = callsign("node", "down", 4711, endpoints=ask)
    assert never.returncode == NOT_FOUND and "lease" in never.stderr


def test_a_kept_lease(shared, name):
    """Kept over many times its length, and given up at once in the end."""
    ask = [shared[2]]
    with subprocess.Popen([clusters.COMMAND, "node", "keep", "78", "--ttl", "1", "--json",
                           "--endpoint", url(shared[2])], text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE) as keeper:
        assert json.loads(keeper.stdout.readline()) == {"outcome": "done"}
        assert callsign("put", name, 78, 1, endpoints=ask).returncode == DONE
        time.sleep(4)  # four times the lease
        assert callsign("get", name, endpoints=ask).returncode == DONE
        keeper.terminate()
        assert keeper.wait(20) == DONE and keeper.stderr.read() == ""
    assert callsign("get", name, endpoints=ask).returncode == NOT_FOUND


def test_usage():
    for arguments in ([], ["frob"], ["claim"], ["node", "frob"], ["claim", "take", "n"],
                      ["get", "n", "--wait", "1"], ["watch", "n", "--prefix", "m"],
                      ["node", "up", "x"], ["health", "--color", "red"], ["get"],
                      ["put", "n", "1"], ["put", "n", "-1", "2"], ["get", "n", "--if-absent"],
                      ["get", "n", "--endpoint", "ftp://x"]):
        shown = callsign(*arguments)
        assert shown.returncode == USAGE, arguments
        assert shown.stderr.startswith("callsign: ") and shown.stdout == ""
    assert callsign("--help").returncode == DONE
    for word in ("put", "get", "remove", "status", "--endpoint", "--json", "unknown"):
        assert word in callsign("--help").stdout
    assert callsign("--version").stdout.startswith("callsign ")


def test_watch(shared, name):
    with subprocess.Popen([clusters.COMMAND, "watch", name, "--json", "--endpoint",
                           url(shared[1])], text=True, stdout=subprocess.PIPE) as watcher:
        def told():
            return json.loads(watcher.stdout.readline())

        assert told()["event"] == "synced"
        callsign("put", name, 3, 42, endpoints=[shared[2]])
        put = told()
        assert (put["event"], put["entry"]["process_id"]) == ("put", 42)
        waited = callsign("get", name, "--after", put["revision"], "--wait", 0.2,
                          endpoints=[shared[1]])
        assert waited.returncode == UNCHANGED
        callsign("remove", name, endpoints=[shared[3]])
        removed = told()
        assert (removed["event"], removed["name"]) == ("remove", name)
        assert removed["previous"]["process_id"] == 42
        watcher.terminate()
    later = ("get", name, "--after", put["revision"], "--wait", 5)
    assert callsign(*later, endpoints=[shared[1]]).returncode == NOT_FOUND


def test_claims(shared, name):
    ask = [shared[1]]
    taken = callsign("claim", "take", name, 3, "--json", endpoints=ask)
    claim = json.loads(taken.stdout)["claim_id"]
    second = callsign("claim", "take", name, 4, endpoints=ask)
    assert second.returncode == REFUSED and "name_claimed" in second.stderr
    assert callsign("claim", "abort", claim, endpoints=ask).returncode == DONE
    word, claim, _ = callsign("claim", "take", name, 4, endpoints=ask).stdout.split()
    assert word == "claim"
    confirmed = callsign("claim", "confirm", claim, 42, endpoints=[shared[2]])
    assert confirmed.returncode == DONE and confirmed.stdout.startswith("4\t42\t")
    late = callsign("claim", "confirm", claim, 42, endpoints=ask)
    assert late.returncode == NOT_FOUND and "claim" in late.stderr
    found = callsign("claim", "take", name, 5, endpoints=ask)
    assert found.stdout == confirmed.stdout


def test_a_request_the_replica_refuses(shared):
    assert callsign("get", "a" * 1025, endpoints=[shared[1]]).returncode == USAGE
    assert callsign("get", "", endpoints=[shared[1]]).returncode == USAGE


def test_nobody_there(folder):
    dead = [clusters.Replica(folder, 1), clusters.Replica(folder, 2)]
    for command in (["get", "n"], ["put", "n", "1", "2"], ["remove", "n"], ["status"]):
        shown = callsign(*command, endpoints=dead)
        assert shown.returncode == UNAVAILABLE
        assert url(dead[0]) in shown.stderr and url(dead[1]) in shown.stderr
        assert json.loads(callsign(*command, "--json", endpoints=dead).stdout)["outcome"] \
            == "unavailable"


def test_next_endpoint_on_failure(new_cluster):
    cluster = new_cluster().start().wait_ready()
    assert callsign("put", "n", 1, 1, endpoints=cluster).returncode == DONE
    victim = cluster.leader()
    order = [victim, *(r for r in cluster if r is not victim)]
    victim.kill()
    # A dead first endpoint, and an election under way behind the next ones.
    assert callsign("get", "n", "--timeout", 20, endpoints=order).returncode == DONE
    assert callsign("put", "n", 1, 2, "--timeout", 20, endpoints=order).returncode == DONE
    by_variable = callsign("get", "n", env={"CALLSIGN_ENDPOINTS": ",".join(map(url, order))})
    assert by_variable.returncode == DONE and by_variable.stdout.startswith("1\t2\t")


def test_a_replica_that_sleeps(new_cluster):
    """What was sent to it goes to the next endpoint too, a write under the same
    key: when the replica wakes, it does not apply it once more."""
    cluster = new_cluster().start().wait_ready()
    sleeper, awake = cluster.followers()
    assert callsign("put", "n", 1, 1, endpoints=[awake]).returncode == DONE
    sleeper.pause()
    read = callsign("get", "n", "--timeout", 4, endpoints=[sleeper, awake])
    assert read.returncode == DONE and read.stdout.startswith("1\t1\t")
    write = callsign("put", "n", 1, 2, "--timeout", 4, endpoints=[sleeper, awake])
    assert write.returncode == DONE and write.stdout.startswith("1\t2\t")
    later = callsign("put", "n", 1, 3, endpoints=[awake])
    lost = callsign("put", "m", 1, 4, "--timeout", 1, endpoints=[sleeper])
    assert lost.returncode == UNKNOWN
    assert "unknown" in lost.stderr and "callsign get" in lost.stderr
    sleeper.resume()
    # By the time that it answers it has seen what it had received; whether it still
    # applies the write that nobody waits for is its own affair.
    clusters.eventually("it is awake", lambda: callsign(
        "get", "n", endpoints=[sleeper]).returncode == DONE)
    assert callsign("get", "n", endpoints=[awake]).stdout == later.stdout, "applied twice"


def test_without_a_quorum(new_cluster):
    cluster = new_cluster().start().wait_ready()
    callsign("put", "n", 1, 1, endpoints=cluster)
    survivor = cluster.followers()[0]
    # A linearizable read: afterwards the survivor itself has the name.
    assert callsign("get", "n", endpoints=[survivor]).returncode == DONE
    for replica in cluster:
        if replica is not survivor:
            replica.kill()
    clusters.eventually("the survivor knows", lambda: survivor.state().get("health") == "no_quorum")
    # What was proposed before may end unknown; then it is said so.
    clusters.eventually("writes are refused", lambda: callsign(
        "put", "m", 1, 1, "--timeout", 1, endpoints=[survivor]).returncode == UNAVAILABLE)
    assert callsign("get", "n", "--timeout", 1, endpoints=[survivor]).returncode == UNAVAILABLE
    stale = callsign("get", "n", "--consistency", "stale", endpoints=[survivor])
    assert stale.returncode == DONE
    assert callsign("status", endpoints=[survivor]).returncode == DONE


@pytest.mark.parametrize("flags", [[], ["--secure"]])
def test_local_cluster(folder, flags):
    """The script that quickstart uses, through every command."""
    script = clusters.TOP / "deploy" / "local-cluster"
    base_http, base_peer = None, None
    for _ in range(50):  # three ports in a row that nobody has
        base = clusters.free_port()
        ports = range(base, base + 3), range(base + 500, base + 503)
        if all(is_free(p) for r in ports for p in r):
            base_http, base_peer = base, base + 500
            break
    assert base_http is not None

    def run(*arguments, status=0):
        shown = clusters.run(script, *arguments, "--dir", folder / "lc", timeout=90)
        assert shown.returncode == status, shown.stdout + shown.stderr
        return shown.stdout.strip()

    try:
        run("start", "--bin", clusters.DAEMON, "--base-http", base_http, "--base-peer", base_peer,
            *flags)
        run("wait")
        leader = int(run("leader"))
        run("kill", leader)
        assert "down" in run("status").splitlines()[leader - 1]
        assert int(run("leader")) != leader
        run("restart", leader)
        run("wait")
        run("pause", leader)
        assert "paused" in run("status").splitlines()[leader - 1]
        run("wait", "2")
        run("resume", leader)
        run("wait")
        assert all("ready" in line for line in run("status").splitlines())
        run("kill", "9", status=2)
        run("frob", status=2)
    finally:
        run("stop")
    assert all("down" in line for line in run("status").splitlines())


def is_free(port):
    with socket.socket() as probe:
        try:
            probe.bind((api.HOST, port))
        except OSError:
            return False
        return True
