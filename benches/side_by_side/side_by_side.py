"""Runs Cairn and its peers in turn on the same data; `run --help` tells how."""

import argparse
import datetime
import json
import os
import sys
import time
from pathlib import Path

import figures
import report
from contestants import Absent, Cairn, Peer
from data import Set
from peers import PEERS

SETS = "mnist-784-euclidean,cve,movies,products"
ROOT = Path(__file__).resolve().parents[2]


def parsed():
    parser = argparse.ArgumentParser(
        prog="benches/side_by_side/run",
        description="Recall against queries per second of Cairn and its peers on the same data: one search thread, two build "
        "threads, each peer in a process of its own, all in turn in every pass.",
    )
    parser.add_argument("--data", default=os.environ.get("CAIRN_DATA"), help="folder of the sets [CAIRN_DATA]")
    parser.add_argument("--sets", default=SETS, help=f"names, or name:metric [{SETS}]")
    parser.add_argument("--peers", default=",".join(PEERS), help=f"which of {', '.join(PEERS)} [all]; none for hnswlib alone")
    parser.add_argument("--passes", type=int, default=2, help="how often everyone is measured, in turn [2]")
    parser.add_argument("--repeat", type=int, default=2, help="least runs over all queries per pass and knob [2]")
    parser.add_argument("--queries-max", type=int, default=2000, help="queries used of each set [2000]")
    parser.add_argument("--build-threads", type=int, default=2, help="[2]")
    parser.add_argument("--quick", action="store_true", help="one pass, 500 queries: to see that everything works")
    parser.add_argument("--cairn", default=str(ROOT / "target/release/cairn"), help="the binary [target/release/cairn]")
    parser.add_argument(
        "--config",
        action="append",
        metavar="NAME:ARGS",
        help="a configuration of `cairn bench`, such as 'hot: --tier hot'; may be given again [cairn:]",
    )
    parser.add_argument("--no-cairn", action="store_true", help="only the peers")
    parser.add_argument("--stored-hnswlib", action="store_true", help="do not measure hnswlib again; for a first look only")
    parser.add_argument("--fresh", action="store_true", help="measure peers again of which a result is stored")
    parser.add_argument("--report", action="store_true", help="measure nothing, write tables and plots from what is stored")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall", help="cpu: by processor time (busy machine)")
    parser.add_argument("--out", default=str(ROOT / "target/side_by_side"), help="results [target/side_by_side]")
    parser.add_argument("--scratch", help="folder for indexes while they are measured [the system's]")
    args = parser.parse_args()
    if not args.data:
        parser.error("name the folder of the sets with --data or CAIRN_DATA")
    if args.quick:
        args.passes, args.queries_max = 1, min(args.queries_max, 500)
    args.sets = args.sets.split(",")
    args.peers = [] if args.peers == "none" else args.peers.split(",")
    for name in args.peers:
        if name not in PEERS:
            parser.error(f"no peer {name}; there are {', '.join(PEERS)}")
    if not args.no_cairn and not args.report and not os.access(args.cairn, os.X_OK):
        parser.error(f"{args.cairn} is no program; `cargo build --release -p cairn` makes it")
    return args


def say(text):
    print(text, file=sys.stderr, flush=True)


def store(path, result):
    path.with_suffix(".tmp").write_text(json.dumps(result))
    path.with_suffix(".tmp").rename(path)


def contestants(args, points, set_name, folder):
    """hnswlib, Cairn, then the peers that have no result yet."""
    stored = lambda name: (folder / f"{name}.json").exists() and not args.fresh
    names = [name for name in args.peers if not stored(name)]
    # The measure of all: it runs again beside whatever is measured.
    first = ["hnswlib"] if (names or not args.no_cairn) and not args.stored_hnswlib else []
    names = first + [name for name in names if name not in first]
    entrants = [(name, lambda name=name: Peer(name, set_name, args)) for name in names]
    if not args.no_cairn:
        made = [(text.partition(":")[0], lambda text=text: Cairn(text, points, args)) for text in args.config or ["cairn:"]]
        entrants[len(first) : len(first)] = made
    return entrants


def measure_set(args, set_name):
    points = Set(args.data, set_name, args.queries_max)
    folder = Path(args.out) / points.name
    folder.mkdir(parents=True, exist_ok=True)
    entrants, live = contestants(args, points, set_name, folder), {}
    for turn in range(args.passes):
        for at, (name, make) in enumerate(entrants):
            if turn > 0 and name not in live:
                continue
            start = time.perf_counter()
            place = f"{points.name} pass {turn + 1}/{args.passes} {at + 1}/{len(entrants)} {name}"
            try:
                if name not in live:
                    live[name] = make()
                live[name].measure()
            except Absent as why:
                say(f"{place}: left out, {why}")
                live.pop(name).close()
                continue
            speeds = [figures.at(figures.front(live[name].result), target) for target in figures.TARGETS]
            built = "" if turn else f"built in {live[name].result['build_s'][0]:.1f} s, "
            say(f"{place}: {built}QPS {' and '.join(map(report.number, speeds))}, {time.perf_counter() - start:.0f} s in all")
    finish(args, points, folder, live)


def finish(args, points, folder, live):
    beside = {}
    if "hnswlib" in live:
        fronts = {clock: figures.front(live["hnswlib"].result, clock) for clock in ("wall", "cpu")}
        beside = {clock: {str(t): figures.at(points, t) for t in figures.TARGETS} for clock, points in fronts.items()}
    about = {
        "set": points.name,
        "metric": points.metric,
        "points": len(points.base),
        "dim": points.base.shape[1],
        "queries": len(points.queries),
        "passes": args.passes,
        "build_threads": args.build_threads,
        "measured": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "hnswlib": beside,
    }
    for name, contestant in live.items():
        contestant.close()
        store(folder / f"{name}.json", about | contestant.result)


def main():
    args = parsed()
    names = [name.partition(":")[0] for name in args.sets]
    if not args.report:
        for set_name in args.sets:
            measure_set(args, set_name)
    Path(args.out).mkdir(parents=True, exist_ok=True)
    print(report.write(args.out, names, args.clock))
    say(f"tables, plots and measurements are in {args.out}")


if __name__ == "__main__":
    main()
