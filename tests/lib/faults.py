"""What disks do to a replica: files that rot, a file system that goes
read-only, power that fails, and a death at a chosen system call."""

import contextlib
import fcntl
import os
import pathlib
import re
import shutil
import struct
import subprocess
import threading

import pytest

import cluster as clusters

BLOCK = 4096
BATCH_HEAD = 64

# _IOR('X', 125, __u32): ext4 drops what it did not write yet, the log of the
# file system included, and fails whatever comes after.
EXT4_IOC_SHUTDOWN = 0x8004587D
SHUTDOWN_NOLOGFLUSH = 2


# --- Deaths at a call -----------------------------------------------------------


def strace_works():
    if shutil.which("strace") is None:
        return False
    return clusters.run("strace", "-f", "-o", "/dev/null", "-e",
                        "inject=getppid:error=EPERM", "true").returncode == 0


needs_strace = pytest.mark.skipif(not strace_works(), reason="strace is missing or not allowed")


def dying_at(calls, when):
    """What runs a daemon so that the n-th of these calls in any one thread is
    the last thing it does."""
    return ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={calls}", "-e",
            f"inject={calls}:signal=SIGKILL:when={when}"]


def deadly(replica, calls, when):
    """From here on the n-th of these calls in any one thread of a running
    daemon is the last thing that daemon does."""
    return injected(replica, calls, f"signal=SIGKILL:when={when}")


def _is_dead(pid):
    """All of its threads have ended."""
    states = []
    for status in pathlib.Path(f"/proc/{pid}/task").glob("*/status"):
        with contextlib.suppress(OSError):
            states.append(re.search(r"^State:\s+(\w)", status.read_text(), re.M)[1])
    return set(states) <= {"Z", "X"}


def _let_go_of_the_dead(tracer, pid, over):
    """strace 6.1 may sleep on when all threads of what it traces died at once;
    then the kernel keeps the dead from their parent for as long as strace lives."""
    seen_dead = 0
    while seen_dead < 10 and not over.wait(0.1):
        seen_dead = seen_dead + 1 if _is_dead(pid) else 0
    if seen_dead and tracer.poll() is None:
        tracer.kill()


@contextlib.contextmanager
def injected(replica, calls, what):
    """From here on some of these calls of a running daemon go as `what` says,
    in the words of strace: error=EIO:when=3, counted by thread."""
    said = replica.folder / f"strace-{replica.id}"
    with open(said, "wb") as errors:
        tracer = subprocess.Popen(
            ["strace", "-f", "-o", "/dev/null", "-e", f"trace={calls}", "-e",
             f"inject={calls}:{what}", "-p", str(replica.process.pid)],
            stdin=subprocess.DEVNULL, stdout=errors, stderr=errors)
    over = threading.Event()
    watcher = threading.Thread(target=_let_go_of_the_dead,
                               args=(tracer, replica.process.pid, over))
    watcher.start()
    try:
        clusters.eventually("strace is attached", lambda: "attached" in said.read_text()
                            or tracer.poll() is not None)
        yield
    finally:
        over.set()
        watcher.join()
        if tracer.poll() is None:
            tracer.terminate()
        tracer.wait()


# --- Files of the storage ---------------------------------------------------------


def raft_folder(replica):
    return replica.data_dir / "raft"


def segments(replica):
    """The segments of the log with something in them, oldest first."""
    found = sorted(raft_folder(replica).glob("log-*"))
    return [p for p in found if batches(p)]


def snapshots(replica):
    return sorted(raft_folder(replica).glob("snap-*"))


def batches(segment):
    """Where the batches of a segment begin."""
    data = segment.read_bytes()
    return [at for at in range(BLOCK, len(data), BLOCK) if data[at:at + 4] == b"BTCH"]


def sequence(segment, at):
    """The number of a batch."""
    return struct.unpack_from("<Q", segment.read_bytes(), at + 16)[0]


def marked(replica):
    """The last batch that the mark says is on the disk."""
    data = (raft_folder(replica) / "mark").read_bytes()
    copies = [struct.unpack_from("<QQ", data, at + 40) for at in (0, BLOCK)]
    return max(copies)[1]


def flip(path, offset):
    """Turns one bit."""
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 0x10]))


def damage_last_write(replica):
    """Turns a bit in the last batch of a replica that was killed while it
    wrote. False if the mark proves that batch, so that this would be rot and
    not doubt."""
    segment = segments(replica)[-1]
    at = batches(segment)[-1]
    if sequence(segment, at) <= marked(replica):
        return False
    flip(segment, at + BATCH_HEAD + 33)
    return True


def inspect(path):
    """callsignd inspect: exit status and what it prints."""
    done = clusters.run(clusters.DAEMON, "inspect", path)
    return done.returncode, done.stdout + done.stderr


# --- Disks ------------------------------------------------------------------------


class Disk:
    """An ext4 of its own on a loop device."""

    def __init__(self, image, folder, mib=96):
        self.image = pathlib.Path(image)
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.image, "wb") as file:
            file.truncate(mib << 20)
        self.mounted = False
        assert clusters.run("mkfs.ext4", "-q", "-F", self.image).returncode == 0

    def mount(self):
        done = clusters.run("mount", "-o", "loop,errors=remount-ro", self.image, self.folder)
        self.mounted = done.returncode == 0
        return self.mounted

    def umount(self):
        """Waits for the last open file to be gone, as after a kill."""
        clusters.eventually(f"{self.folder} is unmounted", lambda: clusters.run(
            "umount", self.folder).returncode == 0)
        self.mounted = False

    def cut_power(self):
        """What was not synced is gone; every later write fails."""
        folder = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(folder, EXT4_IOC_SHUTDOWN, struct.pack("I", SHUTDOWN_NOLOGFLUSH))
        finally:
            os.close(folder)

    def turn_read_only(self):
        """What the kernel does when it finds the file system damaged, with
        files open for writing."""
        device = clusters.run("findmnt", "-n", "-o", "SOURCE", self.folder).stdout.strip()
        trigger = pathlib.Path("/sys/fs/ext4") / pathlib.Path(device).name / "trigger_fs_error"
        if not trigger.exists():
            pytest.skip("this kernel cannot be made to find errors in ext4")
        trigger.write_text("x")


@contextlib.contextmanager
def disks(replicas):
    """Gives each of these replicas, which do not run yet, a disk of its own;
    {replica id: Disk}."""
    if os.geteuid() != 0 or shutil.which("mkfs.ext4") is None:
        pytest.skip("mounting disks needs root and mkfs.ext4")
    made = {}
    try:
        for replica in replicas:
            disk = Disk(replica.folder / f"disk-{replica.id}", replica.data_dir)
            made[replica.id] = disk
            if not disk.mount():
                pytest.skip("mounting loop devices is not allowed here")
        yield made
    finally:
        for replica in replicas:
            if replica.running:
                replica.kill()
        for disk in made.values():
            if disk.mounted:
                disk.umount()


# --- What a log says ----------------------------------------------------------------


def events(text, name):
    """The lines of a daemon's log with this event."""
    return re.findall(rf"(?m)^.*\bevent={name}\b.*$", text)
