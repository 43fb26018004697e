"""Debian roots to install things into, and to run them in."""

import os
import shutil
import signal
import subprocess

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def bare(archive):
    """A bare Debian 12 as an archive; made when there is none yet."""
    if not archive.exists():
        part = archive.with_suffix(".part")
        subprocess.run(["mmdebstrap", "--quiet", "--variant=minbase", "--format=tar", "bookworm",
                        part], check=True, stdin=subprocess.DEVNULL)
        part.rename(archive)
    return archive


class Root:
    """A root directory, made of the archive; its processes end with it."""

    def __init__(self, path, archive):
        self.path = path
        self._started = []
        if path.exists():
            shutil.rmtree(path)
        path.mkdir(parents=True)
        subprocess.run(["tar", "--extract", "--file", archive, "--directory", path], check=True)
        # Names are resolved and packages found as on this machine.
        for name in ("etc/resolv.conf", "etc/hosts"):
            shutil.copy(f"/{name}", path / name)
        # Nothing is started by being installed.
        policy = path / "usr/sbin/policy-rc.d"
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)

    def _chroot(self, command, user):
        who = [f"--userspec={user}"] if user else []
        return ["chroot", *who, str(self.path), *map(str, command)]

    def _environment(self, more):
        proxies = {k: v for k, v in os.environ.items() if k.lower().endswith("_proxy")}
        return {"PATH": PATH, "HOME": "/root", "LC_ALL": "C.UTF-8",
                "DEBIAN_FRONTEND": "noninteractive", **proxies, **(more or {})}

    def run(self, *command, user=None, env=None, check=True, timeout=600):
        """A command in the root, to its end."""
        done = subprocess.run(self._chroot(command, user), capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, timeout=timeout, check=False,
                              env=self._environment(env))
        if check:
            said = (done.stdout + done.stderr)[-3000:]
            assert done.returncode == 0, (command, done.returncode, said)
        return done

    def start(self, *command, user=None, env=None, log=subprocess.DEVNULL):
        """A command in the root that goes on."""
        process = subprocess.Popen(self._chroot(command, user), stdin=subprocess.DEVNULL,
                                   stdout=log, stderr=log, start_new_session=True,
                                   env=self._environment(env))
        self._started.append(process)
        return process

    def has(self, path):
        return os.path.lexists(self.path / path.lstrip("/"))

    def remove(self):
        for process in self._started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        shutil.rmtree(self.path)
