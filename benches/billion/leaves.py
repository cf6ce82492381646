#!/usr/bin/env python3
"""Eight real leaves over a store with delays, against what the simulator makes of one: does the slowest of eight draws tell what a root waits for?

One server answers queries of an eighth of the points; a root with eight leaves those of all, an eighth each. Leaves keep heads and no ranges, so that every query
reads codes and rows from the store again.
"""

import argparse
import http.client
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from simulate import PATIENCE_MIN_MS, hedged

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE.parent / "cold"))
import far  # noqa: E402

LEAVES = 8
KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "us-east-1"}
LISTENS = re.compile(rb"on http://([0-9.]+:[0-9]+)")
# The first answers open the heads, at the leaf that is asked and at the one that overtakes it.
FIRST = 30


class Server:
    def __init__(self, cairn, store, scratch, *more):
        self.cache = tempfile.mkdtemp(prefix="leaf_", dir=scratch)
        command = [cairn, "serve", "--store", "s3://cairn", "--s3-endpoint", store.url, "--listen", "127.0.0.1:0", "--log", "error"]
        command += ["--cache-dir", self.cache, "--no-hydration", "--ranges-bytes", "1KB", "--threads", "1", *more]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, **KEYS}, preexec_fn=far.before_others)
        found = LISTENS.search(self.process.stdout.readline())
        if found is None:
            raise SystemExit(f"cairn ended with {self.process.wait()}")
        self.address = found[1].decode()

    def ask(self, collection, vectors):
        """Milliseconds of each query, one after another."""
        connection = http.client.HTTPConnection(self.address, timeout=60)
        times = []
        for vector in vectors:
            body = json.dumps({"query": vector.tolist(), "limit": 10, "params": {"plan": "ranges"}})
            begun = time.perf_counter()
            connection.request("POST", f"/collections/{collection}/points/query", body, {"content-type": "application/json"})
            answer = json.loads(connection.getresponse().read())
            times.append((time.perf_counter() - begun) * 1e3)
            if len(answer.get("result", {}).get("points", [])) != 10:
                raise SystemExit(f"{collection}: {answer}")
        connection.close()
        return np.array(times[FIRST:])

    def stop(self):
        self.process.terminate()
        self.process.wait()
        self.process.stdout.close()
        shutil.rmtree(self.cache, ignore_errors=True)


def indexed(args, out):
    """Both collections, built once."""
    store = out / "store" / "cairn"
    base, part = Path(args.set) / "base.npy", out / "part.npy"
    for name, source, more in (("all", base, ["--shards", str(LEAVES)]), ("part", part, [])):
        if (store / "collections" / name / "collection.json").exists():
            continue
        if source == part:
            np.save(part, np.load(base, mmap_mode="r")[::LEAVES])
        store.mkdir(parents=True, exist_ok=True)
        subprocess.run([args.cairn, "index", "--store", str(store), "--collection", name, "--input", str(source), "--distance", args.distance, *more], check=True)


def row(name, times):
    return f"| {name} | " + " | ".join(f"{np.quantile(times, q):.0f}" for q in (0.5, 0.9, 0.99)) + " |"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("set", help="folder of base.npy and queries.npy")
    parser.add_argument("--distance", default="cosine", help="[cosine]")
    parser.add_argument("--queries", type=int, default=200, help="[200]")
    parser.add_argument("--cairn", default=str(ROOT / "target/release/cairn"), help="the binary [target/release/cairn]")
    parser.add_argument("--out", default=str(ROOT / "target/billion"), help="collections [target/billion]")
    args = parser.parse_args()
    out = Path(args.out)
    indexed(args, out)
    vectors = np.load(Path(args.set) / "queries.npy")[: args.queries + FIRST].astype(np.float32)
    servers = []
    far.before_others(1)
    with far.Store(out / "store") as store:
        try:
            store.reset(1)
            stale = ["--refresh-ms", "600000"]
            servers.append(Server(args.cairn, store, out, *stale))
            one = servers[0].ask("part", vectors)
            leaves = [Server(args.cairn, store, out, "--role", "leaf") for _ in range(LEAVES)]
            servers += leaves
            servers.append(Server(args.cairn, store, out, "--leaves", ",".join(f"http://{leaf.address}" for leaf in leaves), *stale))
            eight = servers[-1].ask("all", vectors)
        finally:
            for server in servers:
                server.stop()
    draw = np.random.default_rng(1)
    drawn = lambda: draw.choice(one, (20_000, LEAVES))  # noqa: E731
    times, more = hedged(drawn(), drawn, max(PATIENCE_MIN_MS, float(np.quantile(one, 0.9))))
    print(f"| {args.queries} queries | ms, p50 | p90 | p99 |\n|---|---|---|---|")
    print(row("measured: one server, an eighth of the points", one))
    print(row("measured: a root and eight leaves", eight))
    print(row("drawn from the one: the slowest of eight", drawn().max(axis=1)))
    print(row(f"drawn from the one: the same with hedges ({more:.0%} more requests)", times.max(axis=1)))


if __name__ == "__main__":
    main()
