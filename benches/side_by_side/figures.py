"""From measurements to figures: the front of recall and speed, speed at a recall, spread."""

import math
import statistics

TARGETS = (0.95, 0.99)


def qps(result, run, clock="wall", called=False):
    """Queries per second: the median run, less what a minimal call costs (`called`: with it)."""
    seconds = run["cpu_seconds"] if clock == "cpu" and run.get("cpu_seconds") else run["seconds"]
    call = result["call_cpu_s" if clock == "cpu" else "call_s"]
    per_query = statistics.median(seconds) - (0.0 if called else statistics.median(call))
    return 1.0 / max(per_query, 1e-7)


def front(result, clock="wall", called=False):
    """The points that no other point beats in both recall and speed, by rising recall."""
    points = sorted(((run["recall"], qps(result, run, clock, called)) for run in result["runs"]), reverse=True)
    kept = []
    for recall, speed in points:
        if not kept or speed > kept[-1][1]:
            kept.append((recall, speed))
    return kept[::-1]


def at(points, target):
    """Speed at a recall, between two points of a front on a logarithmic scale of speed; None where recall is not reached.
    Below the first point there is nothing to interpolate and its own speed counts."""
    above = [point for point in points if point[0] >= target]
    below = [point for point in points if point[0] < target]
    if not above:
        return None
    (high, fast) = above[0]
    if not below:
        return fast
    (low, faster) = below[-1]
    share = (target - low) / (high - low)
    return math.exp(math.log(faster) * (1 - share) + math.log(fast) * share)


def spread(result, target):
    """Half of what the fastest and the slowest run differ by, relative to the median, at the first knob past the target."""
    past = [run for run in result["runs"] if run["recall"] >= target]
    if not past:
        return None
    run = min(past, key=lambda run: statistics.median(run["seconds"]))
    return (max(run["seconds"]) - min(run["seconds"])) / 2 / statistics.median(run["seconds"])


def share(result):
    """The share of a core that searching got, where it is known: under 0.9 the machine did other work meanwhile."""
    shares = [sum(run["cpu_seconds"]) / sum(run["seconds"]) for run in result["runs"] if run.get("cpu_seconds")]
    return statistics.median(shares) if shares else None
