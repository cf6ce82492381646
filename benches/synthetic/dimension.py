"""Tells how hard a set of vectors is to search, so that a made set can be compared with a real one.

    dimension.py FILE.npy... [--sample 20000] [--cosine] [--queries FILE.npy]

Over a sample of rows (the same size for every file, since all figures depend on density):
  mle       intrinsic dimension by Levina and Bickel's maximum likelihood over 20 neighbours, averaged as MacKay and Ghahramani do
  twonn     intrinsic dimension by Facco et al.'s two neighbours, least squares on the lower 90 %
  contrast  mean distance to a random row over the distance to the nearest
  hubs      skewness of how often a row is among the ten nearest of others
  off       with --queries: a query's distance to its nearest row over a row's distance to its nearest other row, medians
"""

import argparse
import gzip

import numpy as np

NEIGHBOURS = 20


def load(path):
    with (gzip.open if path.endswith(".gz") else open)(path, "rb") as file:
        return np.load(file)


def nearest(rows, base, skip_self):
    """Squared distances and numbers of the nearest of `base` to each of `rows`, ascending, in blocks."""
    count = NEIGHBOURS + (1 if skip_self else 0)
    norms = (base**2).sum(axis=1)
    distances, numbers, means = [], [], []
    for start in range(0, len(rows), 1000):
        block = rows[start : start + 1000]
        all_of = np.maximum(norms[None] + (block**2).sum(axis=1)[:, None] - 2 * block @ base.T, 0)
        if skip_self:
            all_of[np.arange(len(block)), np.arange(start, start + len(block))] = -1
        means.append(np.sqrt(np.maximum(all_of, 0)).mean())
        found = np.argpartition(all_of, count, axis=1)[:, :count]
        near = np.take_along_axis(all_of, found, axis=1)
        order = np.argsort(near, axis=1)
        first = 1 if skip_self else 0
        distances.append(np.take_along_axis(near, order, axis=1)[:, first:])
        numbers.append(np.take_along_axis(found, order, axis=1)[:, first:])
    return np.sqrt(np.maximum(np.concatenate(distances), 0)), np.concatenate(numbers), float(np.mean(means))


def mle(distances):
    """Copies are left out: they lie at distance 0 and say nothing about dimension."""
    distances = distances[distances[:, 0] > 1e-3 * np.median(distances)]
    logs = np.log(distances[:, -1:] / distances[:, :-1])
    return float(1.0 / logs.mean())


def twonn(distances):
    distances = distances[distances[:, 0] > 1e-3 * np.median(distances)]
    ratios = np.sort(distances[:, 1] / distances[:, 0])
    share = np.arange(1, len(ratios) + 1) / len(ratios)
    kept = int(0.9 * len(ratios))
    x, y = np.log(ratios[:kept]), -np.log1p(-share[:kept])
    return float((x @ y) / (x @ x))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+")
    parser.add_argument("--sample", type=int, default=20_000)
    parser.add_argument("--cosine", action="store_true", help="normalise rows first")
    parser.add_argument("--queries", help="queries of the (one) file")
    args = parser.parse_args()

    def prepared(values):
        values = np.ascontiguousarray(values, dtype=np.float32)
        return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-30) if args.cosine else values

    for path in args.files:
        base = load(path) if path.endswith(".gz") else np.load(path, mmap_mode="r")
        chosen = np.sort(np.random.default_rng(1).choice(len(base), min(args.sample, len(base)), replace=False))
        rows = prepared(base[chosen])
        distances, numbers, mean = nearest(rows, rows, True)
        occurrences = np.bincount(numbers[:, :10].ravel(), minlength=len(rows)).astype(float)
        hubs = float((((occurrences - occurrences.mean()) / occurrences.std()) ** 3).mean())
        contrast = mean / float(np.median(distances[:, 0]))
        line = f"{path}: mle {mle(distances):.1f}, twonn {twonn(distances):.1f}, contrast {contrast:.2f}, hubs {hubs:.1f}"
        if args.queries:
            asked = prepared(load(args.queries))
            of_queries, _, _ = nearest(asked, rows, False)
            line += f", off {np.median(of_queries[:, 0]) / np.median(distances[:, 0]):.2f}"
            line += f", queries' mle {mle(of_queries):.1f}"
        print(line, flush=True)


if __name__ == "__main__":
    main()
