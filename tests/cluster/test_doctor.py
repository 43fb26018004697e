"""callsign doctor on clusters that something is really wrong with: it names what,
and the command that mends it; of a healthy cluster it says nothing."""

import json
import os

import pytest

import api
import certs
import cluster as clusters

HEALTHY, WARNING, BROKEN = 0, 1, 4


def url(replica, scheme="http"):
    return f"{scheme}://{api.HOST}:{replica.http_port}"


def ask(*endpoints, more=(), form="--json"):
    """The status, and the findings by code."""
    command = [clusters.COMMAND, "doctor", "--timeout", "2", form, *more]
    for endpoint in endpoints:
        command += ["--endpoint", endpoint if isinstance(endpoint, str) else url(endpoint)]
    asked = clusters.run(*command, timeout=60)
    assert asked.stderr == "", asked.stderr
    shown = json.loads(asked.stdout)
    assert shown["verdict"] == {HEALTHY: "healthy", WARNING: "warning", BROKEN: "broken"}[
        asked.returncode]
    for finding in shown["findings"]:
        assert finding["what"] and finding["why"] and finding["command"], finding
    return asked.returncode, {f["code"]: f for f in shown["findings"]}, shown


def test_a_healthy_cluster_gets_a_clean_bill(shared):
    """Through one endpoint it gets to all of them."""
    status, found, shown = ask(shared[2])
    assert (status, found) == (HEALTHY, {})
    assert sorted(e["replica"] for e in shown["endpoints"]) == [1, 2, 3]
    plain = clusters.run(clusters.COMMAND, "doctor", "--endpoint", url(shared[1]))
    assert (plain.returncode, plain.stdout, plain.stderr) == (HEALTHY, "", "")


def test_one_of_three_is_dead(new_cluster):
    cluster = new_cluster().start().wait_ready()
    dead, alive = cluster.followers()
    dead.kill()
    leader = cluster.leader(among=cluster.running())
    clusters.eventually("it is missed", lambda: not next(
        m for m in leader.state()["members"] if m["id"] == dead.id)["connected"])
    status, found, _ = ask(alive)
    assert status == WARNING and set(found) == {"replica_unreachable", "no_failure_left"}
    assert f"replica {dead.id} ({url(dead)})" in found["replica_unreachable"]["what"]
    assert "systemctl start callsignd" in found["replica_unreachable"]["command"]
    assert "callsign member remove" in found["no_failure_left"]["command"]
    assert url(leader) in found["no_failure_left"]["command"]
    plain = clusters.run(clusters.COMMAND, "doctor", "--endpoint", url(alive))
    assert plain.returncode == WARNING
    assert [len(line.split("\t")) for line in plain.stdout.splitlines()] == [5, 5]
    dead.start()
    cluster.wait_ready()
    assert ask(alive)[:2] == (HEALTHY, {})


def test_the_majority_is_lost(new_cluster):
    cluster = new_cluster().start().wait_ready()
    survivor, other = cluster.followers()
    leader = cluster.leader()
    other.kill()
    leader.kill()
    clusters.eventually("it knows no leader", lambda: survivor.state()["leader"] is None)
    status, found, _ = ask(survivor)
    assert status == BROKEN
    assert set(found) == {"majority_lost", "replica_unreachable"}
    missing = ", ".join(str(i) for i in sorted((other.id, leader.id)))
    assert f"start replica {missing}" in found["majority_lost"]["command"]
    assert "callsignd recover" in found["majority_lost"]["command"]
    assert "1 of 3 voters answer, 2 are needed" in found["majority_lost"]["what"]


def test_nobody_is_there(folder):
    status, found, _ = ask(clusters.Replica(folder, 1))
    assert status == BROKEN and set(found) == {"replica_unreachable", "nothing_known"}


def test_endpoints_of_two_clusters(shared, new_cluster):
    other = new_cluster(count=1, flags=["--cluster-name", "other"]).start().wait_ready()
    status, found, _ = ask(shared[1], other[1])
    assert status == BROKEN and set(found) == {"two_clusters", "single_voter"}
    assert url(shared[1]) in found["two_clusters"]["command"]
    assert url(other[1]) in found["two_clusters"]["command"]


def test_a_replica_that_stands_still_and_lags(new_cluster):
    cluster = new_cluster().start().wait_ready()
    sleeper, _ = cluster.followers()
    leader = cluster.leader()
    sleeper.pause()
    with leader.api() as a:
        for i in range(1100):
            assert a.put(f"n{i}", 1, 1).status == 201
    status, found, _ = ask(leader)
    sleeper.resume()
    assert status == WARNING and {"replica_stuck", "replica_lags", "no_failure_left"} <= set(found)
    assert f"replica {sleeper.id} " in found["replica_stuck"]["what"]
    assert "systemctl restart callsignd" in found["replica_stuck"]["command"]
    assert f"replica {sleeper.id} is " in found["replica_lags"]["what"]


@pytest.fixture
def guarded(folder):
    """Three replicas with TLS and tokens, and the files."""
    with clusters.Cluster(folder) as three:
        three.secure().start().wait_ready()
        yield three, three.certs


def token_file(folder, text):
    path = folder / "token"
    path.write_text(text + "\n")
    os.chmod(path, 0o600)
    return path


def test_tokens_and_certificates(guarded):
    three, folder = guarded
    trust = ["--ca", folder / "ca.crt"]
    there = url(three[1], "https")
    good = ["--token-file", token_file(folder, three[1].access.token)]
    assert ask(there, more=[*trust, *good])[:2] == (HEALTHY, {})

    status, found, _ = ask(there, more=trust)
    assert status == BROKEN and set(found) == {"token_refused", "nothing_known"}
    assert "callsignd token new" in found["token_refused"]["command"]
    assert "it is ready" in found["token_refused"]["why"]
    wrong = ["--token-file", token_file(folder, "rubbish")]
    assert "token_refused" in ask(there, more=[*trust, *wrong])[1]

    good = ["--token-file", token_file(folder, three[1].access.token)]
    status, found, _ = ask(there, more=good)  # without the authority
    assert status == BROKEN and "--ca" in found["certificate_refused"]["command"]

    certs.make(folder, "http", "localhost", api.HOST, days=3)
    three[1].signal(1)
    clusters.eventually("it was read", lambda: "event=http_reloaded" in three[1].log)
    status, found, _ = ask(there, more=[*trust, *good])
    assert status == WARNING and set(found) == {"certificate_ends"}
    assert "replica 1 " in found["certificate_ends"]["what"]
    assert "systemctl reload callsignd" in found["certificate_ends"]["command"]


def test_little_disk_space(folder):
    replica = clusters.Replica(folder, 1, ["--disk-low-mib", "1048576"])
    replica.start()
    clusters.eventually("it is short", lambda: "event=disk_space state=low" in replica.log)
    status, found, _ = ask(replica)
    replica.kill()
    assert status == WARNING and set(found) == {"disk_low", "single_voter"}
    assert "df -h" in found["disk_low"]["command"]


def test_a_member_that_was_added_and_never_started(new_cluster, folder):
    cluster = new_cluster().start().wait_ready()
    new = clusters.Replica(folder, 4)
    added = cluster.leader().ask("POST", "/api/cluster/members", {
        "id": 4, "peer_address": new.peer_address, "http_address": f"{api.HOST}:{new.http_port}"})
    assert added.status in (200, 201), added
    status, found, _ = ask(cluster[1])
    assert status == WARNING and "not_a_voter" in found
    assert "callsign member remove 4" in found["not_a_voter"]["command"]
