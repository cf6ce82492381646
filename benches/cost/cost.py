#!/usr/bin/env python3
"""Dollars per million queries, from measured counts and public list prices: benches/cost/cost.py prints the tables of docs/costs.md.

figures.json has what was measured, prices.json what things cost; nothing else goes in but what this file says.
"""

import argparse
import json
import math
from pathlib import Path

HERE = Path(__file__).resolve().parent
MILLION = 1e6
# A function has so many processors for each MB of memory; below one, computing takes longer.
MB_PER_PROCESSOR = 1_769
SIZES_GB = (1, 2, 8)
# Ten ids and scores, with all around them.
ANSWER_BYTES = 1_000


def load(name):
    return json.loads((HERE / name).read_text())


def slower(gb):
    """How much longer computing takes in a function of so many GB than on one whole processor."""
    return max(1.0, MB_PER_PROCESSOR / (gb * 1_024))


class Query:
    """What one query takes in a function: billed milliseconds, requests to the store, GB of /tmp."""

    def __init__(self, name, ms, gets, tmp_gb=0.0):
        self.name, self.ms, self.gets, self.tmp_gb = name, ms, gets, tmp_gb

    def dollars(self, gb, aws):
        """Of a million."""
        # Lambda rounds up to whole milliseconds.
        seconds = math.ceil(self.ms) / 1e3
        tmp = max(0.0, self.tmp_gb - aws["lambda_tmp_free_gb"]) * aws["lambda_tmp_gb_second"]
        return MILLION * (aws["lambda_request"] + self.gets * aws["s3_get"] + seconds * (gb * aws["lambda_gb_second"] + tmp))


def queries(figures, gb):
    """The kinds of queries, as a function of so many GB runs them."""
    warm, start = figures["warm"], figures["start"]
    computing_ms = (warm["search_cpu_us"] + warm["http_cpu_us"]) / 1e3 * slower(gb)
    file_gb = figures["collection"]["file_bytes"] / 1e9
    found = [
        Query("warm, a version up to a second old", computing_ms, 0, file_gb),
        # The look for the newest version is one request, beside which the search runs.
        Query("warm, strong", computing_ms + figures["store"]["first_byte_p50_ms"], warm["gets"], file_gb),
    ]
    cold = figures["cold"]
    if cold["heads"]:
        found.append(Query("cold, heads at hand", waiting(cold["heads"], gb), cold["heads"]["gets"]))
    found.append(Query("cold, from nothing", start["ready_ms"] * slower(gb) + waiting(cold["empty"], gb), cold["empty"]["gets"]))
    return found


def waiting(run, gb):
    """The median, with what is computed in it taking longer in a small function. Billed is the mean, which is a little more."""
    return run["ms_p50"] + run["cpu_ms"] * (slower(gb) - 1.0)


def peers(collection, prices):
    """For each: dollars per million queries, dollars per month for storage, least bill of a month."""
    vectors = collection["points"]
    gb = vectors * collection["dim"] * 4 / 1e9
    tpuf, s3, pinecone = prices["turbopuffer"], prices["s3_vectors"], prices["pinecone"]
    queried_pb = MILLION * max(gb, tpuf["queried_min_gb"]) / 1e6
    returned = MILLION * ANSWER_BYTES / 1e9 * tpuf["returned_gb"]
    vector_tb = (collection["dim"] * 4 + s3["key_bytes"]) / 1e12
    first = min(vectors, s3["first_vectors"])
    processed = MILLION * vector_tb * (first * s3["processed_tb_first"] + (vectors - first) * s3["processed_tb"])
    namespace_gb = gb + vectors * pinecone["id_bytes"] / 1e9
    units = max(pinecone["units_min"], namespace_gb * pinecone["units_per_gb"])
    return [
        ("turbopuffer, f32", queried_pb * tpuf["queried_pb"] + returned, gb * tpuf["storage_gb_month"], tpuf["month_min"]),
        ("Amazon S3 Vectors", s3["query_million"] + processed, vectors * vector_tb * 1e3 * s3["storage_gb_month"], 0),
        ("Pinecone serverless, Standard", units * pinecone["read_unit_million"], namespace_gb * pinecone["storage_gb_month"], pinecone["month_min"]),
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    args = parser.parse_args()
    figures, prices = load("figures.json"), load("prices.json")
    collection = figures["collection"]
    sizes = [queries(figures, gb) for gb in SIZES_GB]
    rows = [[kinds[0].name, *(query.dollars(gb, prices["aws"]) for gb, query in zip(SIZES_GB, kinds, strict=True))] for kinds in zip(*sizes, strict=True)]
    storage = collection["file_bytes"] / 1e9 * prices["aws"]["s3_gb_month"]
    others = peers(collection, prices)
    if args.json:
        print(json.dumps({"cairn": rows, "storage_month": storage, "peers": others}))
        return
    print(f"Cairn, {collection['name']}; storage ${storage:.2f} a month, no least bill:\n")
    print("| dollars per million queries | " + " | ".join(f"{gb} GB" for gb in SIZES_GB) + " |")
    print("|" + "---|" * (len(SIZES_GB) + 1))
    for name, *dollars in rows:
        print(f"| {name} | " + " | ".join(f"{one:.2f}" for one in dollars) + " |")
    print("\n| others | dollars per million queries | storage, a month | least bill, a month |\n|---|---|---|---|")
    for name, dollars, month, least in others:
        print(f"| {name} | {dollars:.2f} | {month:.2f} | {least if least else '-'} |")


if __name__ == "__main__":
    main()
