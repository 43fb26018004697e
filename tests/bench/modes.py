"""What else is measured: failover, many names, many connections, more replicas."""

import http.client
import json
import signal
import subprocess
import threading
import time
import urllib.parse
import urllib.request

import load
import report
import systems

KEYS = 10000
MILLION = 1000000
FILL_MAX_S = 1500
CONNECTIONS = (1, 16, 64, 256, 1024)
SIZES = (1, 3, 5)


# --- Failover --------------------------------------------------------------------------------

def callsign_put(n):
    return "POST", "/api/registry", json.dumps(
        {"name": f"gap/{n % 100}", "node_id": 1, "process_id": n}), {}


def etcd_put(n):
    return "PUT", f"/v2/keys/gap/{n % 100}", urllib.parse.urlencode({"value": n}), {
        "Content-Type": "application/x-www-form-urlencoded"}


class Prober(threading.Thread):
    """Puts again and again through one member that lives on, each value until it is taken."""

    def __init__(self, member, put):
        super().__init__(daemon=True)
        self.member = member
        self.put = put
        self.taken = []  # when
        self.refused = 0  # 503: a retry is safe
        self.failed = 0  # any other answer, or none
        self._stopping = threading.Event()

    def attempt(self, connection, n):
        method, path, body, headers = self.put(n)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            answer.read()
            return answer.status
        except (OSError, http.client.HTTPException):
            connection.close()
            return None

    def run(self):
        connection = http.client.HTTPConnection(systems.HOST, self.member.port, timeout=20)
        n = 0
        while not self._stopping.is_set():
            status = self.attempt(connection, n)
            if status in (200, 201):
                self.taken.append(time.monotonic())
                n += 1
                continue
            if status == 503:
                self.refused += 1
            else:
                self.failed += 1
            self._stopping.wait(0.005)
        connection.close()

    def stop(self):
        self._stopping.set()
        self.join()

    def gap_s(self):
        return max(b - a for a, b in zip(self.taken, self.taken[1:]))


def one_gap(system, put, number):
    """(gap, refused, failed) when the leader gets the signal; everybody runs again afterwards."""
    leader = system.leader()
    prober = Prober(next(m for m in system.members if m is not leader), put)
    prober.start()
    systems.eventually("writes get through", lambda: len(prober.taken) > 100)
    began = time.monotonic()
    leader.process.send_signal(number)
    leader.process.wait()
    systems.eventually("writes get through again",
                       lambda: prober.taken[-1] > began + 0.1 and
                       time.monotonic() - prober.taken[-1] < 0.1 and
                       time.monotonic() > began + 1, 60)
    prober.stop()
    system.launch(leader)
    systems.eventually("the member is back", lambda: system.is_ready(leader), 60)
    return prober.gap_s(), prober.refused, prober.failed


def gap(options, folder):
    page = report.Report(options.results, "gap", "The write gap")
    kills = 3 if options.quick else 7
    rows, data = [], []
    for cls, put in ((systems.Callsign, callsign_put), (systems.Etcd, etcd_put)):
        with cls(folder) as system:
            for number in (signal.SIGKILL, signal.SIGTERM):
                results = [one_gap(system, put, number) for _ in range(kills)]
                gaps = [r[0] for r in results]
                rows.append([system.name, number.name, report.figure(report.median(gaps)),
                             report.figure(max(gaps)), sum(r[1] for r in results),
                             sum(r[2] for r in results)])
                data.append({"system": system.name, "signal": number.name, "runs": results})
    page.say(f"The longest time between two puts that were taken, through a member that lives on, "
             f"when the leader gets a signal, {kills} times. One client, which asks again.")
    page.say(report.table(["system", "signal to the leader", "gap, median s", "max s",
                           "answers 503", "other failures"], rows))
    page.end(data)


# --- Many names ------------------------------------------------------------------------------

def fill_callsign(system, names):
    """Registers them through 64 connections; the time it took."""
    leader = system.leader()
    began = time.monotonic()
    line = load.command("wrk", leader, "put", 64, names, FILL_MAX_S)
    with subprocess.Popen([str(part) for part in line], stdout=subprocess.DEVNULL) as wrk:
        try:
            systems.eventually("the names are there", lambda: system.metric(
                leader, "callsign_names") >= names, FILL_MAX_S)
        finally:
            wrk.kill()
    return time.monotonic() - began


def fill(system, names):
    if isinstance(system, systems.Callsign):
        return fill_callsign(system, names)
    began = time.monotonic()
    system.fill(names)
    return time.monotonic() - began


def restart_times(system, count=3):
    member = system.follower()
    times = []
    for _ in range(count):
        times.append(systems.ready_after_restart_s(system, member))
        systems.eventually("the member is back", lambda: system.is_ready(member), 60)
    return times


def million(options, folder):
    page = report.Report(options.results, "million", "A million names")
    rows, data = [], []
    for cls in (systems.Callsign, systems.Etcd, systems.ZooKeeper):
        with cls(folder) as system:
            fill(system, MILLION)
            rss, disk = system.rss_mb(), system.disk_mb()
            times = restart_times(system)
            rows.append([system.name, report.figure(rss), report.figure(disk),
                         report.spread(times)])
            data.append({"system": system.name, "rss_mb": rss, "disk_mb": disk, "restart_s": times})
    page.say(f"3 members with {MILLION:,} names; of the largest member, right after they were "
             "written. The restart is that of a follower, kill -9 to the first answer that it "
             "serves.")
    page.say(report.table(["system", "RSS MB", "disk MB", "restart s"], rows))
    page.end(data)


# --- Full load for long ----------------------------------------------------------------------

def full_load(system, minutes):
    """64 connections that put through the leader and 64 that read through a follower; their
    results."""
    seconds = int(minutes * 60)
    lines = [load.command("wrk", system.leader(), "put", 64, KEYS, seconds),
             load.command("wrk", system.follower(), "get", 64, KEYS, seconds)]
    drivers = [subprocess.Popen([str(part) for part in line], stdout=subprocess.PIPE, text=True)
               for line in lines]
    outputs = [driver.communicate()[0] for driver in drivers]
    if any(driver.returncode != 0 for driver in drivers):
        raise RuntimeError("a load generator failed")
    return [json.loads(output.splitlines()[-1]) for output in outputs]


def of_all(system, name):
    return [system.metric(member, name) for member in system.members]


def soak(options, folder):
    page = report.Report(options.results, "soak", "Full load for long")
    with systems.Callsign(folder) as system:
        leader = system.leader()
        terms, elections = (of_all(system, name) for name in
                            ("callsign_term", "callsign_elections_total"))
        put, get = full_load(system, options.minutes)
        terms_after, elections_after = (of_all(system, name) for name in
                                        ("callsign_term", "callsign_elections_total"))
        stall_ms, turn_ms = (max(of_all(system, f"callsign_loop_{what}_max_seconds")) * 1e3
                             for what in ("stall", "cpu"))
        false_elections = sum(elections_after) - sum(elections)
        quiet = terms_after == terms and false_elections == 0 and system.leads(leader)
    page.say(f"Three replicas, {options.minutes:g} minutes of 64 connections that put through the "
             "leader and 64 that read linearizably through a follower.")
    page.say(report.table(
        ["put req/s", "p99 ms", "errors", "get req/s", "p99 ms", "errors", "elections",
         "term before", "after", "longest turn of a core, ms", "its CPU, ms"],
        [[report.figure(put["requests"] / put["seconds"]), report.figure(put["p99_ms"]),
          put["errors"], report.figure(get["requests"] / get["seconds"]),
          report.figure(get["p99_ms"]), get["errors"], int(false_elections), int(max(terms)),
          int(max(terms_after)), report.figure(stall_ms), report.figure(turn_ms)]]))
    page.end({"minutes": options.minutes, "put": put, "get": get, "elections": false_elections,
              "terms": terms, "terms_after": terms_after, "stall_ms": stall_ms,
              "turn_cpu_ms": turn_ms})
    if not quiet:
        raise RuntimeError("a leader was elected although the one before was alive")


# --- What else a registry is asked -----------------------------------------------------------

# More than a run asks for, so that every key and every claim is a new one.
ONCE = 1000000


def take_lease(system):
    url = f"http://{system.leader().endpoint}/api/nodes/1"
    body = json.dumps({"ttl_ms": 600000}).encode()
    urllib.request.urlopen(urllib.request.Request(url, body, method="PUT"), timeout=10).close()


def features(options, folder):
    page = report.Report(options.results, "features", "Batches, keys, claims and leases")
    rows, data = [], []
    plain = None
    for cls, how, works_of in (
            (systems.Callsign, "wrk", (("put", KEYS), ("batch", KEYS), ("keyed", ONCE),
                                       ("heartbeat", KEYS), ("claim", ONCE))),
            (systems.Etcd, "wrk-v3", (("put", KEYS), ("batch", KEYS)))):
        with cls(folder) as system:
            if cls is systems.Callsign:
                take_lease(system)
            for work, keys in works_of:
                r = load.run(system, how, system.leader(), work, 64, keys, options.seconds)
                plain = r if work == "put" else plain
                rows.append([system.name, work, report.figure(r.rate), report.figure(r.p50),
                             report.figure(r.p99), report.figure(r.cpu_us),
                             report.figure(r.cpu_us / plain.cpu_us), r.errors])
                data.append({"system": system.name, "work": work, "run": r._asdict()})
    page.say(f"3 members each, 64 connections, one run of {options.seconds} s each, through the "
             "leader; a batch is 16 puts (of etcd a transaction through its v3 JSON gateway), a "
             "claim that of a name nobody has. CPU is that of all members, also in plain puts of "
             "the same system.")
    page.say(report.table(["system", "work", "req/s", "p50 ms", "p99 ms", "CPU us", "in puts",
                           "errors"], rows))
    page.end(data)


# --- Growth ----------------------------------------------------------------------------------

def works(system, keys, seconds, connections=64):
    """A run each of put and get through the leader and a stale get through a follower."""
    other = system.follower() if len(system.members) > 1 else system.leader()
    return [load.run(system, "wrk", member, work, connections, keys, seconds)
            for work, member in (("put", system.leader()), ("get", system.leader()),
                                 ("stale", other))]


WORKS_HEAD = ["put req/s", "p50 ms", "CPU us", "get req/s", "p50 ms", "CPU us", "stale req/s",
              "p50 ms", "CPU us"]


def works_cells(runs):
    return [report.figure(value) for r in runs for value in (r.rate, r.p50, r.cpu_us)]


def as_data(runs):
    return [r._asdict() for r in runs]


def connections(options, folder):
    page = report.Report(options.results, "connections", "Connections")
    rows, data = [], []
    with systems.Callsign(folder) as system:
        load.run(system, "wrk", system.leader(), "put", 64, KEYS, 2)
        for count in CONNECTIONS:
            runs = works(system, KEYS, options.seconds, count)
            rows.append([count, *works_cells(runs), sum(r.errors for r in runs)])
            data.append({"connections": count, "runs": as_data(runs)})
    page.say(f"Three replicas, {KEYS:,} names, one run of {options.seconds} s each; CPU of all "
             "replicas per request.")
    page.say(report.table(["connections", *WORKS_HEAD, "errors"], rows))
    page.end(data)


def replicas(options, folder):
    page = report.Report(options.results, "replicas", "Replicas")
    rows, data = [], []
    for count in SIZES:
        with systems.Callsign(folder, count) as system:
            load.run(system, "wrk", system.leader(), "put", 64, KEYS, 2)
            runs = works(system, KEYS, options.seconds)
            rows.append([count, *works_cells(runs)])
            data.append({"replicas": count, "runs": as_data(runs)})
    page.say(f"64 connections, {KEYS:,} names, one run of {options.seconds} s each; CPU of all "
             "replicas per request.")
    page.say(report.table(["replicas", *WORKS_HEAD], rows))
    page.end(data)


def growth(options, folder):
    page = report.Report(options.results, "growth", "Growth")
    rows, data = [], []
    for names in options.names:
        with systems.Callsign(folder) as system:
            filled_s = fill_callsign(system, names)
            runs = works(system, names, options.seconds)
            leader = system.leader()
            snapshots = system.metric(leader, "callsign_snapshots_taken_total")
            stall_ms, turn_ms = (system.metric(leader, f"callsign_loop_{what}_max_seconds") * 1e3
                                 for what in ("stall", "cpu"))
            rss, disk = system.rss_mb(), system.disk_mb()
            times = restart_times(system)
            rows.append([f"{names:,}", report.figure(filled_s), *works_cells(runs),
                         report.figure(rss), report.figure(disk), int(snapshots),
                         report.figure(stall_ms), report.figure(turn_ms),
                         report.figure(report.median(times))])
            data.append({"names": names, "fill_s": filled_s, "runs": as_data(runs), "rss_mb": rss,
                         "disk_mb": disk, "snapshots": snapshots, "stall_ms": stall_ms,
                         "turn_cpu_ms": turn_ms, "restart_s": times})
    page.say(f"Three replicas, 64 connections, one run of {options.seconds} s each; the stall is "
             "the longest turn of the leader's core thread since it started, snapshots included, "
             "on the clock and in CPU time.")
    page.say(report.table(["names", "filled in s", *WORKS_HEAD, "RSS MB", "disk MB", "snapshots",
                           "stall ms", "its CPU ms", "restart s"], rows))
    page.end(data)
