"""A request is found again in the log: by its id, and by its trace."""

import re

import cluster as clusters

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def lines(replica, status):
    return [line for line in replica.log.splitlines()
            if " event=request " in line and f" status={status} " in line]


def test_ids_are_told_and_answered(new_cluster):
    one = new_cluster(count=1, flags=["--log-level", "debug"])
    one.start().wait_ready()
    headers = {"X-Request-Id": "order-17", "traceparent": TRACE}
    body = {"name": "a b", "node_id": 1, "process_id": 2}
    answer = one[1].ask("POST", "/api/registry", body, headers)
    assert (answer.status, answer.headers["X-Request-Id"]) == (201, "order-17")
    assert "X-Request-Id" not in one[1].ask("GET", "/api/registry/x").headers
    line = clusters.eventually("the request is in the log", lambda: lines(one[1], 201))[0]
    for part in ('request_id="order-17"', "trace_id=4bf92f3577b34da6a3ce929d0e0e4736",
                 'from=127.0.0.1', "who=anybody", "method=POST", 'target="/api/registry"'):
        assert part in line, line
    assert re.search(r" duration_us=\d+$", line)


def test_failures_are_told_a_few_a_second(new_cluster):
    """Alone of three it answers 503, and says so without filling the disk."""
    three = new_cluster(flags=["--request-timeout-ms", "200"])
    three[1].start()
    clusters.eventually("it answers", three[1].state)
    with three[1].api() as a:
        for i in range(200):
            asked = a.request("GET", f"/api/registry/{i}", headers={"X-Request-Id": f"r{i}"})
            assert asked.status == 503
    told = clusters.eventually("failures are in the log", lambda: lines(three[1], 503))
    assert 'request_id="r0"' in told[0]
    per_second = [line.split("ts=")[1][:19] for line in told]
    # A second of the log's clock may lie across two of the limit's.
    assert max(per_second.count(s) for s in set(per_second)) <= 20
    assert not [line for line in three[1].log.splitlines() if "level=debug" in line]
