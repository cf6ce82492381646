"""From measurements to figures: the front of recall and speed, speed at a recall, spread."""

import math
import statistics

TARGETS = (0.95, 0.99)


def net(run, clock="wall", called=False):
    """Seconds per query of each run, less what a minimal call right before it cost (`called`: with it)."""
    cpu = clock == "cpu" and run.get("cpu_seconds")
    seconds = run["cpu_seconds" if cpu else "seconds"]
    calls = run.get("call_cpu_seconds" if cpu else "call_seconds") or [0.0] * len(seconds)
    return list(seconds) if called else [max(each - call, 1e-7) for each, call in zip(seconds, calls)]


def qps(run, clock="wall", called=False):
    """Queries per second of the median run."""
    return 1.0 / statistics.median(net(run, clock, called))


def call_us(result):
    """What a minimal call costs, where one was measured."""
    calls = [seconds for run in result["runs"] for seconds in run.get("call_seconds", [])]
    return statistics.median(calls) * 1e6 if calls else 0.0


def front(result, clock="wall", called=False):
    """The points that no other point beats in both recall and speed, by rising recall."""
    points = sorted(((run["recall"], qps(run, clock, called)) for run in result["runs"]), reverse=True)
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


def spread(result, target, clock="wall"):
    """Half of what the fastest and the slowest run differ by, relative to the median, at the first knob past the target."""
    past = [run for run in result["runs"] if run["recall"] >= target]
    if not past:
        return None
    seconds = net(max(past, key=lambda run: qps(run, clock)), clock)
    return (max(seconds) - min(seconds)) / 2 / statistics.median(seconds)


def doubtful(result, target, clock="wall"):
    """Whether most of what was measured at a recall was the call: then what remains after subtracting is mostly noise."""
    past = [run for run in result["runs"] if run["recall"] >= target]
    if not past:
        return False
    run = max(past, key=lambda run: qps(run, clock))
    return statistics.median(net(run, clock)) < 0.4 * statistics.median(net(run, clock, called=True))


def share(result):
    """The share of a core that searching got, where it is known: under 0.9 the machine did other work meanwhile."""
    shares = [sum(run["cpu_seconds"]) / sum(run["seconds"]) for run in result["runs"] if run.get("cpu_seconds")]
    return statistics.median(shares) if shares else None
