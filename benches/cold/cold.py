"""Asks Cairn and LanceDB from empty processes over a store with seeded delays, and tabulates times, waves, requests, bytes and recall."""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import contestants
import far
import numpy as np

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
K = 10
PLANS = {"ranges": {"plan": "ranges"}, "ranges-90": {"plan": "ranges", "recall": 0.9}, "whole": {"plan": "whole"}, "auto": {}}
# A plan of this name without second requests for what is late.
PLANS |= {f"{name}-unhedged": plan for name, plan in PLANS.items()}
# Name: how the table is indexed, and how it is searched.
LANCE = {
    "ivf_pq": ({"index_type": "IVF_PQ"}, {"nprobes": 20, "refine_factor": 10}),
    "ivf_hnsw_sq": ({"index_type": "IVF_HNSW_SQ"}, {"nprobes": 20}),
    "ivf_sq": ({"index_type": "IVF_SQ", "target_partition_size": 1_024, "sample_rate": 64, "max_iterations": 20}, {"nprobes": 20}),
    "ivf_rq": ({"index_type": "IVF_RQ", "target_partition_size": 1_024, "sample_rate": 64, "max_iterations": 20}, {"nprobes": 20, "refine_factor": 3}),
}


def parsed():
    parser = argparse.ArgumentParser(prog="benches/cold/run", description=__doc__)
    parser.add_argument("set", help="folder of base.npy, queries.npy and gt100.npy")
    parser.add_argument("--distance", default="cosine", help="[cosine]")
    parser.add_argument("--plans", default="ranges,ranges-90,whole", help=f"of {','.join(PLANS)} [ranges,ranges-90,whole]")
    parser.add_argument("--lance", default="", help=f"of {','.join(LANCE)}; a number after a colon is nprobes [none]")
    parser.add_argument("--times", type=int, default=30, help="fresh processes each [30]")
    parser.add_argument("--first", type=int, default=0, help="the first query's row [0]")
    parser.add_argument("--total-mb-s", default="600", help="bandwidth in all; several after commas [600]")
    parser.add_argument("--payload", help="of Cairn's collection: a file of JSON lines")
    parser.add_argument("--core", type=int, help="for the contestants; the store takes another")
    parser.add_argument("--store-core", type=int, help="for the store")
    parser.add_argument("--before-others", action="store_true", help="contestants run before other programs: for a busy machine")
    parser.add_argument("--log", default="error", help="Cairn's [error]")
    parser.add_argument("--cairn", default=str(ROOT / "target/release/cairn"), help="the binary [target/release/cairn]")
    parser.add_argument("--out", default=str(ROOT / "target/cold"), help="tables, collections and results [target/cold]")
    return parser.parse_args()


class Truth:
    """Recall by distance: one of several equal vectors is as good as another."""

    def __init__(self, folder, metric):
        self.base = np.load(folder / "base.npy", mmap_mode="r")
        self.queries = np.load(folder / "queries.npy")
        self.nearest = np.load(folder / "gt100.npy")
        self.metric = metric

    def distances(self, row, ids):
        rows = np.array(self.base[np.sort(np.asarray(ids, dtype=np.int64))], dtype=np.float32)
        query = self.queries[row].astype(np.float32)
        if self.metric == "euclid":
            return ((rows - query) ** 2).sum(axis=1)
        if self.metric == "cosine":
            rows, query = rows / np.linalg.norm(rows, axis=1, keepdims=True), query / np.linalg.norm(query)
        return -(rows @ query)

    def recall(self, row, ids):
        bound = self.distances(row, self.nearest[row, :K]).max()
        return float((self.distances(row, ids) <= bound + 1e-6 * max(abs(bound), 1.0)).sum()) / K if ids else 0.0


def collection(args, name):
    """Cairn's collection, indexed once."""
    folder = Path(args.out) / "store" / "cairn"
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / "collections" / name / "collection.json").exists():
        return
    command = [args.cairn, "index", "--store", folder, "--collection", name, "--input", Path(args.set) / "base.npy"]
    command += ["--distance", args.distance] + (["--payload", args.payload] if args.payload else [])
    subprocess.run([str(part) for part in command], check=True)


def everyone(args, name):
    """The contestants that were asked for, with all that they read in place."""
    found = []
    if args.plans:
        collection(args, name)
        found += [contestants.Cairn(f"cairn {plan}", name, PLANS[plan], args) for plan in args.plans.split(",")]
    for one in filter(None, args.lance.split(",")):
        setting, _, probes = one.partition(":")
        how, knobs = LANCE[setting]
        knobs = knobs | ({"nprobes": int(probes)} if probes else {})
        metric = {"euclid": "l2"}.get(args.distance, args.distance)
        folder = Path(args.out) / "store" / "lance"
        if not (folder / f"{name}_{setting}.lance").exists():
            # In a process of its own: the library does not like those that it has threads in to fork.
            command = [sys.executable, HERE / "tables.py", folder, name, setting, Path(args.set) / "base.npy", metric, json.dumps(how)]
            subprocess.run([str(part) for part in command], check=True)
        found.append(contestants.Lance(f"lance {one}", f"{name}_{setting}", knobs | {"metric": metric}, args))
    return found


def asked(one, store, truth, row, seed):
    """One answer, with what the store counted meanwhile."""
    store.reset(seed)
    vector = truth.queries[row].astype(np.float32)
    ids, seconds, usage = one.ask(vector if isinstance(one, contestants.Cairn) else row, K)
    counts = store.counts()
    return {
        "ms": seconds * 1e3,
        "recall": truth.recall(row, ids),
        "waves": counts["waves"],
        "gets": counts["gets"] + counts["heads"] + counts["lists"],
        "mb": counts["bytes"] / 1e6,
        "said": usage,
        "requests": counts["requests"],
    }


def measured(one, store, truth, args):
    """`times` fresh processes, each asked twice: from nothing, and another query after that."""
    runs = []
    for turn in range(args.times):
        row = (args.first + 2 * turn) % len(truth.queries)
        store.reset(0)
        start_s = one.start(store)
        try:
            started = store.counts()
            first = asked(one, store, truth, row, 1_000 + turn)
            second = asked(one, store, truth, (row + 1) % len(truth.queries), 2_000 + turn)
        finally:
            one.stop()
        runs.append({"start_ms": start_s * 1e3, "start_gets": started["gets"], "first": first, "second": second})
    return runs


def quantile(values, q):
    return sorted(values)[min(int(q * len(values)), len(values) - 1)]


def row(name, total, runs):
    cells = [name, total]
    for which in ("first", "second"):
        some = [run[which] for run in runs]
        times = [one["ms"] for one in some]
        cells += [f"{statistics.median(times):.0f}", f"{quantile(times, 0.99):.0f}"]
        for key, form in (("waves", "{:g}"), ("gets", "{:g}"), ("mb", "{:.1f}")):
            values = [one[key] for one in some]
            cells.append(f"{form.format(statistics.median(values))} ({form.format(max(values))})")
        cells.append(f"{statistics.mean(one['recall'] for one in some):.3f}")
    return "| " + " | ".join(cells) + " |"


def main():
    args = parsed()
    name = Path(args.set).name.partition("-")[0]
    args.queries = Path(args.set) / "queries.npy"
    args.scratch = Path(args.out) / "scratch"
    args.scratch.mkdir(parents=True, exist_ok=True)
    truth = Truth(Path(args.set), args.distance)
    field = everyone(args, name)
    if args.before_others:
        far.before_others(4)
    print("| who | MB/s | p50 ms | p99 | waves (most) | GETs (most) | MB (most) | recall@10 | second: p50 ms | p99 | waves | GETs | MB | recall@10 |")
    print("|" + "---|" * 14, flush=True)
    with far.Store(Path(args.out) / "store", args.store_core) as store:
        for total in args.total_mb_s.split(","):
            for one in field:
                store.reset(0, total_mb_s=total)
                runs = measured(one, store, truth, args)
                print(row(one.name, total, runs), flush=True)
                about = {"set": name, "name": one.name, "total_mb_s": float(total), "when": time.time(), "runs": runs}
                with (Path(args.out) / "results.jsonl").open("a") as file:
                    file.write(json.dumps(about) + os.linesep)


if __name__ == "__main__":
    main()
