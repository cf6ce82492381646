"""Where the time of cold answers goes: the store's waits, wave by wave, and what the contestant does between them. Reads results.jsonl."""

import argparse
import json
import statistics
from collections import defaultdict


def profile(asked):
    """Milliseconds by wave: until its last request came after the wave before was answered, the longest wait for a first byte, the rest of the
    flow; then what is left of the whole."""
    waves = defaultdict(list)
    for request in asked["requests"]:
        waves[request["wave"]].append(request)
    begun = min(request["came_s"] for request in asked["requests"])
    parts, before = {}, begun
    for wave, requests in sorted(waves.items()):
        last_came = max(request["came_s"] for request in requests)
        drawn = max(request["drawn_s"] for request in requests)
        ended = max(request["ended_s"] for request in requests)
        ideal = max(request["drawn_s"] + request["bytes"] / 80e6 for request in requests)
        parts[f"{wave} gap"] = (last_came - before) * 1e3
        parts[f"{wave} drawn"] = drawn * 1e3
        parts[f"{wave} flow beyond"] = (ideal - drawn) * 1e3
        parts[f"{wave} late"] = (ended - last_came - ideal) * 1e3
        before = ended
    parts["before and after"] = asked["ms"] - (before - begun) * 1e3
    return parts


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results")
    parser.add_argument("--requests", action="store_true", help="show the requests of the median run, too")
    args = parser.parse_args()
    with open(args.results) as file:
        for about in map(json.loads, file):
            for which in ("first", "second"):
                some = [run[which] for run in about["runs"]]
                profiles = [profile(one) for one in some if one["requests"]]
                if max(one["waves"] for one in some) > 8:
                    continue
                names = sorted({name for one in profiles for name in one})
                shown = [f"{name} {statistics.median(one.get(name, 0.0) for one in profiles):.1f}" for name in names]
                print(f"{about['set']} {about['name']} {about['total_mb_s']:g} {which}: {statistics.median(one['ms'] for one in some):.0f} ms: " + ", ".join(shown))
                if args.requests:
                    for request in sorted(some, key=lambda one: one["ms"])[len(some) // 2]["requests"]:
                        print("   ", {key: value for key, value in request.items()})


if __name__ == "__main__":
    main()
