#!/usr/bin/python3
"""callsign next to what a user would pick instead; ./bench runs this.

    suite.py [--quick] [--runs N] [--seconds S] [--names N,N...] [--minutes M] [MODE...]

Modes, all but soak by default:
    side-by-side  rates, latency, CPU and memory of callsign, etcd and ZooKeeper, run by run in turn
    gap           how long no write gets through when the leader is killed, or told to stop
    million       RSS, disk and restart with 1,000,000 names
    connections   1 to 1024 of them
    replicas      1, 3 and 5
    growth        10 k names and more
    features      batches, idempotency keys, claims, heartbeats
    soak          full load for 10 minutes, in which no leader may be elected
--quick is side-by-side alone with fewer and shorter runs, and gap with fewer kills.
"""

import argparse
import os
import pathlib
import platform
import shutil
import signal
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import modes  # noqa: E402
import side_by_side  # noqa: E402
import systems  # noqa: E402

MODES = {
    "side-by-side": side_by_side.run,
    "gap": modes.gap,
    "million": modes.million,
    "connections": modes.connections,
    "replicas": modes.replicas,
    "growth": modes.growth,
    "features": modes.features,
    "soak": modes.soak,
}
BY_DEFAULT = [mode for mode in MODES if mode != "soak"]
QUICK = ("side-by-side", "gap")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modes", nargs="*", metavar="MODE", choices=[*MODES, []])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--runs", type=int)
    parser.add_argument("--seconds", type=int)
    parser.add_argument("--names", default="10000,100000,1000000",
                        help="of growth, with commas between")
    parser.add_argument("--minutes", type=float, default=10, help="of soak")
    parser.add_argument("--results", type=pathlib.Path, default=systems.BUILD / "results")
    options = parser.parse_args()
    options.modes = options.modes or list(QUICK if options.quick else BY_DEFAULT)
    options.runs = options.runs or (3 if options.quick else 5)
    options.seconds = options.seconds or (1 if options.quick else 4)
    options.names = [int(n) for n in options.names.split(",")]
    return options


def machine():
    load = os.getloadavg()[0]
    return (f"{os.cpu_count()} processors, Linux {platform.release()}, load average before the "
            f"first run {load:.1f}; client and members share them")


def main():
    options = arguments()
    # Whoever ends us ends the members too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    print(machine() + "\n", flush=True)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="callsign-bench-"))
    try:
        for mode in options.modes:
            MODES[mode](options, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"written to {options.results}")


if __name__ == "__main__":
    main()
