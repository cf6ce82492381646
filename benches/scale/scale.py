"""Runs `cairn bench` on growing parts of one made set and tabulates what grows."""

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE.parent / "synthetic"), str(HERE.parent / "side_by_side")]

import figures  # noqa: E402
import made  # noqa: E402

EFS = "16,24,32,48,64,96,128,192,256,384,512,768,1024"


def parsed():
    parser = argparse.ArgumentParser(
        prog="benches/scale/run",
        description="Builds with `cairn bench` on the first N rows of a set made by benches/synthetic/made.py, for rising N.",
    )
    parser.add_argument("folder", help="of base.npy, queries.npy and gt100.npy; made there if absent")
    parser.add_argument("--dim", type=int, default=768, help="if the set is to be made [768]")
    parser.add_argument("--rows", default="100000,250000,500000,1000000", help="[100000,250000,500000,1000000]")
    parser.add_argument("--args", default="", help="more arguments of `cairn bench`, such as '--tier hot'")
    parser.add_argument("--memory-gb", type=float, default=8.0, help="fails where a run's resident peak is above [8]")
    parser.add_argument("--build-threads", type=int, default=2, help="[2]")
    parser.add_argument("--cairn", default=str(ROOT / "target/release/cairn"), help="the binary [target/release/cairn]")
    parser.add_argument("--out", default=str(ROOT / "target/scale"), help="results [target/scale]")
    args = parser.parse_args()
    args.rows = sorted(int(count) for count in args.rows.split(","))
    return args


def part(folder, rows, scratch):
    """The first `rows` of a set: the .npy with a shorter shape, copied block by block, and exact truth for them."""
    base = np.load(folder / "base.npy", mmap_mode="r")
    if rows > len(base):
        raise SystemExit(f"{folder} has {len(base):,} rows")
    queries = np.load(folder / "queries.npy")
    if rows == len(base):
        return folder / "base.npy", folder / "gt100.npy"
    path, known = scratch / "base.npy", folder / f"gt100_{rows}.npy"
    out = np.lib.format.open_memmap(path, mode="w+", dtype=base.dtype, shape=(rows, base.shape[1]))
    for start in range(0, rows, made.BLOCK):
        out[start : start + made.BLOCK] = base[start : min(start + made.BLOCK, rows)]
    del out
    if not known.exists():
        np.save(known, made.truth(base[:rows], queries))
    return path, known


def bench(args, base, truth, queries):
    """The report of one run, with the resident peak of its process (building, searching and the vectors it read)."""
    command = [args.cairn, "bench", "--json", "--base", base, "--queries", queries, "--truth", truth, "--distance", "cosine"]
    command += ["--build-threads", args.build_threads, "--threads", 1]
    extra = shlex.split(args.args)
    if "--ef" not in extra:
        command += ["--ef", EFS]
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen([str(each) for each in command + extra], stdout=out)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"cairn bench ended with {process.returncode}")
        out.seek(0)
        report = json.load(out)
    report["peak_mb"] = usage.ru_maxrss / 1024
    return report


def row(report):
    """Time per query and distances at fixed recall, interpolated on the front."""
    runs = [{"recall": run["recall"], "seconds": [1 / qps for qps in run["qps_runs"]]} for run in report["runs"]]
    points = figures.front({"runs": runs})
    cells = [f"{report['points']:,}", f"{report['build_s']:.1f}", f"{report['build_s'] / report['points'] * 1e6:.0f}"]
    cells += [f"{report['peak_mb'] / 1024:.2f}", f"{report['bytes'] / 1e9:.2f}"]
    cells += [f"{report['bytes_per_vector']:,.0f}", f"{report['bits_per_link']:.1f}"]
    for target in (0.90, 0.95, 0.99):
        speed = figures.at(points, target)
        cells.append(f"{1e6 / speed:,.0f}" if speed else f"{max(run['recall'] for run in runs):.3f} at most")
    needed = next((run for run in report["runs"] if run["recall"] >= 0.95), None)
    cells.append(f"{needed['distances']:,.0f} (ef {needed['ef']})" if needed else "")
    return "| " + " | ".join(cells) + " |"


def main():
    args = parsed()
    folder, out = Path(args.folder), Path(args.out)
    if not (folder / "gt100.npy").exists():
        made.make(folder, max(args.rows), args.dim, 300, 1)
    out.mkdir(parents=True, exist_ok=True)
    head = ["points", "build, s", "us per point", "peak, GB", "file, GB", "bytes per vector", "bits per link"]
    head += ["us per query at 0.90", "at 0.95", "at 0.99", "distances at 0.95"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    above = []
    for rows in args.rows:
        print(f"{rows:,} rows", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(prefix="scale_", dir=out) as scratch:
            base, truth = part(folder, rows, Path(scratch))
            report = bench(args, base, truth, folder / "queries.npy")
        (out / f"{folder.name}_{rows}.json").write_text(json.dumps(report))
        lines.append(row(report))
        print(lines[-1], file=sys.stderr, flush=True)
        if report["peak_mb"] > args.memory_gb * 1024:
            above.append(f"{rows:,} rows took {report['peak_mb'] / 1024:.2f} GB")
    text = "\n".join(lines) + "\n"
    (out / f"{folder.name}.md").write_text(text)
    print(text)
    if above:
        raise SystemExit("above --memory-gb: " + "; ".join(above))


if __name__ == "__main__":
    main()
