"""libcallsign as a program sees it: installed, on real replicas, while leaders die."""

import json
import os
import shutil
import subprocess
import time

import pytest

import api
import cluster as clusters

HAMMER = clusters.BUILD / "tests" / "client" / "hammer"
COMPARE = clusters.BUILD / "tests" / "client" / "compare"
EXAMPLES = clusters.BUILD / "client" / "examples"
# The promise is for two minutes with a death every five seconds.
SECONDS = int(os.environ.get("CALLSIGN_HAMMER_SECONDS", "14"))
EVERY_S = 5

TEN_LINES = r"""#include <callsign.h>
#include <stdio.h>
int main(int argc, char **argv) {
    struct callsign_config config = {sizeof(config), (const char **)argv + 1, argc - 1};
    struct callsign_put put = {.env_id = 1, .name = "ten", .node_id = 3, .process_id = 42};
    struct callsign_get get = {.env_id = 1, .name = "ten"};
    struct callsign *c; struct callsign_answer a;
    if (callsign_new(&config, NULL, &c) || callsign_put(c, &put, &a)) return 1;
    return callsign_get(c, &get, &a) || !printf("process %d\n", (int)a.entry.process_id);
}
"""


def urls(replicas):
    return [f"http://{api.HOST}:{r.http_port}" for r in replicas]


def is_sanitized():
    return "-fsanitize" in (clusters.BUILD / "config.log").read_text(errors="replace")


def is_built():
    return HAMMER.exists() and COMPARE.exists()


needs_check = pytest.mark.skipif(not is_built(), reason="make check has not built the programs")


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """make install into a folder, and what pkg-config needs to look there."""
    root = tmp_path_factory.mktemp("root")
    done = clusters.run("make", "-C", clusters.BUILD, "--no-print-directory", "install",
                        f"DESTDIR={root}", timeout=120)
    assert done.returncode == 0, done.stderr
    pc = next(root.rglob("callsign.pc"))
    return root, {**os.environ, "PKG_CONFIG_PATH": str(pc.parent),
                  "PKG_CONFIG_SYSROOT_DIR": str(root), "LD_LIBRARY_PATH": str(pc.parents[1])}


def test_ten_lines(installed, shared, folder):
    root, env = installed
    assert len(TEN_LINES.splitlines()) == 10
    (folder / "ten.c").write_text(TEN_LINES)
    asked = clusters.run("pkg-config", "--cflags", "--libs", "callsign", env=env)
    flags = asked.stdout.split()
    assert asked.returncode == 0, asked.stderr
    if is_sanitized():
        flags.append("-fsanitize=address,undefined")
    for mode, more in (("shared", []), ("static", ["-Wl,-Bstatic", "-lcallsign", "-Wl,-Bdynamic"])):
        if mode == "static":
            curl = clusters.run("pkg-config", "--libs", "libcurl").stdout.split()
            flags = [f for f in flags if f != "-lcallsign"] + more + curl
        built = clusters.run("cc", "-Wall", "-Werror", folder / "ten.c", "-o", folder / mode,
                             *flags)
        assert built.returncode == 0, built.stderr
        ran = clusters.run(folder / mode, *urls(shared), env=env)
        assert (ran.returncode, ran.stdout) == (0, "process 42\n"), ran.stderr
        assert clusters.run(folder / mode, env=env).returncode == 0, "local mode"
    linked = clusters.run("ldd", folder / "shared", env=env).stdout
    assert "libcallsign.so.0" in linked
    for page in ("man1/callsign.1", "man3/libcallsign.3", "man8/callsignd.8"):
        assert list(root.rglob(page)), page
    assert list(root.rglob("callsign/guest.h")) and list(root.rglob("completions/callsign"))
    header = folder / "guest.c"
    header.write_text("#include <callsign/guest.h>\nint main(void) { return 0; }\n")
    flags = clusters.run("pkg-config", "--cflags", "callsign", env=env).stdout.split()
    assert clusters.run("cc", "-Wall", "-Werror", "-fsyntax-only", header, *flags).returncode == 0
    if shutil.which("g++"):
        header.rename(folder / "guest.cc")
        assert clusters.run("g++", "-Wall", "-Werror", "-fsyntax-only", folder / "guest.cc",
                            *flags).returncode == 0


def test_only_our_names_are_exported():
    shown = clusters.run("nm", "-D", "--defined-only", clusters.BUILD / ".libs/libcallsign.so")
    names = [line.split()[2].split("@")[0] for line in shown.stdout.splitlines()]
    assert len(names) > 30
    ours = [n for n in names if n.startswith("callsign_") or n == "CALLSIGN_0"]
    if not is_sanitized():
        assert ours == names


def example(name, *arguments, timeout=40):
    return clusters.run(EXAMPLES / name, *arguments, timeout=timeout)


@needs_check
def test_examples(new_cluster):
    cluster = new_cluster().start().wait_ready()
    all_urls = urls(cluster)
    assert example("lookup", "one", *all_urls).returncode == 1
    first = example("singleton", "one", 3, 42, *all_urls)
    assert first.returncode == 0 and "I am one" in first.stdout, first.stderr
    second = example("singleton", "one", 4, 43, *all_urls)
    assert second.returncode == 3 and "process 42 of node 3" in second.stdout
    cluster.leader().kill()
    found = example("lookup", "one", *all_urls)
    assert (found.returncode, found.stdout) == (0, "3 42\n"), found.stderr
    assert example("singleton", "one", 1, 2).returncode == 0, "local mode"
    assert example("spawn", "one", 1).stdout.startswith("spawned 1 ")


@needs_check
def test_follow(new_cluster):
    """One name, over the death of the leader through which it is followed."""
    cluster = new_cluster().start().wait_ready()
    victim = cluster.leader()
    others = [r for r in cluster if r is not victim]
    with subprocess.Popen([EXAMPLES / "follow", "one", "3", *urls([victim, *others])], text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE) as follower:
        with others[0].api() as a:
            assert a.put("one", 3, 42).status == 201
        assert follower.stdout.readline() == "3 42\n"
        victim.kill()
        cluster.leader()
        with others[1].api() as a:
            assert a.put("one", 5, 6).status == 200
            assert follower.stdout.readline() == "5 6\n"
            assert a.request("DELETE", "/api/registry/one").status == 200
        assert follower.stdout.readline() == "nobody\n"
        assert follower.wait(20) == 0


@needs_check
def test_spawn(new_cluster):
    """Of many that ask at once one spawns, and the others find it."""
    cluster = new_cluster().start().wait_ready()
    all_urls = urls(cluster)
    spawners = [subprocess.Popen([EXAMPLES / "spawn", "one", str(i), *all_urls], text=True,
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE)
                for i in range(12)]
    ended = [p.communicate(timeout=40) + (p.returncode,) for p in spawners]
    assert [status for *_, status in ended] == [0] * 12, ended
    spawned = [out for out, *_ in ended if out.startswith("spawned ")]
    assert len(spawned) == 1
    assert {out.split(None, 1)[1] for out, *_ in ended} == {spawned[0].split(None, 1)[1]}


@needs_check
def test_local_mode_answers_alike(new_cluster, rng):
    """The same random calls on a handle of each kind, down to revisions and events."""
    # An election by chance would put another one first.
    calm = ["--election-timeout-ms", "3000", "--heartbeat-ms", "200"]
    cluster = new_cluster(flags=calm).start().wait_ready()
    seed = rng.randrange(2**32)
    in_order = [cluster.leader(), *cluster.followers()]
    compared = clusters.run(COMPARE, seed, 3000, *urls(in_order), timeout=100)
    print(compared.stdout)
    assert compared.returncode == 0, compared.stderr


@needs_check
def test_leaders_die(new_cluster):
    """No outcome is wrong, nothing is applied twice, every call keeps its time."""
    cluster = new_cluster().start().wait_ready()
    command = [str(HAMMER), str(SECONDS), "8", "5000", *urls(cluster)]
    with subprocess.Popen(command, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE) as hammer:
        began = time.monotonic()
        kills = 0
        dead = None
        while began + EVERY_S * (kills + 1) < began + SECONDS:
            due = began + EVERY_S * (kills + 1)
            try:
                hammer.wait(max(0.01, due - time.monotonic()))
                break
            except subprocess.TimeoutExpired:
                pass
            if dead is not None:
                dead.start()
                dead.wait_ready()
            dead = cluster.leader()
            dead.kill()
            kills += 1
        out, errors = hammer.communicate(timeout=60)
    print(f"{kills} leaders killed: {out}")
    assert hammer.returncode == 0, errors + out
    shown = json.loads(out)
    assert kills >= SECONDS // EVERY_S - 1 and shown["done"] > 100 and shown["reads"] > 100
    assert shown["slowest_ms"] <= 6000
