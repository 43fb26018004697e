"""Real daemons on loopback: started, killed, paused, watched."""

import contextlib
import fcntl
import os
import pathlib
import random
import re
import signal
import socket
import subprocess
import tempfile
import time

import api
import certs

TOP = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("CALLSIGN_BUILDDIR", TOP / "build" / "check-plain"))
DAEMON = BUILD / "callsignd"
COMMAND = BUILD / "callsign"

WAIT_S = 20  # for what takes a second on an idle machine

# What no log may hold, whatever else a test is about.
FATAL = re.compile(r"Sanitizer|runtime error:|[Aa]ssertion|CHECK failed|event=check_failed")

_port_locks = []  # of ports that stay somebody's until the process ends


def free_port(locks=None):
    """A port below those the kernel gives to outgoing connections. It is
    locked against other test runs, not only free at this moment, for as long
    as the list `locks` lives."""
    locks = _port_locks if locks is None else locks
    folder = pathlib.Path(tempfile.gettempdir()) / "callsign-test-ports"
    folder.mkdir(exist_ok=True)
    for port in random.sample(range(15000, 32000), 2000):
        lock = open(folder / str(port), "w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with socket.socket() as probe:
                probe.bind((api.HOST, port))
        except OSError:
            lock.close()
            continue
        locks.append(lock)
        return port
    raise RuntimeError("no free port")


def eventually(what, condition, timeout=WAIT_S):
    """Asks again and again until the condition gives something true, and
    returns that. Fails after the deadline: the condition is waited for, never
    a time that should be enough."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout} s: {what}")
        time.sleep(0.01)


class Replica:
    """One daemon, its data directory and its log."""

    def __init__(self, folder, replica_id, flags=(), data_dir=None):
        self.id = replica_id
        self.folder = folder
        self.data_dir = pathlib.Path(data_dir or folder / f"replica-{replica_id}")
        self.log_path = folder / f"replica-{replica_id}.log"
        self._locks = []
        self.http_port = free_port(self._locks)
        self.peer_port = free_port(self._locks)
        self.flags = list(flags)
        self.members = None  # --initial-cluster; None: this replica alone
        self.process = None
        self.daemon = DAEMON
        self.wrapper = []  # what runs the daemon, such as strace
        self.access = api.Access()

    @property
    def peer_address(self):
        return f"{api.HOST}:{self.peer_port}"

    def command(self):
        command = [*map(str, self.wrapper), str(self.daemon), "--id", str(self.id), "--data-dir",
                   str(self.data_dir), "--peer", self.peer_address, "--http",
                   f"{api.HOST}:{self.http_port}"]
        if self.members:
            command += ["--initial-cluster", self.members]
        return command + self.flags

    def start(self):
        assert not self.running, f"replica {self.id} runs already"
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, start_new_session=True)

    @property
    def running(self):
        return self.process is not None and self.process.poll() is None

    @property
    def log(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def signal(self, number):
        self.process.send_signal(number)

    def pause(self):
        """Returns when every thread has stopped."""
        self.signal(signal.SIGSTOP)
        stat = pathlib.Path(f"/proc/{self.process.pid}/stat")
        eventually(f"replica {self.id} is paused",
                   lambda: stat.read_text().rpartition(")")[2].split()[0] == "T")

    def resume(self):
        self.signal(signal.SIGCONT)

    def kill(self):
        """kill -9; its sockets and its lock are free afterwards."""
        self.signal(signal.SIGKILL)
        self.process.wait()

    def kill_group(self):
        """kill -9 of the daemon and of what it was started by."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        # The daemon is no child of ours; its lock goes when it is gone.
        eventually(f"replica {self.id} let go of its directory", self._unlocked)

    def _unlocked(self):
        with open(self.data_dir / "LOCK", "rb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
        return True

    def wait_exit(self, timeout=WAIT_S):
        """The exit status of a daemon that ends on its own."""
        return self.process.wait(timeout)

    def terminate(self, timeout=WAIT_S):
        """SIGTERM; the exit status."""
        self.signal(signal.SIGTERM)
        return self.process.wait(timeout)

    def restart(self):
        if self.running:
            self.kill()
        self.start()

    def api(self, timeout=api.TIMEOUT_S):
        return api.Api(self.http_port, timeout, self.access)

    def ask(self, method, target, body=None, headers=None):
        """One request on a connection of its own."""
        with self.api() as a:
            return a.request(method, target, body, headers)

    def state(self):
        """/api/cluster, or {} while the replica does not answer it."""
        try:
            with self.api(timeout=2) as a:
                return a.cluster()
        except (api.NotSent, api.Lost, ValueError):
            return {}

    def is_ready(self):
        try:
            with self.api(timeout=2) as a:
                return a.request("GET", "/readyz").status == 200
        except (api.NotSent, api.Lost):
            return False

    def wait_ready(self, timeout=WAIT_S):
        def ready():
            assert self.running, f"replica {self.id} ended: {self.log[-500:]}"
            return self.is_ready()
        eventually(f"replica {self.id} is ready", ready, timeout)


class Cluster:
    """N replicas that know each other. Use as a context manager."""

    def __init__(self, folder, count=3, flags=()):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.replicas = [Replica(self.folder, i + 1, flags) for i in range(count)]
        members = ",".join(f"{r.id}={r.peer_address}" for r in self.replicas)
        for replica in self.replicas:
            replica.members = members

    def secure(self):
        """Before the start: TLS everywhere, and a token for everything, which
        we have."""
        self.certs = self.folder / "certs"
        certs.make(self.certs, "replica", *[r.id for r in self.replicas])
        certs.make(self.certs, "http", "localhost", api.HOST)
        token = certs.new_token(DAEMON, self.certs / "tokens", "test", "admin")
        for replica in self.replicas:
            replica.flags += [*certs.peer_flags(self.certs, replica.id),
                              *certs.http_flags(self.certs),
                              "--tokens", str(self.certs / "tokens")]
            replica.access = certs.access(self.certs, token)
        return self

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        try:
            self.stop()
        finally:
            if kind is None:
                self.check_logs()

    def __getitem__(self, replica_id):
        return self.replicas[replica_id - 1]

    def __iter__(self):
        return iter(self.replicas)

    def start(self):
        for replica in self.replicas:
            replica.start()
        return self

    def stop(self):
        for replica in self.replicas:
            if replica.running:
                replica.kill()

    def running(self):
        return [r for r in self.replicas if r.running]

    def wait_ready(self, timeout=WAIT_S):
        """Until all that run are ready and agree on a leader that says it is one."""
        for replica in self.running():
            replica.wait_ready(timeout)
        self.leader(timeout)
        return self

    def leader(self, timeout=WAIT_S, among=None):
        """The replica that leads, as all of `among` (default: all that run) see it."""
        return eventually("one leader is agreed on", lambda: self._agreed(among), timeout)

    def _agreed(self, among):
        states = [r.state() for r in among or self.running()]
        leaders = {s.get("leader") for s in states}
        terms = {s.get("term") for s in states}
        if len(leaders) != 1 or len(terms) != 1 or None in leaders:
            return None
        leader = self[leaders.pop()]
        return leader if leader.running and leader.state().get("state") == "leader" else None

    def followers(self):
        leader = self.leader()
        return [r for r in self.running() if r is not leader]

    def wait_same(self, timeout=WAIT_S):
        """Until all that run hold the same: the digest at one applied index."""
        def same():
            states = [r.state() for r in self.running()]
            facts = {(s.get("applied_index"), s.get("revision"), s.get("digest")) for s in states}
            return len(facts) == 1 and states[0].get("digest") is not None
        eventually("all replicas hold the same", same, timeout)

    def check_logs(self):
        for replica in self.replicas:
            found = FATAL.search(replica.log)
            assert found is None, f"{found.group()!r} is in {replica.log_path}"


def run(*command, timeout=30, input=None, **more):
    """A command to its end, with its output as text. `input` is what it reads."""
    stdin = {"stdin": subprocess.DEVNULL} if input is None else {"input": input}
    return subprocess.run([str(c) for c in command], capture_output=True, text=True,
                          timeout=timeout, check=False, **stdin, **more)


@contextlib.contextmanager
def mounted(target, *arguments):
    """A mount that is gone afterwards, or None where mounting is not allowed."""
    if os.geteuid() != 0 or run("mount", *arguments, target).returncode != 0:
        yield None
        return
    try:
        yield target
    finally:
        run("umount", "--lazy", target)
