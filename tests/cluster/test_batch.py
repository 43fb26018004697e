"""POST /api/batch on real daemons: all or nothing, through every replica."""

import itertools
import threading

import pytest

_counter = itertools.count()


@pytest.fixture(params=[1, 2, 3])
def replica(shared, request):
    return shared[request.param]


@pytest.fixture
def name(request):
    return f"{request.node.nodeid}/{next(_counter)}"


def put(name, process_id, **more):
    return {"op": "put", "name": name, "node_id": 1, "process_id": process_id, **more}


def batch(a, *ops, headers=None):
    return a.request("POST", "/api/batch", {"ops": list(ops)}, headers)


def test_all_at_one_revision(replica, name):
    with replica.api() as a:
        done = batch(a, put(name, 1), put(name + "x", 2), {"op": "get", "name": name + "y"},
                     {"op": "get", "name": name})
        assert done.status == 200, done
        body = done.json()
        assert [r["status"] for r in body["results"]] == [201, 201, 404, 200]
        assert {r["entry"]["revision"] for r in body["results"] if "entry" in r} == \
            {body["revision"]}
        assert done.revision == body["revision"]
        assert a.get(name).json() == body["results"][0]["entry"]
        moved = batch(a, {"op": "remove", "name": name, "if_revision": body["revision"]},
                      put(name + "y", 1, if_absent=True))
        assert [r["status"] for r in moved.json()["results"]] == [200, 201]
        assert moved.json()["revision"] > body["revision"]
        assert a.get(name).status == 404


def test_a_failed_guard_leaves_everything_as_it_was(replica, name):
    with replica.api() as a:
        held = a.put(name, 7, 7).json()
        before = a.get(name).revision
        refused = batch(a, put(name + "x", 1), {"op": "remove", "name": name},
                        put(name, 1), {"op": "get", "name": name + "z", "if_revision": 5})
        assert refused.status == 409
        problem = refused.json()
        assert (problem["code"], problem["index"], problem["reason"]) == \
            ("batch_refused", 3, "process_not_found")
        assert "current" not in problem
        refused = batch(a, put(name + "x", 1), put(name, 1, if_absent=True))
        assert (refused.json()["index"], refused.json()["current"]) == (1, held)
        assert refused.json()["reason"] == "name_taken"
        assert a.get(name).json() == held
        assert a.get(name).revision == before
        assert a.get(name + "x").status == 404


def test_the_largest(replica, name):
    """128 names of 1024 bytes, escaped as long as they get."""
    names = [f"{name}/{i:03}" for i in range(128)]
    names = [n + "\x01" * (1024 - len(n.encode())) for n in names]
    with replica.api() as a:
        done = batch(a, *[put(n, i) for i, n in enumerate(names)])
        assert done.status == 200, done
        results = done.json()["results"]
        assert [r["entry"]["name"] for r in results] == names
        done = batch(a, *[{"op": "remove", "name": n, "node_id": 1, "process_id": i}
                          for i, n in enumerate(names)])
        assert [r["status"] for r in done.json()["results"]] == [200] * 128


def test_moves_never_lose_or_double(shared, name):
    """Three movers take one process from name to name; whoever looks at all names in one
    batch finds it once."""
    names = [f"{name}/{i}" for i in range(5)]
    moved = [0]
    stop = threading.Event()
    errors = []

    def move(replica):
        with replica.api() as a:
            while not stop.is_set():
                looks = batch(a, *[{"op": "get", "name": n} for n in names]).json()["results"]
                at = [i for i, r in enumerate(looks) if r["status"] == 200]
                if len(at) != 1:
                    errors.append(looks)
                    return
                entry = looks[at[0]]["entry"]
                to = names[(at[0] + 1) % len(names)]
                done = batch(a, {"op": "remove", "name": entry["name"],
                                 "if_revision": entry["revision"]}, put(to, 1, if_absent=True))
                if done.status == 200:
                    moved[0] += 1
                elif done.status != 409:
                    errors.append(done)
                    return
    with shared[1].api() as a:
        assert a.put(names[0], 1, 1).status == 201
    threads = [threading.Thread(target=move, args=(r,)) for r in shared]
    for t in threads:
        t.start()
    threads[0].join(3)
    stop.set()
    for t in threads:
        t.join()
    assert not errors
    assert moved[0] > 10
