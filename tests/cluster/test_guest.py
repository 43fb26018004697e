"""Real WebAssembly guests on lunatic's registry functions, in two engines: as C
made by wasm2c, and in wabt's interpreter. client/guest.c runs under ASan."""

import pathlib
import shutil
import subprocess

import pytest

import api
import cluster as clusters

GUEST = clusters.TOP / "tests" / "guest"
RUNTIME = pathlib.Path("/usr/share/wabt/wasm2c")
LIBRARY = clusters.BUILD / ".libs" / "libcallsign.a"
NAME = "my_app::Counter/lunatic::serializer::bincode::Bincode/ProcessRef/hello"
ENV = 7
PAGE = 65536

MEMORY = "trap memory outside of the guest: "
UTF8 = "trap the name is not UTF-8: "
BAD_NAME = "trap a name is 1 to 1024 bytes without NUL: "


def wabt_version():
    tools = ("wasm2c", "clang", "wasm-ld", "g++")
    if not all(map(shutil.which, tools)) or not RUNTIME.exists():
        return None
    return clusters.run("wasm2c", "--version").stdout.strip()


# Later versions name what they generate in another way.
pytestmark = pytest.mark.skipif(wabt_version() != "1.0.32",
                                reason="wabt 1.0.32, clang, wasm-ld and g++ are needed")


@pytest.fixture(scope="module")
def hosts(tmp_path_factory):
    """The guest, and the host with each engine."""
    folder = tmp_path_factory.mktemp("guest")
    wasm = folder / "guest.wasm"
    sanitized = ["-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    includes = [f"-I{d}" for d in (folder, clusters.TOP, GUEST, RUNTIME)]
    curl = clusters.run("pkg-config", "--libs", "libcurl").stdout.split()

    def build(*command):
        done = clusters.run(*command, cwd=folder, timeout=120)
        assert done.returncode == 0, done.stderr

    build("clang", "--target=wasm32", "-O2", "-ffreestanding", "-nostdlib", "-Wl,--no-entry",
          "-Wall", "-Wextra", "-Werror", GUEST / "guest.c", "-o", wasm)
    build("wasm2c", wasm, "-n", "guest", "-o", "guest_wasm.c")
    ours = [clusters.TOP / "client" / "guest.c", clusters.TOP / "client" / "text.c",
            GUEST / "host.c"]
    build("gcc", "-c", *sanitized, *includes, *ours)
    objects = [folder / f"{source.stem}.o" for source in ours]
    build("gcc", *sanitized, *includes, "guest_wasm.c", GUEST / "engine_wasm2c.c",
          RUNTIME / "wasm-rt-impl.c", *objects, LIBRARY, *curl, "-lm", "-o", "host-wasm2c")
    build("g++", "-std=c++17", *sanitized, *includes, GUEST / "engine_wabt.cc", *objects, LIBRARY,
          *curl, "-lwabt", "-lcrypto", "-o", "host-wabt")
    return {"wasm2c": folder / "host-wasm2c", "wabt": folder / "host-wabt", "guest": wasm}


class Guest:
    """One guest in one engine; its functions are called by name."""

    def __init__(self, hosts, engine, replicas=()):
        urls = [f"http://{api.HOST}:{r.http_port}" for r in replicas]
        self.process = subprocess.Popen([hosts[engine], hosts["guest"], *urls], text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE)
        assert self.process.stdout.readline() == "ready\n", self.process.stderr.read()

    def call(self, function, *arguments):
        self.process.stdin.write(f"{function} {' '.join(map(str, arguments))}\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline().rstrip("\n")
        assert line, self.process.stderr.read()
        return int(line[6:]) if line.startswith("value ") else line

    def end(self):
        _, errors = self.process.communicate(timeout=30)
        assert self.process.returncode == 0 and errors == "", errors

    def poke(self, at, data):
        for i, byte in enumerate(data):
            assert self.call("poke", at + i, byte) == 0

    def found(self):
        return self.call("found_node"), self.call("found_process")


@pytest.fixture(params=["wasm2c", "wabt"])
def new_guest(request, hosts):
    made = []

    def make(replicas=()):
        made.append(Guest(hosts, request.param, replicas))
        return made[-1]

    yield make
    for guest in made:
        guest.end()


def use_the_registry(guest):
    """What a guest of lunatic sees, in any mode."""
    assert guest.call("lookup") == 1
    assert guest.found() == (0xdead, 0xbeef), "something was written though nothing was found"
    assert guest.call("register", 3, 2**64 - 1) == 0
    assert guest.call("lookup") == 0
    assert guest.found() == (3, 2**64 - 1)
    assert guest.call("register", 2**63, 5) == 0  # the last writer wins, as in lunatic
    assert guest.call("lookup") == 0
    assert guest.found() == (2**63, 5)
    assert guest.call("unregister") == 0
    assert guest.call("unregister") == 0, "removing what is not there is no error"
    assert guest.call("lookup") == 1


def misbehave(guest):
    """Hostile pointers and lengths, against a memory of which the pages are counted."""
    pages = guest.call("grow", 0)
    end = pages * PAGE
    far = [end, end - 1, 2**31, 2**32 - 1, 2**32 - 7]
    for at in far:  # a name that begins inside, or not, and ends outside
        for length in (2, 2**31, 2**32 - 1):
            assert guest.call("put", at, length, 1, 2) == MEMORY
            assert guest.call("get", at, length, 0, 8) == MEMORY
            assert guest.call("remove", at, length) == MEMORY
    assert guest.call("put", 2**32 - 1, 1, 1, 2) == MEMORY  # ptr + len is 0 in 32 bits
    assert guest.call("put", end, 0, 1, 2) == BAD_NAME      # inside, and empty
    assert guest.call("put", end + 1, 0, 1, 2) == MEMORY
    assert guest.call("get", 0, end, 0, 8) == BAD_NAME      # all of the memory as a name
    scratch = end - 4096
    guest.poke(scratch, b"n/1")
    guest.poke(scratch + 8, b"\xff\xfe")
    guest.poke(scratch + 16, b"a\0b")
    guest.poke(scratch + 24, "é".encode())
    assert guest.call("put", scratch, 3, 11, 12) == 0
    for at in (end - 7, end, 2**32 - 8, 2**32 - 1):  # places for the ids, found or not
        for name in ((scratch, 3), (scratch, 2)):
            assert guest.call("get", *name, at, scratch + 64) == MEMORY
            assert guest.call("get", *name, scratch + 64, at) == MEMORY
    assert guest.call("peek", scratch + 64) == 0, "something was written before a trap"
    for function, more in (("put", (1, 2)), ("get", (0, 8)), ("remove", ())):
        assert guest.call(function, scratch + 8, 2, *more) == UTF8
        assert guest.call(function, scratch + 24, 1, *more) == UTF8
        assert guest.call(function, scratch + 16, 3, *more) == BAD_NAME
        assert guest.call(function, scratch, 1025, *more) == BAD_NAME
    # The last bytes of the memory, and places without alignment that overlap.
    assert guest.call("get", scratch, 3, end - 8, end - 16) == 0
    assert (guest.call("peek", end - 8), guest.call("peek", end - 16)) == (11, 12)
    assert guest.call("get", scratch, 3, scratch + 101, scratch + 109) == 0
    assert (guest.call("peek", scratch + 101), guest.call("peek", scratch + 109)) == (11, 12)
    # Memory that was outside is inside after it grew, wherever it moved to.
    assert guest.call("get", scratch, 3, end, end + 8) == MEMORY
    assert guest.call("grow", 300) == pages
    assert guest.call("get", scratch, 3, end, end + 8) == 0
    assert (guest.call("peek", end), guest.call("peek", end + 8)) == (11, 12)
    far_end = end + 300 * PAGE
    guest.poke(far_end - 5, b"n/end")
    assert guest.call("put", far_end - 5, 5, 21, 22) == 0
    assert guest.call("put", far_end - 4, 5, 21, 22) == MEMORY
    assert guest.call("get", far_end - 5, 5, scratch, scratch + 8) == 0
    assert guest.call("remove", far_end - 5, 5) == 0


def test_local(new_guest):
    guest = new_guest()
    use_the_registry(guest)
    misbehave(guest)


def test_two_local_guests_share_nothing(new_guest):
    one, other = new_guest(), new_guest()
    assert one.call("register", 1, 2) == 0
    assert other.call("lookup") == 1


def test_cluster(new_guest, new_cluster):
    """Three replicas; the leader dies between put and get, and comes back."""
    cluster = new_cluster().start().wait_ready()
    guest, other = new_guest(cluster), new_guest(cluster)
    use_the_registry(guest)
    misbehave(guest)
    assert guest.call("register", 3, 42) == 0
    with cluster[1].api() as a:
        assert a.request("GET", f"/api/registry/{api.quote(NAME)}").status == 404
        assert a.request("GET", f"/api/registry/{api.quote(NAME)}?env_id={ENV}").status == 200
    victim = cluster.leader()
    victim.kill()
    assert other.call("lookup") == 0
    assert other.found() == (3, 42)
    assert guest.call("lookup") == 0
    victim.start()
    cluster.wait_ready()
    # Without a quorum nothing is known: a trap, and never "not found".
    for replica in cluster.followers():
        replica.kill()
    shown = guest.call("lookup")
    assert str(shown).startswith("trap the registry cannot be reached"), shown
    for replica in cluster:
        if not replica.running:
            replica.start()
    cluster.wait_ready()
    assert guest.call("lookup") == 0
    assert guest.call("unregister") == 0
    assert other.call("lookup") == 1
