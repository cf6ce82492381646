#!/usr/bin/env python3
"""A billion vectors, by simulation: leaves, waves, latency, dollars, and what breaks first. See README.md.

Every draw comes from a seed: the same arguments give the same figures.
"""

import argparse
import json
import math
import sys
from pathlib import Path
from statistics import NormalDist

import numpy as np
import plot

HERE = Path(__file__).resolve().parent
COST = HERE.parent / "cost"
MILLION = 1e6
# Limits of others: Lambda's concurrency of an account and open files of a function, S3's reads per second of one prefix, Lambda's largest answer.
CONCURRENCY = 1_000
FILES = 1_024
S3_GETS_PER_S = 5_500
ANSWER_BYTES = 6_000_000
# Cairn's: bytes of manifests that stand in collection.json, bytes of one document.
INLINE_BYTES = 256 << 10
DOCUMENT_BYTES = 64 << 20
# A segment's line in a manifest, as `cairn index` writes it, and a hit in a leaf's answer without payload.
ENTRY_BYTES = 330
HIT_BYTES = 14
HEDGES_MAX = 2
PATIENCE_MIN_MS = 20.0
# Memory of the root.
ROOT_GB = 2


def lognormal(p50_ms, p99_ms):
    """Mean and deviation of the logarithm."""
    return math.log(p50_ms), math.log(p99_ms / p50_ms) / NormalDist().inv_cdf(0.99)


class World:
    """What a leaf's work takes: drawn, not computed."""

    def __init__(self, args, figures):
        self.draw = np.random.default_rng(args.seed)
        self.args, self.figures = args, figures
        store = figures["store"]
        self.store = lognormal(store["first_byte_p50_ms"], store["first_byte_p99_ms"])
        self.invoke = lognormal(*args.invoke_ms)

    def invoked(self, shape):
        return self.draw.lognormal(*self.invoke, shape)

    def wave(self, shape, gets, mb):
        """The slowest of a wave's requests, and the time of all its bytes."""
        connections = max(1, round(gets))
        slowest = self.draw.lognormal(*self.store, (*shape, connections)).max(axis=-1)
        return slowest + mb * 1e3 / min(self.args.function_mb_s, connections * self.figures["store"]["connection_mb_s"])

    def cold(self, shape, segments):
        """A leaf that has nothing of its segments, once it knows which: heads, codes, rows."""
        empty, head_mb = self.figures["cold"]["empty"], self.figures["collection"]["head_bytes"] / 1e6
        # The first request was the manifest, one the head; the rest are two waves of equal size.
        each = (empty["gets"] - 2) / 2 * segments
        codes_mb = max(0.0, empty["mb"] - head_mb) / 2 * segments
        waves = self.wave(shape, segments, head_mb * segments) + self.wave(shape, each, codes_mb) + self.wave(shape, each, codes_mb)
        return waves + empty["cpu_ms"] * max(1.0, segments / self.args.processors)

    def warm(self, shape, segments):
        warm = self.figures["warm"]
        return np.full(shape, (warm["search_cpu_us"] * max(1.0, segments / self.args.processors) + warm["http_cpu_us"]) / 1e3)

    def leaf(self, kind, shape, segments):
        """As the root sees it."""
        work = self.warm if kind == "warm" else self.cold
        return self.invoked(shape) + work(shape, segments)


def hedged(first, again, patience):
    """The earliest of up to three answers, each asked for when those before have taken `patience`; and how many more were asked."""
    best, more, late = first, 0.0, first > patience
    for number in range(1, HEDGES_MAX + 1):
        late = best > number * patience
        more += late.mean()
        best = np.where(late, np.minimum(best, number * patience + again()), best)
    return best, more


def query(world, kind, leaves, segments, hedging):
    """Milliseconds of many queries over so many leaves, and the share of requests that hedging adds."""
    args = world.args
    shape = (args.queries, leaves)
    times, more = world.leaf(kind, shape, segments), 0.0
    # A function that nobody waits for any more runs to its end, and is paid for.
    leaf_ms = float(times.mean())
    if hedging:
        patience = max(PATIENCE_MIN_MS, float(np.quantile(times, 0.9)))
        times, more = hedged(times, lambda: world.leaf(kind, shape, segments), patience)
    # The root asks one after another, and reads as many answers.
    sending = np.arange(leaves) * args.root_us / 1e3
    total = (times + sending).max(axis=1) + leaves * args.root_us / 1e3
    # Cold, the root has read the manifests before; warm, its look for newer ones runs beside.
    manifest = world.wave((args.queries,), 1, leaves * segments * ENTRY_BYTES / 1e6)
    if leaves * segments * ENTRY_BYTES > INLINE_BYTES:
        manifest = manifest + world.wave((args.queries,), 1, 0)
    return (manifest + total if kind == "cold" else np.maximum(manifest, total)), leaf_ms, more


def dollars(world, kind, leaves, segments, total_ms, leaf_ms, more, aws):
    """Of one query: leaves for their own time, the root for the whole, and requests to the store."""
    args = world.args
    gets = 1 + (leaves * segments * (world.figures["cold"]["empty"]["gets"] - 1) if kind == "cold" else 0)
    asked = leaves * (1 + more)
    invoke_ms = math.exp(world.invoke[0])
    # The way to the leaf and back is not its own time. Lambda rounds up to whole milliseconds.
    leaf_s, root_s = (math.ceil(max(ms, 1)) / 1e3 for ms in (leaf_ms - invoke_ms, total_ms))
    tmp_gb = max(0.0, args.leaf_tmp_gb - aws["lambda_tmp_free_gb"])
    leaf = leaf_s * (args.leaf_gb * aws["lambda_gb_second"] + tmp_gb * aws["lambda_tmp_gb_second"])
    root = root_s * ROOT_GB * aws["lambda_gb_second"]
    return asked * leaf + root + (asked + 1) * aws["lambda_request"] + gets * (1 + more) * aws["s3_get"]


def spare(times):
    return f"{times:,.2f}" if times < 10 else f"{times:,.0f}"


def quantiles(times):
    return [float(np.quantile(times, q)) for q in (0.5, 0.99)]


def limits(figures, points, per_leaf, cold_ms):
    """How far each limit is away at so many points: name, what is needed, what there is."""
    segments = math.ceil(points / figures["collection"]["points"])
    leaves = math.ceil(segments / per_leaf)
    gets = segments * (figures["cold"]["empty"]["gets"] - 1)
    return [
        ("reads of the store per second, one cold query", gets / (cold_ms / 1e3), S3_GETS_PER_S),
        ("manifests in collection.json, bytes (beyond: one wave more)", segments * ENTRY_BYTES, INLINE_BYTES),
        ("functions at once, one query", leaves + 1, CONCURRENCY),
        ("connections of the root, with hedges", math.ceil(leaves * 1.1), FILES),
        ("answers at the root, bytes, 10 hits with 1 KB of payload", leaves * 10 * (HIT_BYTES + 1_000), 256 << 20),
        ("one leaf's answer, bytes, 1,000 hits with 1 KB of payload", 1_000 * (HIT_BYTES + 1_000), ANSWER_BYTES),
        ("heads of a leaf, bytes", per_leaf * figures["collection"]["head_bytes"], 512 << 20),
        ("one document, bytes", segments * ENTRY_BYTES, DOCUMENT_BYTES),
    ]


def check(world):
    """The simulator against what is known: order statistics, and cold queries that were measured."""
    failures = []

    def near(what, found, expected, tolerance):
        off = abs(found / expected - 1)
        print(f"| {what} | {found:.0f} | {expected:.0f} | {off:.1%} |")
        if off > tolerance:
            failures.append(what)

    print("| check | simulated (ms, where nothing else is said) | known | off |\n|---|---|---|---|")
    mu, sigma = world.store
    for count in (1, 8, 64, 512):
        times = world.wave((20_000,), count, 0)
        for q in (0.5, 0.99):
            near(f"slowest of {count} requests, p{q * 100:g} (order statistics)", np.quantile(times, q), math.exp(mu + sigma * NormalDist().inv_cdf(q ** (1 / count))), 0.05)
    law = NormalDist(mu, sigma)
    patience = math.exp(law.inv_cdf(0.9))
    count = 200_000
    best, more = hedged(world.draw.lognormal(mu, sigma, count), lambda: world.draw.lognormal(mu, sigma, count), patience)
    # Late after one and a half times the patience is who himself is, and whose hedge has not come within the half.
    late = lambda times: 1 - law.cdf(math.log(times * patience))  # noqa: E731
    near("hedged at p90: of a million, later than 1.5 p90", (best > 1.5 * patience).mean() * MILLION, late(1.5) * late(0.5) * MILLION, 0.1)
    near("hedged at p90: more requests, of a million", more * MILLION, (late(1) + late(2) * late(1)) * MILLION, 0.05)
    small = world.figures["small"]
    gets = small["waves_gets"]
    total = sum(world.wave((20_000,), count, small["mb"] / len(gets)) for count in gets) + small["cpu_ms"]
    for q, known in ((0.5, small["ms_p50"]), (0.99, small["ms_p99"])):
        near(f"{small['name']}, cold, p{q * 100:g} (measured)", np.quantile(total, q), known, 0.15)
    empty = world.figures["cold"]["empty"]
    total = world.wave((20_000,), 1, 0) + world.cold((20_000,), 1)
    for q, known in ((0.5, empty["ms_p50"]), (0.99, empty["ms_p99"])):
        near(f"1M x 768, cold, p{q * 100:g} (measured)", np.quantile(total, q), known, 0.2)
    return failures


def parsed():
    parser = argparse.ArgumentParser(prog="benches/billion/simulate.py", description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=float, default=1e9, help="[1e9]")
    parser.add_argument("--segments-per-leaf", type=int, default=4, help="of 2.39 GB each, so that a leaf's 10 GB of disk hold them [4]")
    parser.add_argument("--queries", type=int, default=2_000, help="simulated [2000]")
    parser.add_argument("--seed", type=int, default=1, help="[1]")
    parser.add_argument("--invoke-ms", type=lambda text: [float(part) for part in text.split(",")], default=[10.0, 50.0], help="from the root to a leaf's code and back, p50,p99: an assumption [10,50]")
    parser.add_argument("--root-us", type=float, default=70.0, help="processor time of the root for each leaf: two small requests as measured through HTTP [70]")
    parser.add_argument("--function-mb-s", type=float, default=600.0, help="from the store to one function [600]")
    parser.add_argument("--leaf-gb", type=float, default=4.0, help="memory of a leaf [4]")
    parser.add_argument("--leaf-tmp-gb", type=float, default=10.0, help="disk of a leaf [10]")
    parser.add_argument("--processors", type=float, default=2.3, help="of a leaf: Lambda gives one for 1,769 MB [2.3]")
    parser.add_argument("--svg", help="write the plot of latency over leaves here")
    parser.add_argument("--check", action="store_true", help="compare the simulator with order statistics and measurements, and stop")
    return parser.parse_args()


def main():
    args = parsed()
    figures, prices = (json.loads((COST / name).read_text()) for name in ("figures.json", "prices.json"))
    world = World(args, figures)
    if args.check:
        failures = check(world)
        return f"too far off: {', '.join(failures)}" if failures else 0
    most = math.ceil(args.points / figures["collection"]["points"] / args.segments_per_leaf)
    widths = sorted({2**power for power in range(int(math.log2(most)) + 1)} | {most})
    lines, at_most = {}, {}
    print("| leaves | points | query | hedged | ms, p50 | p99 | requests more | dollars per million |\n|---|---|---|---|---|---|---|---|")
    for leaves in widths:
        for kind in ("warm", "cold"):
            for hedging in (False, True):
                times, leaf_ms, more = query(world, kind, leaves, args.segments_per_leaf, hedging)
                p50, p99 = quantiles(times)
                cost = dollars(world, kind, leaves, args.segments_per_leaf, float(times.mean()), leaf_ms, more, prices["aws"])
                for name, value in (("p50", p50), ("p99", p99)):
                    lines.setdefault((kind, hedging, name), []).append((leaves, value))
                at_most[kind, hedging] = p50
                points = leaves * args.segments_per_leaf * figures["collection"]["points"]
                print(f"| {leaves} | {points / 1e6:,.0f}M | {kind} | {'yes' if hedging else 'no'} | {p50:.0f} | {p99:.0f} | {more:.1%} | {cost * MILLION:,.0f} |")
    print("\n| limit | needed | there is | times |\n|---|---|---|---|")
    rows = limits(figures, args.points, args.segments_per_leaf, at_most["cold", True])
    for name, needed, there in sorted(rows, key=lambda row: row[2] / row[1]):
        print(f"| {name} | {needed:,.0f} | {there:,.0f} | {spare(there / needed)} |")
    if args.svg:
        Path(args.svg).write_text(plot.svg(lines, f"{args.points / 1e9:g} billion x {figures['collection']['dim']}: {args.segments_per_leaf} segments a leaf"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
