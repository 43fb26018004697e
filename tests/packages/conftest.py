"""Fixtures of the tests on what is installed: Debian packages, the image.

Everything happens in roots of their own under build/packages, made by
mmdebstrap, which needs root; nothing is installed on this machine.
"""

import os
import pathlib
import shutil
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))

import roots  # noqa: E402

TOP = pathlib.Path(__file__).resolve().parents[2]
WORK = TOP / "build" / "packages"


def pytest_configure():
    if os.geteuid() != 0:
        pytest.exit("roots of their own can be made by root only", 5)


@pytest.fixture(scope="session")
def base():
    """The archive of a bare Debian 12 as it comes; copied by who changes it."""
    WORK.mkdir(parents=True, exist_ok=True)
    return roots.bare(WORK / "bookworm.tar")


@pytest.fixture
def new_root(base):
    """Makes roots that are gone after the test."""
    made = []

    def make(name):
        made.append(roots.Root(WORK / name, base))
        return made[-1]

    yield make
    for root in made:
        root.remove()


@pytest.fixture(scope="session")
def debs():
    """The Debian packages of this tree: {name: path}, and the .changes file."""
    folder = WORK / "debs"
    shutil.rmtree(folder, ignore_errors=True)
    built = subprocess.run([TOP / "deploy" / "build-deb", folder], capture_output=True, text=True,
                           stdin=subprocess.DEVNULL, check=False,
                           env={**os.environ, "DEB_BUILD_OPTIONS": "nocheck"})
    assert built.returncode == 0, (built.stdout + built.stderr)[-3000:]
    found = {p.name.split("_")[0]: p for p in folder.glob("*.deb")}
    found["changes"] = next(folder.glob("*.changes"))
    return found
