"""The container image, without a container engine: the steps of the Dockerfile
are done in roots of their own, and what they leave is started as it says."""

import json
import os
import re
import shlex
import subprocess

import pytest

import api
import cluster as clusters

CONTEXT = clusters.TOP
DOCKERFILE = CONTEXT / "deploy/container/Dockerfile"


def steps():
    """[(instruction, rest of it)], continued lines joined."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text(), flags=re.M)
    text = re.sub(r"\\\n\s*", "", text)
    return [tuple(line.split(None, 1)) for line in text.splitlines() if line.strip()]


class Image:
    """What one stage leaves: its root, and how a container of it starts."""

    def __init__(self, root):
        self.root = root
        self.folder = "/"
        self.user = None
        self.env = {}
        self.settings = {}

    def _inside(self, path):
        return self.root.path / os.path.join(self.folder, path).lstrip("/")

    def copy(self, rest, stages):
        """COPY of the Dockerfile: one source, as there is no more in it."""
        words = shlex.split(rest)
        target = self._inside(words[-1])
        if words[0].startswith("--from="):
            tree = stages[words[0].removeprefix("--from=")].root.path
            source = tree / words[1].lstrip("/")
            subprocess.run(["cp", "-a", f"{source}/.", target], check=True)
        elif words[0] == ".":
            target.mkdir(parents=True, exist_ok=True)
            listed = subprocess.run(["git", "ls-files", "-z"], cwd=CONTEXT, check=True,
                                    capture_output=True).stdout
            packed = subprocess.run(["tar", "--create", "--null", "--files-from=-"], cwd=CONTEXT,
                                    input=listed, capture_output=True, check=True).stdout
            subprocess.run(["tar", "--extract"], cwd=target, input=packed, check=True)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            subprocess.run(["cp", "-a", CONTEXT / words[0], target], check=True)

    def execute(self, rest):
        self._inside(".").mkdir(parents=True, exist_ok=True)
        self.root.run("/bin/sh", "-c", f"cd {shlex.quote(self.folder)} && {rest}", env=self.env,
                      timeout=900)


@pytest.fixture
def image(new_root):
    """The last stage. Debian's images and these roots are the same packages."""
    stages, current = {}, None
    for instruction, rest in steps():
        if instruction == "FROM":
            name = rest.split(" AS ")[1] if " AS " in rest else "last"
            current = stages[name] = Image(new_root(f"image-{name}"))
        elif instruction == "WORKDIR":
            current.folder = rest
        elif instruction == "RUN":
            current.execute(rest)
        elif instruction == "COPY":
            current.copy(rest, stages)
        elif instruction == "USER":
            current.user = rest
        elif instruction == "ENV":
            current.env.update(pair.split("=", 1) for pair in shlex.split(rest))
        else:
            assert instruction in ("VOLUME", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK", "ENTRYPOINT")
            current.settings[instruction] = rest
    return current


def test_a_container_of_the_image(image):
    """Starts as a user without rights, is healthy, and stops in order."""
    entry = json.loads(image.settings["ENTRYPOINT"])
    check = json.loads(image.settings["HEALTHCHECK"].split("CMD ", 1)[1])
    assert image.settings["STOPSIGNAL"] == "SIGTERM"
    assert not image.root.has("/src") and not image.root.has("/usr/bin/gcc")
    port, peer = clusters.free_port(), clusters.free_port()
    env = {**image.env, "CALLSIGN_HTTP": f"{api.HOST}:{port}",
           "CALLSIGN_PEER": f"{api.HOST}:{peer}", "CALLSIGN_ENDPOINTS": f"http://{api.HOST}:{port}"}
    user = f"{image.user}:{image.user}"
    process = image.root.start(*entry, user=user, env=env)

    def healthy():
        assert process.poll() is None, "the container ended"
        return image.root.run(*check, user=user, env=env, check=False).returncode == 0

    clusters.eventually("the container is healthy", healthy)
    image.root.run("callsign", "put", "in/a/container", "1", "2", user=user, env=env)
    assert image.root.has(image.settings["VOLUME"] + "/identity")
    process.terminate()
    assert process.wait(20) == 0
    assert image.root.run(*check, user=user, env=env, check=False).returncode != 0
