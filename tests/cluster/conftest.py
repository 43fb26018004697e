"""Fixtures of the tests on real daemons.

CALLSIGN_BUILDDIR names the build whose daemon and command are tested. With
CALLSIGN_KEEP=1 the folders with data and logs are kept; after a failure they
always are, and the report says where.
"""

import os
import pathlib
import random
import shutil
import sys
import tempfile
import time

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))

import cluster as clusters  # noqa: E402

SEED = os.environ.get("CALLSIGN_SEED", str(time.time_ns() % 2**32))


def pytest_report_header():
    return [f"callsign: programs of {clusters.BUILD}, CALLSIGN_SEED={SEED}"]


def pytest_configure():
    for program in (clusters.DAEMON, clusters.COMMAND):
        if not os.access(program, os.X_OK):
            pytest.exit(f"{program} is missing: build it, or set CALLSIGN_BUILDDIR", 2)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    report = (yield).get_result()
    folder = getattr(item, "callsign_folder", None)
    if report.failed:
        item.callsign_failed = True
        if folder is not None:
            report.sections.append(("kept", f"data and logs are in {folder}"))
            for log in sorted(folder.glob("*.log")):
                tail = log.read_text(errors="replace").splitlines()[-15:]
                report.sections.append((log.name, "\n".join(tail)))


def _new_folder():
    return pathlib.Path(tempfile.mkdtemp(prefix="callsign-"))


def _drop(folder, failed):
    if not failed and not os.environ.get("CALLSIGN_KEEP"):
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def rng(request):
    """Randomness that CALLSIGN_SEED repeats."""
    return random.Random(f"{SEED} {request.node.name}")


@pytest.fixture
def folder(request):
    """A folder of the test's own, kept when it fails."""
    path = _new_folder()
    request.node.callsign_folder = path
    yield path
    _drop(path, getattr(request.node, "callsign_failed", False))


@pytest.fixture
def new_cluster(folder):
    """Makes clusters that end with the test."""
    made = []

    def make(count=3, flags=(), name="cluster"):
        made.append(clusters.Cluster(folder / name if name != "cluster" else folder, count, flags))
        return made[-1]

    yield make
    for one in made:
        one.stop()
    for one in made:
        one.check_logs()


@pytest.fixture(scope="module")
def shared(request):
    """One cluster of three for all tests of a module that leave it running."""
    path = _new_folder()
    failed_before = request.session.testsfailed
    # What is tested here is no failover: an election by chance would only disturb.
    calm = ["--election-timeout-ms", "1500", "--heartbeat-ms", "100"]
    with clusters.Cluster(path, flags=calm) as one:
        yield one.start().wait_ready()
    failed = request.session.testsfailed > failed_before
    if failed:
        print(f"data and logs are in {path}")
    _drop(path, failed)
