"""A data set on disk, and recall counted as `cairn bench` counts it."""

import gzip
from pathlib import Path

import numpy as np


def npy(path):
    """The array of a .npy file or of its gzip-compressed sibling, and which of the two exists."""
    packed = path.with_name(path.name + ".gz")
    if path.exists():
        return np.load(path), path
    if not packed.exists():
        raise SystemExit(f"neither {path} nor {packed} exists")
    with gzip.open(packed) as file:
        return np.load(file), packed


def metric_of(name):
    """`name:metric` names the metric; otherwise the folder's name tells, as those of ann-benchmarks do."""
    name, _, metric = name.partition(":")
    if not metric:
        metric = "euclid" if name.endswith("euclidean") else "cosine"
    if metric not in ("euclid", "cosine", "dot"):
        raise SystemExit(f"{name}: no peer is set up for the metric {metric}")
    return name, metric


class Set:
    """Vectors, queries and true neighbours. Rows are f32, normalised where the metric is cosine, so that every peer may use
    the inner product."""

    def __init__(self, folder, name, queries_max):
        self.name, self.metric = metric_of(name)
        folder = Path(folder) / self.name
        base, self.base_path = npy(folder / "base.npy")
        queries, self.queries_path = npy(folder / "queries.npy")
        self.truth_path = folder / "gt100.npy"
        truth = np.load(self.truth_path)[:queries_max]
        self.base = self._rows(base)
        self.queries = self._rows(queries[:queries_max])
        self.truth = truth

    def _rows(self, values):
        values = np.ascontiguousarray(values, dtype=np.float32)
        if self.metric == "cosine":
            values /= np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-30)
        return values

    def distances(self, ids):
        """Distances of each query to the rows in its line of `ids`; infinity where the id is -1."""
        ids = np.asarray(ids)
        out = np.full(ids.shape, np.inf, dtype=np.float32)
        for row, line in enumerate(ids):
            found = line[line >= 0]
            rows, query = self.base[found], self.queries[row]
            if self.metric == "euclid":
                out[row, line >= 0] = ((rows - query) ** 2).sum(axis=1)
            else:
                out[row, line >= 0] = -(rows @ query)
        return out

    def worst(self, k):
        """How far the last of the true k is: by distance, so that one of several equal vectors is as good as another."""
        return self.distances(self.truth[:, :k]).max(axis=1)

    def recall(self, ids, worst):
        """The share of `ids` that is at least as near as the true k-th, with room for rounding."""
        bound = worst + 1e-6 * np.maximum(np.abs(worst), 1.0)
        return float((self.distances(ids) <= bound[:, None]).mean())
