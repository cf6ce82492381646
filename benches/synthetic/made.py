"""Makes vectors that are as hard to search as real embeddings, in any number, in bounded memory.

    made.py FOLDER --rows 1000000 --dim 768 [--queries 300] [--seed 1]

writes base.npy and queries.npy (f16, normalised) and gt100.npy (exact, by inner product of the stored values; ties by the lower
row). The same arguments make the same vectors on the same numpy; the first N rows do not depend on --rows. README.md says how
they are made and how they compare with real sets.
"""

import argparse
import os
import sys
import time

import numpy as np

BLOCK = 20_000
TRUTH = 100

# What was fitted to real sets with dimension.py; see README.md.
SHAPE = {
    "topics": 300,
    "leaves": 8_000,
    "latents": 22,  # dimensions of a leaf's manifold
    "latent_decay": 0.35,  # the i-th latent's scale is i^-decay
    "bend": 0.5,  # how strongly latents bend the manifold
    "spectrum": 0.9,  # the j-th eigenvalue of everything is j^-spectrum
    "size": 0.6,  # the i-th leaf of a topic is drawn with weight i^-size, the i-th topic too
    "mean": 0.55,
    "topic": 0.6,
    "leaf": 0.55,
    "local": 0.7,
    "noise": 0.35,
    "tail": 0.2,  # standard deviation of the logarithm of a point's distance from its leaf
    "copies": 0.01,
}


class Maker:
    """The fixed part: a spectrum, topics, leaves and the directions in which each leaf extends."""

    def __init__(self, dim, seed):
        self.dim = dim
        rng = np.random.default_rng([seed, 0])
        shape = SHAPE
        scales = np.arange(1, dim + 1) ** (-shape["spectrum"] / 2)
        self.scales = (scales / np.sqrt((scales**2).sum())).astype(np.float32)
        # Eigenvectors that are not the axes: no dimension is special in an embedding.
        self.turn = np.linalg.qr(rng.standard_normal((dim, dim)))[0].astype(np.float32)
        self.mean = shape["mean"] * self.drawn(rng, 1)
        self.topics = shape["topic"] * self.drawn(rng, shape["topics"])
        topic_weights = np.arange(1, shape["topics"] + 1) ** -shape["size"]
        self.topic_of = rng.choice(shape["topics"], shape["leaves"], p=topic_weights / topic_weights.sum())
        spread = rng.uniform(0.6, 1.4, (shape["leaves"], 1)).astype(np.float32)
        self.leaves = self.topics[self.topic_of] + shape["leaf"] * spread * self.drawn(rng, shape["leaves"])
        # A leaf extends along some of a dictionary of directions that all leaves share.
        self.words = self.drawn(rng, 2 * dim)
        self.latents = np.stack([rng.choice(len(self.words), shape["latents"], False) for _ in range(shape["leaves"])])
        self.radius = rng.uniform(0.5, 1.5, shape["leaves"]).astype(np.float32)
        rank = np.zeros(shape["leaves"])
        for topic in range(shape["topics"]):
            of = np.flatnonzero(self.topic_of == topic)
            rank[of] = np.arange(1, len(of) + 1)
        weights = topic_weights[self.topic_of] * rank ** -shape["size"]
        self.bounds = np.cumsum(weights / weights.sum())

    def drawn(self, rng, count):
        """Gaussian vectors of the spectrum, of length about 1."""
        return rng.standard_normal((count, self.dim), dtype=np.float32) * self.scales

    def points(self, rng, leaves, local, noise):
        """One point of each given leaf: latent coordinates, bent, along the leaf's directions, plus noise of full rank."""
        shape, count = SHAPE, len(leaves)
        latents = rng.standard_normal((count, shape["latents"]), dtype=np.float32)
        latents *= np.arange(1, shape["latents"] + 1, dtype=np.float32) ** -shape["latent_decay"]
        # Each latent is pushed by the square of the one before: a curved sheet, not a flat one.
        latents[:, 1:] += shape["bend"] * (latents[:, :-1] ** 2 - 1) / 2
        latents *= local / np.sqrt((np.arange(1, shape["latents"] + 1) ** (-2 * shape["latent_decay"])).sum())
        latents *= np.exp(shape["tail"] * rng.standard_normal((count, 1), dtype=np.float32))
        latents *= self.radius[leaves][:, None]
        weights = np.zeros((count, len(self.words)), dtype=np.float32)
        np.put_along_axis(weights, self.latents[leaves], latents, axis=1)
        return weights @ self.words + self.leaves[leaves] + noise * self.drawn(rng, count)

    def finished(self, points):
        points = (points + self.mean) @ self.turn
        points /= np.linalg.norm(points, axis=1, keepdims=True)
        return points.astype(np.float16)

    def base(self, seed, block):
        rng = np.random.default_rng([seed, 1, block])
        leaves = np.searchsorted(self.bounds, rng.random(BLOCK)).clip(max=len(self.bounds) - 1)
        made = self.finished(self.points(rng, leaves, SHAPE["local"], SHAPE["noise"]))
        copied = np.flatnonzero(rng.random(BLOCK) < SHAPE["copies"])
        made[copied] = made[rng.integers(0, BLOCK, len(copied))]
        return made

    def queries(self, seed, count):
        """Six in ten lie where points lie, three between two leaves of a topic, one anywhere in a topic; all carry more noise
        than points do and a shift of their own, as questions differ from the texts that answer them."""
        rng = np.random.default_rng([seed, 2])
        leaves = np.searchsorted(self.bounds, rng.random(count)).clip(max=len(self.bounds) - 1)
        made = self.points(rng, leaves, SHAPE["local"], 2.2 * SHAPE["noise"])
        kind = rng.random(count)
        for at in np.flatnonzero(kind >= 0.6):
            siblings = np.flatnonzero(self.topic_of == self.topic_of[leaves[at]])
            if kind[at] < 0.9:
                other = self.points(rng, siblings[rng.integers(0, len(siblings), 1)], SHAPE["local"], SHAPE["noise"])[0]
                made[at] = (made[at] + other) / 2
            else:
                made[at] = self.topics[self.topic_of[leaves[at]]] + SHAPE["local"] * self.drawn(rng, 1)[0]
        return self.finished(made + 0.25 * self.drawn(rng, 1))


def truth(base, queries):
    """The nearest rows by inner product, block by block."""
    queries = queries.astype(np.float32)
    best = np.full((len(queries), TRUTH), -np.inf, dtype=np.float32)
    rows = np.full((len(queries), TRUTH), -1, dtype=np.int64)
    for start in range(0, len(base), BLOCK):
        block = np.asarray(base[start : start + BLOCK]).astype(np.float32)
        values = np.concatenate([best, queries @ block.T], axis=1)
        here = np.broadcast_to(np.arange(start, start + len(block)), (len(queries), len(block)))
        numbers = np.concatenate([rows, here], axis=1)
        # Earlier rows stand first and the sort is stable, so ties go to the lower row.
        order = np.argsort(-values, axis=1, kind="stable")[:, :TRUTH]
        best, rows = np.take_along_axis(values, order, axis=1), np.take_along_axis(numbers, order, axis=1)
    return rows.astype(np.int32)


def make(folder, rows, dim, queries, seed):
    os.makedirs(folder, exist_ok=True)
    start = time.perf_counter()
    maker = Maker(dim, seed)
    path = os.path.join(folder, "base.npy")
    base = np.lib.format.open_memmap(path + ".part", mode="w+", dtype=np.float16, shape=(rows, dim))
    for block in range(-(-rows // BLOCK)):
        at = block * BLOCK
        base[at : at + BLOCK] = maker.base(seed, block)[: rows - at]
        print(f"\r{min(at + BLOCK, rows):,} of {rows:,} rows, {time.perf_counter() - start:.0f} s", end="", file=sys.stderr)
    base.flush()
    os.rename(path + ".part", path)
    asked = maker.queries(seed, queries)
    np.save(os.path.join(folder, "queries.npy"), asked)
    np.save(os.path.join(folder, "gt100.npy"), truth(np.load(path, mmap_mode="r"), asked))
    print(f"\r{rows:,} x {dim} in {folder}, {time.perf_counter() - start:.0f} s", file=sys.stderr)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=768)
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    if args.rows < TRUTH:
        parser.error(f"--rows must be at least {TRUTH}")
    make(args.folder, args.rows, args.dim, args.queries, args.seed)


if __name__ == "__main__":
    main()
