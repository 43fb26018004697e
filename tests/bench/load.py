"""One run of a load generator, and what the members spent on it."""

import collections
import json
import subprocess

import systems

# A run: requests a second, milliseconds, CPU of all members in microseconds per
# request, and the answers that were errors.
Run = collections.namedtuple("Run", "rate p50 p99 cpu_us errors")

# The ways to drive a system: label, the system's name, how.
DRIVERS = {
    "callsign": ("callsign", "wrk"),
    "etcd v2 HTTP": ("etcd", "wrk-v2"),
    "etcd v3 JSON": ("etcd", "wrk-v3"),
    "etcd gRPC": ("etcd", "grpc"),
    "ZooKeeper": ("zookeeper", "c-client"),
}

WRK_KINDS = {"wrk": "callsign", "wrk-v2": "etcd-v2", "wrk-v3": "etcd-v3"}


def command(how, member, work, connections, keys, seconds):
    """The command line that drives `member`."""
    tools = systems.BUILD / "tools"
    if how == "grpc":
        return [tools / "etcdload", "--endpoint", member.endpoint, "--work", work, "--keys", keys,
                "--connections", connections, "--seconds", seconds]
    if how == "c-client":
        return [tools / "zkload", member.endpoint, work, connections, keys, seconds]
    # wrk takes whole seconds only.
    return ["wrk", "--threads", 1, "--connections", connections, "--duration", f"{seconds}s",
            "--timeout", "10s", "--script", systems.BENCH / "wrk" / "load.lua",
            f"http://{member.endpoint}", "--", WRK_KINDS[how], work, keys]


def run(system, how, member, work, connections, keys, seconds):
    """Drives the member and measures all of them."""
    line = [str(part) for part in command(how, member, work, connections, keys, seconds)]
    before = system.cpu_s()
    done = subprocess.run(line, check=True, capture_output=True, text=True)
    spent_s = system.cpu_s() - before
    result = json.loads(done.stdout.splitlines()[-1])
    requests = max(1, result["requests"])
    return Run(result["requests"] / result["seconds"], result["p50_ms"], result["p99_ms"],
               spent_s / requests * 1e6, result["errors"])
