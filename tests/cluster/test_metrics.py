"""The page of metrics: each part of the work has its own, and they move with it."""

import re

import pytest

import cluster as clusters

# What somebody who looks for the cause of a slow request asks for, in its order.
PARTS = {
    "request": ["callsign_http_requests_total", "callsign_http_request_duration_seconds_count"],
    "queue": ["callsign_http_requests_waiting", "callsign_requests_waiting",
              "callsign_refused_overloaded_total", "callsign_peer_frames_dropped_total"],
    "commit": ["callsign_commit_duration_seconds_count", "callsign_entries_proposed_total"],
    "fsync": ["callsign_storage_write_duration_seconds_count"],
    "apply": ["callsign_apply_duration_seconds_count", "callsign_commands_applied_total"],
    "snapshot": ["callsign_snapshot_duration_seconds_count", "callsign_snapshots_taken_total",
                 "callsign_snapshots_restored_total", "callsign_snapshot_bytes",
                 "callsign_snapshot_index"],
    "election": ["callsign_elections_total", "callsign_leader_changes_total",
                 "callsign_has_leader", "callsign_is_leader", "callsign_term"],
    "lease": ["callsign_leases_renewed_total", "callsign_leases_expired_total",
              "callsign_nodes_up"],
    "watch": ["callsign_watches", "callsign_watch_events_total", "callsign_watch_drops_total"],
}


@pytest.mark.parametrize("part", PARTS)
def test_each_part_of_the_work_has_its_metrics(shared, part):
    with shared[1].api() as a:
        page = a.request("GET", "/metrics").body.decode()
    for name in PARTS[part]:
        assert f"\n{name} " in page or f"\n{name}{{" in page, name


def test_they_move_with_the_work(folder):
    """Entries, and a snapshot: counted, timed, and its place known after a restart."""
    replica = clusters.Replica(folder, 1, ["--snapshot-threshold", "50"])
    replica.start()
    replica.wait_ready()
    with replica.api() as a:
        assert a.metric("callsign_snapshot_index") == 0
        before = {name: a.metric(name) for name in (
            "callsign_apply_duration_seconds_count", "callsign_commit_duration_seconds_count",
            "callsign_storage_write_duration_seconds_count")}
        for i in range(100):
            assert a.put(f"n{i}", 1, 1).status == 201
        for name, value in before.items():
            assert a.metric(name) >= value + 100, name
        clusters.eventually("a snapshot is on the disk",
                            lambda: a.metric("callsign_snapshot_index") >= 50)
        clusters.eventually("it was timed", lambda: a.metric(
            "callsign_snapshot_duration_seconds_count") == a.metric(
                "callsign_snapshots_taken_total") >= 1)
        assert a.metric("callsign_snapshot_duration_seconds_sum") > 0
        assert a.metric("callsign_snapshot_index") <= a.metric("callsign_applied_index")
    replica.restart()
    replica.wait_ready()
    with replica.api() as a:
        assert a.metric("callsign_snapshot_index") >= 50
        assert a.metric("callsign_snapshots_taken_total") == 0
    assert replica.terminate() == 0


OPERATIONS = (clusters.TOP / "docs/operations.md").read_text(encoding="utf-8")


def section(title):
    return re.search(rf"^## {title}\n(.*?)(?=^## )", OPERATIONS, re.M | re.S)[1]


def test_the_documents_list_the_metrics_as_they_are(shared):
    with shared[1].api() as a:
        page = a.request("GET", "/metrics").body.decode()
    served = set(re.findall(r"^# TYPE (\S+) ", page, re.M))
    listed = set(re.findall(r"`((?:callsign|process)_[a-z_]+)`", section("The metrics")))
    assert served == listed


def test_the_documents_list_the_events_of_the_log():
    """Each name that the sources hand to log_event, or that is chosen for it."""
    told = set()
    called = re.compile(r"\blog_event\(([^\"]*\"[a-z_]+\"[^\"]*(?:\"[a-z_]+\",)?)")
    for path in [p for folder in ("src", "http") for p in (clusters.TOP / folder).rglob("*.c")]:
        text = path.read_text(encoding="utf-8")
        told.update(re.findall(r"\"([a-z_]+)\"", " ".join(called.findall(text))))
        told.update(re.findall(r"\bcomplain\(\w+, \"([a-z_]+)\"", text))
    listed = set(re.findall(r"`([a-z_]+)`", " ".join(
        line.split("|")[1] for line in section("The log").splitlines() if line.startswith("|"))))
    assert len(told) > 30
    assert told == listed
