"""The same work for every system, run by run in turn, so that the drift of the machine's speed
meets all of them alike."""

import contextlib

import load
import report
import systems

KEYS = 10000

# work, connections, through whom.
WORKS = [
    ("put", 64, "leader"),
    ("put", 64, "follower"),
    ("put", 1, "leader"),
    ("get", 64, "leader"),
    ("get", 64, "follower"),
    ("stale", 64, "follower"),
]
LABELS = {"put": "put", "get": "linearizable get", "stale": "stale get"}


def label_of(work):
    return f"{LABELS[work[0]]}, {work[1]} connection{'s' * (work[1] > 1)}, {work[2]}"


def measure(options, clusters):
    """{work: {driver: [Run]}}"""
    runs = {}
    for work in WORKS:
        what, connections, through = work
        runs[work] = {label: [] for label in load.DRIVERS}
        for _ in range(options.runs):
            for label, (name, how) in load.DRIVERS.items():
                system = clusters[name]
                member = system.leader() if through == "leader" else system.follower()
                runs[work][label].append(
                    load.run(system, how, member, what, connections, KEYS, options.seconds))
    return runs


def put_names(clusters):
    """Every key exists before anything is read, and every system has warmed up."""
    for label, (name, how) in load.DRIVERS.items():
        system = clusters[name]
        if name != "callsign":
            system.fill(KEYS)
        load.run(system, how, system.leader(), "put", 64, KEYS, 2)


def ratio(ours, theirs):
    """Of medians: how many times as many requests, how many times the CPU."""
    rate = report.median([r.rate for r in ours]) / report.median([r.rate for r in theirs])
    cpu = report.median([r.cpu_us for r in theirs]) / report.median([r.cpu_us for r in ours])
    return f"{rate:.1f} / {cpu:.1f}"


def rows_of(runs):
    for work, by_driver in runs.items():
        ours = by_driver["callsign"]
        for label, theirs in by_driver.items():
            yield [label_of(work), label, report.spread([r.rate for r in theirs]),
                   report.spread([r.p50 for r in theirs], True),
                   report.spread([r.p99 for r in theirs], True),
                   report.spread([r.cpu_us for r in theirs]),
                   "" if label == "callsign" else ratio(ours, theirs),
                   sum(r.errors for r in theirs)]


def plot(page, runs, name, title, unit, value):
    page.plot(name, report.bars(title, unit, [
        (label_of(work), [(label, [value(r) for r in of_driver])
                          for label, of_driver in by_driver.items()])
        for work, by_driver in runs.items()]))


def run(options, folder):
    page = report.Report(options.results, "side-by-side", "Side by side")
    with contextlib.ExitStack() as stack:
        clusters = {c.name: stack.enter_context(c(folder))
                    for c in (systems.Callsign, systems.Etcd, systems.ZooKeeper)}
        put_names(clusters)
        runs = measure(options, clusters)
        memory = {name: c.rss_mb() for name, c in clusters.items()}
    page.say(f"3 members each, {KEYS:,} names, {options.runs} runs of {options.seconds} s each, "
             "median (min to max). CPU is that of all members. The ratio is callsign's: times the "
             "requests / times less CPU.")
    page.say(report.table(["work", "system", "req/s", "p50 ms", "p99 ms", "CPU us/request",
                           "callsign is", "errors"], rows_of(runs)))
    page.say("RSS of the largest member afterwards, MB: " +
             ", ".join(f"{name} {mb:.0f}" for name, mb in memory.items()) + ".")
    plot(page, runs, "rate", "Requests a second", "more is better", lambda r: r.rate)
    plot(page, runs, "cpu", "CPU of all members", "us per request, less is better",
         lambda r: r.cpu_us)
    page.end({"runs": [{"work": list(w), "system": label, "runs": [r._asdict() for r in rs]}
                       for w, by in runs.items() for label, rs in by.items()], "rss_mb": memory})
