"""callsign member: replicas added, removed and replaced, leadership moved."""

import json

import pytest

import api
import cluster as clusters
from command import DONE, NOT_FOUND, REFUSED, UNAVAILABLE, UNKNOWN, USAGE, callsign
from members import Grown, members, voters


@pytest.fixture
def three(tmp_path):
    with Grown(tmp_path) as cluster:
        yield cluster.start().wait_ready()


def add(replica, *more, through):
    return callsign("member", "add", replica.id, replica.peer_address,
                    f"{api.HOST}:{replica.http_port}", *more, endpoints=through)


def roles(through):
    """What `member list` shows: id -> role, and who leads."""
    shown = callsign("member", "list", endpoints=through)
    assert shown.returncode == DONE and shown.stderr == ""
    rows = [line.split("\t") for line in shown.stdout.splitlines()]
    assert all(len(row) == 8 for row in rows), shown.stdout
    return {int(row[0]): row[1] for row in rows}, [int(r[0]) for r in rows if r[2] == "yes"]


def wait_votes(replica, through):
    clusters.eventually(f"replica {replica.id} votes", lambda: roles(through)[0].get(
        replica.id) == "voter" and replica.is_ready())


def test_a_fourth_joins_and_goes(three):
    ask = [three.followers()[0]]
    assert callsign("put", "before", 1, 1, endpoints=ask).returncode == DONE
    fourth = three.another(4, list(three))
    added = add(fourth, through=ask)
    assert (added.returncode, added.stdout, added.stderr) == (DONE, "", "")
    assert roles(ask)[0][4] != "voter", "it has not even started"
    fourth.start()
    wait_votes(fourth, ask)  # nobody promotes it: it does not need that
    assert callsign("get", "before", endpoints=[fourth]).returncode == DONE
    again = add(fourth, "--json", through=ask)
    assert (again.returncode, json.loads(again.stdout)) == (DONE, {"outcome": "done"})
    other = callsign("member", "add", 4, "127.0.0.1:1", "127.0.0.1:2", endpoints=ask)
    assert other.returncode == REFUSED and "member_exists" in other.stderr
    gone = callsign("member", "remove", 4, "--json", endpoints=ask)
    assert (gone.returncode, json.loads(gone.stdout)) == (DONE, {"outcome": "done"})
    assert fourth.wait_exit(15) == 4
    assert sorted(roles(ask)[0]) == [1, 2, 3]
    late = callsign("member", "remove", 4, "--json", endpoints=ask)
    assert late.returncode == NOT_FOUND
    told = json.loads(late.stdout)
    assert (told["outcome"], told["code"]) == ("not_found", "member_not_found")


def test_leadership_is_moved(three):
    to = three.followers()[0]
    for _ in range(2):  # the second time it leads already
        moved = callsign("member", "lead", to.id, endpoints=three)
        assert (moved.returncode, moved.stdout, moved.stderr) == (DONE, "", "")
        assert roles([to])[1] == [to.id]
    other = three.followers()[0]
    moved = callsign("member", "lead", other.id, "--json", endpoints=[to])
    assert json.loads(moved.stdout) == {"outcome": "done"}
    assert three.leader() is other
    nobody = callsign("member", "lead", 99, endpoints=[to])
    assert nobody.returncode == REFUSED and "not_a_voter" in nobody.stderr
    assert callsign("member", "lead", 0, endpoints=[to]).returncode == USAGE


def test_a_dead_one_is_replaced(three):
    """What operations.md says: the dead one goes, then a new one comes."""
    leader = three.leader()
    dead, alive = three.followers()
    dead.kill()
    ask = [leader, alive]
    clusters.eventually("it counts as away", lambda: max(
        m["last_contact_ms"] or 0 for m in leader.state()["members"]) > 1000)
    refused = callsign("member", "remove", alive.id, endpoints=ask)
    assert refused.returncode == REFUSED and "would_lose_quorum" in refused.stderr
    assert f"replica {dead.id}" in refused.stderr, "which one stands in the way"
    assert callsign("member", "remove", dead.id, endpoints=ask).returncode == DONE
    new = three.another(5, ask)
    assert add(new, through=ask).returncode == DONE
    new.start()
    wait_votes(new, ask)
    assert voters(leader) == members(leader) == sorted([leader.id, alive.id, 5])
    three.wait_same()


@pytest.mark.parametrize("through_itself", [False, True])
def test_the_leader_goes(three, through_itself):
    leader = three.leader()
    left = [r for r in three if r is not leader]
    asked = leader if through_itself else left[0]
    removed = callsign("member", "remove", leader.id, endpoints=[asked])
    # Whoever goes may be cut off before it hears the end of it.
    assert removed.returncode in ([DONE, UNKNOWN] if through_itself else [DONE])
    assert leader.wait_exit(15) == 4
    # The first endpoint is gone: the next one answers.
    assert sorted(roles([leader, *left])[0]) == [r.id for r in left]


def test_nobody_there_or_nonsense(three):
    dead = clusters.Replica(three.folder, 9)
    for command in (["add", 4, "a:1", "a:2"], ["remove", 1], ["lead", 1], ["list"]):
        shown = callsign("member", *command, endpoints=[dead])
        assert shown.returncode == UNAVAILABLE, "nothing was sent"
    for command in (["add", 4, "nowhere", "a:2"], ["add", 0, "a:1", "a:2"], ["remove", "x"],
                    ["add", 4, "a:1"], ["promote", 1]):
        assert callsign("member", *command, endpoints=three).returncode == USAGE
    assert members(three[1]) == [1, 2, 3]
