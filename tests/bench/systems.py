"""The systems side by side: members on loopback, their leaders, what they cost."""

import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request

TOP = pathlib.Path(__file__).resolve().parents[2]
BENCH = TOP / "tests" / "bench"
BUILD = TOP / "build" / "bench"
os.environ["CALLSIGN_BUILDDIR"] = str(BUILD)
sys.path.insert(0, str(TOP / "tests" / "lib"))

import cluster as clusters  # noqa: E402

HOST = "127.0.0.1"
TICKS = os.sysconf("SC_CLK_TCK")
eventually = clusters.eventually


def get_json(url, data=None, timeout=2):
    """What a URL answers, or {} while it does not."""
    try:
        with urllib.request.urlopen(url, data=data, timeout=timeout) as answer:
            return json.load(answer)
    except (OSError, ValueError):
        return {}


class Member:
    """One process of a system."""

    def __init__(self, index, folder):
        self.index = index
        self.folder = folder
        self.process = None
        self.port = clusters.free_port()
        self.peer_port = clusters.free_port()
        self.extra_port = clusters.free_port()

    @property
    def endpoint(self):
        return f"{HOST}:{self.port}"

    def spawn(self, command, env=None):
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(
                [str(part) for part in command], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                cwd=self.folder, env={**os.environ, **(env or {})}, start_new_session=True)

    @property
    def running(self):
        return self.process is not None and self.process.poll() is None

    def kill(self):
        if self.running:
            self.process.send_signal(signal.SIGKILL)
        if self.process is not None:
            self.process.wait()

    def cpu_s(self):
        """User and system time so far."""
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2]
        return sum(map(int, fields.split()[11:13])) / TICKS

    def rss_mb(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024


class System:
    """Members that are one cluster. Use as a context manager."""

    name = ""

    def __init__(self, folder, count=3):
        self.folder = pathlib.Path(folder) / self.name
        self.members = [Member(i, self.folder / str(i)) for i in range(count)]

    def __enter__(self):
        for member in self.members:
            self.launch(member)
        self.leader()
        return self

    def __exit__(self, *_):
        for member in self.members:
            member.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def launch(self, member):
        raise NotImplementedError

    def leads(self, member):
        raise NotImplementedError

    def leader(self, timeout=60):
        """The member that leads."""
        def look():
            for member in self.members:
                if not member.running and member.process is not None and member.process.returncode \
                        not in (None, -signal.SIGKILL):
                    raise RuntimeError(f"{self.name}: a member ended: {member.folder}/log")
            return next((m for m in self.members if m.running and self.leads(m)), None)
        return eventually(f"{self.name} has a leader", look, timeout)

    def follower(self):
        leader = self.leader()
        return next(m for m in self.members if m.running and m is not leader)

    def running(self):
        return [m for m in self.members if m.running]

    def cpu_s(self):
        return sum(m.cpu_s() for m in self.running())

    def rss_mb(self):
        """Of the largest member."""
        return max(m.rss_mb() for m in self.running())

    def disk_mb(self):
        """Of the largest member, as the file system counts it."""
        def used(folder):
            return sum(p.stat().st_blocks for p in folder.rglob("*") if p.is_file()) / 2048
        return max(used(m.folder) for m in self.members)


class Callsign(System):
    """Our replicas: three, as everybody else, unless told."""

    name = "callsign"

    def __init__(self, folder, count=3, flags=(), binary=None):
        super().__init__(folder, count)
        self.flags = list(flags)
        self.binary = binary or BUILD / "callsignd"

    def launch(self, member):
        everybody = ",".join(f"{m.index + 1}={HOST}:{m.peer_port}" for m in self.members)
        member.spawn([self.binary, "--id", member.index + 1, "--data-dir", member.folder / "data",
                      "--peer", f"{HOST}:{member.peer_port}", "--http", member.endpoint,
                      "--initial-cluster", everybody, *self.flags])

    def state(self, member):
        return get_json(f"http://{member.endpoint}/api/cluster")

    def leads(self, member):
        state = self.state(member)
        return state.get("state") == "leader" and state.get("leader") == member.index + 1

    def metric(self, member, name):
        with urllib.request.urlopen(f"http://{member.endpoint}/metrics", timeout=10) as answer:
            for line in answer.read().decode().splitlines():
                if line.startswith(name + " "):
                    return float(line.split()[1])
        raise KeyError(name)

    def is_ready(self, member):
        try:
            urllib.request.urlopen(f"http://{member.endpoint}/readyz", timeout=2).close()
            return True
        except OSError:
            return False


class Etcd(System):
    """Debian's etcd-server with both of its APIs; every write is synced."""

    name = "etcd"

    def launch(self, member):
        everybody = ",".join(f"m{m.index}=http://{HOST}:{m.peer_port}" for m in self.members)
        client, peer = f"http://{member.endpoint}", f"http://{HOST}:{member.peer_port}"
        member.spawn(["etcd", "--name", f"m{member.index}", "--data-dir", member.folder / "data",
                      "--listen-client-urls", client, "--advertise-client-urls", client,
                      "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
                      "--initial-cluster", everybody, "--initial-cluster-token", "bench",
                      "--initial-cluster-state", "new", "--enable-v2=true",
                      "--quota-backend-bytes", str(8 << 30), "--log-level", "error"])

    def leads(self, member):
        state = get_json(f"http://{member.endpoint}/v3/maintenance/status", data=b"{}")
        header = state.get("header", {})
        return "leader" in state and state["leader"] == header.get("member_id")

    def fill(self, keys):
        subprocess.run([BUILD / "tools" / "etcdload", "--endpoint", self.leader().endpoint,
                        "--work", "fill", "--keys", str(keys)], check=True)

    def is_ready(self, member):
        return get_json(f"http://{member.endpoint}/health").get("health") == "true"


class ZooKeeper(System):
    """Debian's zookeeper with its own defaults; every write is synced. The heap is the 1000 MB of
    the start script that ZooKeeper itself comes with."""

    name = "zookeeper"

    def launch(self, member):
        data = member.folder / "data"
        data.mkdir(parents=True, exist_ok=True)
        (data / "myid").write_text(f"{member.index + 1}\n")
        lines = ["tickTime=2000", "initLimit=10", "syncLimit=5", f"dataDir={data}",
                 f"clientPort={member.port}", f"clientPortAddress={HOST}", "maxClientCnxns=0",
                 "admin.enableServer=false", "4lw.commands.whitelist=*"]
        for other in self.members:
            lines.append(f"server.{other.index + 1}={HOST}:{other.peer_port}:{other.extra_port}")
        (member.folder / "zoo.cfg").write_text("\n".join(lines) + "\n")
        member.spawn(["java", "-Xmx1000m", "-cp",
                      "/etc/zookeeper/conf_example:/usr/share/java/zookeeper.jar",
                      "-Dzookeeper.root.logger=WARN,CONSOLE",
                      "org.apache.zookeeper.server.quorum.QuorumPeerMain",
                      member.folder / "zoo.cfg"])

    @staticmethod
    def ask(member, word):
        try:
            with socket.create_connection((HOST, member.port), timeout=2) as s:
                s.sendall(word)
                return s.makefile("rb").read().decode()
        except OSError:
            return ""

    def leads(self, member):
        return "Mode: leader" in self.ask(member, b"srvr")

    def fill(self, keys):
        subprocess.run([BUILD / "tools" / "zkload", self.leader().endpoint, "fill", "16",
                        str(keys), "0"], check=True, stdout=subprocess.DEVNULL)

    def is_ready(self, member):
        return "Mode: " in self.ask(member, b"srvr")


def ready_after_restart_s(system, member):
    """Kills a member, starts it, and waits until it says that it serves."""
    member.kill()
    began = time.monotonic()
    system.launch(member)
    while not system.is_ready(member):
        if not member.running:
            raise RuntimeError(f"{system.name}: did not start again: {member.folder}/log")
        time.sleep(0.002)
    return time.monotonic() - began
