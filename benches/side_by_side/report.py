"""Tables in Markdown and plots in SVG of what was measured."""

import json
import statistics
from pathlib import Path

import figures

# A contestant has one colour in every plot; Cairn's are red.
COLOURS = {
    "hnswlib": "#6d7480",
    "faiss": "#c9793a",
    "faiss-refined": "#9c6b52",
    "usearch": "#b8a12f",
    "qdrant-sq8": "#7d6bc0",
    "qdrant-tq4": "#b565a7",
    "zvec": "#5b9f5b",
    "vsag": "#3f9c9c",
    "svs": "#4a7fc1",
    "scann": "#a3b04a",
}
CAIRN_COLOURS = ["#d0021b", "#f0616d", "#8b0010"]
OTHERS = ("vsag", "zvec", "scann", "faiss", "faiss-refined", "usearch", "svs")


def results(out, name):
    """All stored results of a set, Cairn's first, then hnswlib, then by name."""
    found = [json.loads(path.read_text()) for path in (Path(out) / name).glob("*.json")]
    return sorted(found, key=lambda result: (result["kind"] != "cairn", result["name"] != "hnswlib", result["name"]))


def number(value, places=0):
    return "not reached" if value is None else f"{value:,.{places}f}"


def ratio(value, base):
    return "" if value is None or not base else f"{value / base:.2f}x"


def baseline(result, everything, target, clock):
    """hnswlib's speed in the run that the result is from: another day's machine may have been busier."""
    timed = any(run.get("cpu_seconds") for run in result["runs"])
    beside = result.get("hnswlib", {}).get(clock if timed else "wall", {}).get(str(target))
    if beside:
        return beside
    return next((figures.at(figures.front(peer, clock), target) for peer in everything if peer["name"] == "hnswlib"), None)


def row(result, everything, clock):
    points = figures.front(result, clock)
    cells = [f"**{result['name']}**" if result["kind"] == "cairn" else result["name"]]
    for target in figures.TARGETS:
        speed = figures.at(points, target)
        spread = figures.spread(result, target, clock)
        shown = number(speed) if speed else f"{points[-1][0]:.4f} at most"
        if figures.doubtful(result, target, clock):
            shown = "~" + shown
        shown += f" ±{spread:.0%}" if spread is not None else ""
        cells += [shown, ratio(speed, baseline(result, everything, target, clock))]
    build = f"{statistics.median(result['build_s']):.1f}"
    if result.get("insert_s"):
        build += f" (+{result['insert_s']:.1f})"
    notes = result.get("note", "")
    call_us = figures.call_us(result)
    if call_us > 0:
        called = figures.at(figures.front(result, clock, called=True), 0.99)
        notes += f"; a call costs {call_us:.0f} us, with it {number(called)} at 0.99"
    cells += [build, number(result["bytes_per_vector"]), number(max(result["peak_mb"])), notes]
    return "| " + " | ".join(cells) + " |"


def table(out, name, clock):
    found = results(out, name)
    if not found:
        return ""
    about = found[0]
    head = ["", "QPS at 0.95", "hnswlib x", "QPS at 0.99", "hnswlib x", "build, s", "bytes per vector", "peak, MB", "about"]
    lines = [
        f"### {name}: {about['points']:,} x {about['dim']}, {about['metric']}, {about['queries']:,} queries",
        "",
        "| " + " | ".join(head) + " |",
        "|" + "---|" * len(head),
    ]
    lines += [row(result, found, clock) for result in found]
    busy = [f"{result['name']} {share:.0%}" for result in found if (share := figures.share(result)) and share < 0.9]
    if busy:
        lines += ["", "The machine was busy; of its core got: " + ", ".join(busy) + "."]
    return "\n".join(lines) + "\n"


def best(found, names, clock):
    """The fastest at recall 0.99 among some peers."""
    speeds = [(figures.at(figures.front(peer, clock), 0.99), peer) for peer in found if peer["name"] in names]
    speeds = [pair for pair in speeds if pair[0]]
    return max(speeds, key=lambda pair: pair[0]) if speeds else (None, None)


def summary(out, names, clock):
    """Cairn's ratios on every set. A peer from an earlier run is scaled by what hnswlib did in both."""
    head = ["set", "", "hnswlib, 0.95", "hnswlib, 0.99", "best qdrant-edge, 0.99", "best other, 0.99", "build, zvec"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for name in names:
        found = results(out, name)
        for result in (result for result in found if result["kind"] == "cairn"):
            points = figures.front(result, clock)
            mine = baseline(result, found, 0.99, clock)
            cells = [name, result["name"]]
            cells += [ratio(figures.at(points, target), baseline(result, found, target, clock)) for target in figures.TARGETS]
            for group in (("qdrant-sq8", "qdrant-tq4"), OTHERS):
                speed, peer = best(found, group, clock)
                theirs = peer and baseline(peer, found, 0.99, clock)
                scaled = speed * mine / theirs if speed and mine and theirs else speed
                mark = "~" if peer and figures.doubtful(peer, 0.99, clock) else ""
                cells.append(f"{mark}{ratio(figures.at(points, 0.99), scaled)} ({peer['name']})" if peer else "")
            zvec = next((peer for peer in found if peer["name"] == "zvec"), None)
            built = statistics.median(result["build_s"])
            cells.append(ratio(statistics.median(zvec["build_s"]), built) if zvec else "")
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def plot(out, name, path, clock):
    """Recall against speed, one line per contestant, on a logarithmic scale of speed."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "cairn", "font.size": 9, "font.family": "sans-serif"})
    from matplotlib import pyplot
    from matplotlib.ticker import FuncFormatter, LogLocator

    found = results(out, name)
    if not found:
        return
    low = 0.90
    image, axes = pyplot.subplots(figsize=(7.6, 4.4), layout="constrained")
    reds = iter(CAIRN_COLOURS * 2)
    for result in reversed(found):
        cairn = result["kind"] == "cairn"
        points = figures.front(result, clock)
        # One point below the window, so that lines enter it rather than begin in it.
        first = max((i for i, point in enumerate(points) if point[0] < low), default=0)
        shown = points[first:]
        style = {"linewidth": 2.2, "markersize": 4, "zorder": 3} if cairn else {"linewidth": 1.1, "markersize": 2.5, "zorder": 2}
        colour = next(reds) if cairn else COLOURS.get(result["name"], "#b0b0b0")
        label = f"Cairn {result['name']}".replace("Cairn cairn", "Cairn") if cairn else result["name"]
        axes.plot(*zip(*shown), marker="o", color=colour, label=label, **style)
    axes.set_xlim(low, 1.001)
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(base=10, subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.yaxis.set_minor_formatter(FuncFormatter(lambda *_: ""))
    axes.grid(True, which="major", color="#e6e8eb", linewidth=0.6)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for target in figures.TARGETS:
        axes.axvline(target, color="#c5c9cf", linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
    axes.set_xlabel("recall@10")
    axes.set_ylabel("queries per second, one thread")
    about = found[0]
    axes.set_title(f"{name}: {about['points']:,} x {about['dim']}, {about['metric']}", loc="left", fontsize=10)
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(handles[::-1], labels[::-1], frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    image.savefig(path, metadata={"Date": None})
    pyplot.close(image)


def write(out, names, clock="wall"):
    """Writes one table and plot per set, and all of them in all.md."""
    out = Path(out)
    tables = []
    for name in names:
        made = table(out, name, clock)
        (out / f"{name}.md").write_text(made)
        plot(out, name, out / f"recall_{name}.svg", clock)
        tables.append(made)
    made = "\n".join([summary(out, names, clock), *tables])
    (out / "all.md").write_text(made)
    return made
