"""The peers: how each library builds, saves and searches. One class each, all with the same few methods.

A search is split in two so that only the library's own work is timed: `ready` makes everything a search needs ahead of time and
returns a function; calling it searches all queries on one thread; `ids` then turns what came back into row numbers.
"""

import json
import os
import shutil

import numpy as np

# HNSW's parameters, the same for every graph: 16 links per node, 32 on the lowest level, candidates 200.
M, EF_CONSTRUCT = 16, 200
EFS = [10, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024]


def size_bytes(path):
    """Bytes that a file or folder takes on disk: blocks, since some libraries preallocate sparse files."""
    if os.path.isfile(path):
        return os.path.getsize(path)
    folders = os.walk(path)
    return sum(os.stat(os.path.join(folder, file)).st_blocks * 512 for folder, _, files in folders for file in files)


class Peer:
    """What all have in common. `objects`: each query goes through Python objects, so a minimal call is measured too."""

    package = None
    objects = False
    knobs = EFS
    note = ""

    def __init__(self, metric, folder, threads):
        self.metric, self.folder, self.threads = metric, folder, threads
        self.euclid = metric == "euclid"
        os.makedirs(folder, exist_ok=True)

    def file(self, name):
        path = os.path.join(self.folder, name)
        shutil.rmtree(path, ignore_errors=True)
        return path

    def ids(self, raw):
        return raw


class Hnswlib(Peer):
    package = "hnswlib"
    note = "f32, M 16, ef_construction 200"

    def build(self, base):
        import hnswlib

        self.index = hnswlib.Index(space="l2" if self.euclid else "ip", dim=base.shape[1])
        self.index.init_index(max_elements=len(base), M=M, ef_construction=EF_CONSTRUCT, random_seed=100)
        self.index.add_items(base, np.arange(len(base)), num_threads=self.threads)

    def save_bytes(self):
        path = self.file("index")
        self.index.save_index(path)
        return size_bytes(path)

    def ready(self, queries, k, ef):
        self.index.set_ef(ef)
        return lambda: self.index.knn_query(queries, k=k, num_threads=1)[0]


class Faiss(Peer):
    package = "faiss-cpu"
    factory = f"HNSW{M},SQ8"
    note = factory + ", efConstruction 200"

    def build(self, base):
        import faiss

        self.faiss = faiss
        faiss.omp_set_num_threads(self.threads)
        metric = faiss.METRIC_L2 if self.euclid else faiss.METRIC_INNER_PRODUCT
        self.index = faiss.index_factory(base.shape[1], self.factory, metric)
        refined = hasattr(self.index, "base_index")
        self.graph = faiss.downcast_index(self.index.base_index) if refined else self.index
        self.graph.hnsw.efConstruction = EF_CONSTRUCT
        self.index.train(base)
        self.index.add(base)

    def save_bytes(self):
        path = self.file("index")
        self.faiss.write_index(self.index, path)
        return size_bytes(path)

    def ready(self, queries, k, ef):
        self.faiss.omp_set_num_threads(1)
        self.graph.hnsw.efSearch = ef
        return lambda: self.index.search(queries, k)[1]


class FaissRefined(Faiss):
    """The same codes, the best four times k scored again on the originals."""

    factory = f"HNSW{M},SQ8,RFlat"
    note = factory + ", k_factor 4"

    def ready(self, queries, k, ef):
        self.index.k_factor = 4
        return super().ready(queries, k, ef)


class Usearch(Peer):
    package = "usearch"
    dtype = "f16"
    note = "f16, connectivity 16, expansion_add 200"

    def build(self, base):
        from usearch.index import Index

        metric = "l2sq" if self.euclid else "ip"
        self.index = Index(ndim=base.shape[1], metric=metric, dtype=self.dtype, connectivity=M, expansion_add=EF_CONSTRUCT)
        self.index.add(np.arange(len(base), dtype=np.uint64), base, threads=self.threads)

    def save_bytes(self):
        path = self.file("index")
        self.index.save(path)
        return size_bytes(path)

    def ready(self, queries, k, ef):
        self.index.expansion_search = ef
        return lambda: self.index.search(queries, k, threads=1).keys

    def ids(self, raw):
        return np.asarray(raw).astype(np.int64)


class Qdrant(Peer):
    """qdrant-edge: Qdrant's own engine in the process, one segment. A knob is (hnsw_ef, oversampling)."""

    package = "qdrant-edge-py"
    objects = True
    knobs = [(ef, 1.0) for ef in EFS[:10]] + [(ef, 2.0) for ef in EFS[:12]]
    note = "scalar int8, rescored from the originals"

    def quantization(self, q):
        return q.ScalarQuantizationConfig(q.ScalarType.Int8, quantile=0.99, memory=q.Memory.Pinned)

    def build(self, base):
        import qdrant_edge as q

        self.q = q
        hnsw = q.HnswIndexConfig(m=M, ef_construct=EF_CONSTRUCT, full_scan_threshold=1, max_indexing_threads=self.threads)
        params = q.EdgeVectorParams(
            size=base.shape[1],
            distance=q.Distance.Euclid if self.euclid else q.Distance.Dot,
            quantization_config=self.quantization(q),
            hnsw_config=hnsw,
        )
        optimizers = q.EdgeOptimizersConfig(default_segment_number=1, indexing_threshold=1, max_segment_size=1 << 40)
        self.path = self.file("shard")
        os.makedirs(self.path)
        config = q.EdgeConfig(
            vectors={"v": params}, hnsw_config=hnsw, wal_enabled=False, max_search_threads=1, optimizers=optimizers
        )
        self.shard = q.EdgeShard.create(self.path, config)
        yield  # what comes before is not building: Python objects, points into the store
        for start in range(0, len(base), 5000):
            rows = base[start : start + 5000]
            points = [q.Point(start + at, {"v": row.tolist()}) for at, row in enumerate(rows)]
            self.shard.update(q.UpdateOperation.upsert_points(points))
        yield
        self.shard.optimize()
        self.shard.flush()

    def save_bytes(self):
        return size_bytes(self.path)

    def ready(self, queries, k, knob):
        q, (ef, oversampling) = self.q, knob
        quantization = q.QuantizationSearchParams(ignore=False, rescore=True, oversampling=oversampling)
        params = q.SearchParams(hnsw_ef=ef, exact=False, quantization=quantization)
        make = lambda row: q.QueryRequest(limit=k, query=q.Query.Nearest(row.tolist(), using="v"), params=params)
        requests = [make(row) for row in queries]
        return lambda: [self.shard.query(request) for request in requests]

    def ids(self, raw):
        return padded([[hit.id for hit in hits] for hits in raw])


class QdrantTurbo(Qdrant):
    knobs = [(ef, 2.0) for ef in EFS[:10]] + [(ef, 3.0) for ef in EFS]
    note = "turbo 4 bits, oversampling 2 or 3, rescored from the originals"

    def quantization(self, q):
        return q.TurboQuantQuantizationConfig(bits=q.TurboQuantBitSize.Bits4, memory=q.Memory.Pinned)


class Zvec(Peer):
    package = "zvec"
    objects = True
    note = "HNSW, INT8"

    def build(self, base):
        import zvec

        self.zvec = zvec
        try:
            zvec.init(query_threads=1, optimize_threads=self.threads, log_level=zvec.LogLevel.WARN)
        except RuntimeError:  # initialised by an earlier index of this process
            pass
        metric = zvec.MetricType.L2 if self.euclid else zvec.MetricType.IP
        index = zvec.HnswIndexParam(
            metric_type=metric, m=M, ef_construction=EF_CONSTRUCT, quantize_type=zvec.QuantizeType.INT8
        )
        vectors = zvec.VectorSchema("v", zvec.DataType.VECTOR_FP32, base.shape[1], index_param=index)
        fields = [zvec.FieldSchema("g", zvec.DataType.INT64, nullable=True)]
        schema = zvec.CollectionSchema(name="c", fields=fields, vectors=vectors)
        self.path = self.file("collection")
        option = zvec.CollectionOption(read_only=False, enable_mmap=True)
        self.collection = zvec.create_and_open(self.path, schema, option)
        yield
        for start in range(0, len(base), 1000):
            rows = base[start : start + 1000]
            doc = lambda at, row: zvec.Doc(id=str(at), vectors={"v": row.tolist()}, fields={"g": at})
            self.collection.insert([doc(start + at, row) for at, row in enumerate(rows)])
        self.collection.flush()
        yield
        self.collection.optimize(zvec.OptimizeOption(concurrency=self.threads))

    def save_bytes(self):
        return size_bytes(self.path)

    def ready(self, queries, k, ef):
        param = self.zvec.HnswQueryParam(ef=ef, is_using_refiner=False)
        # An array costs a call less than a list does.
        made = [self.zvec.Query(field_name="v", vector=np.ascontiguousarray(row), param=param) for row in queries]
        return lambda: [self.collection.query(query, topk=k, output_fields=[]) for query in made]

    def ids(self, raw):
        return padded([[int(doc.id) for doc in docs] for docs in raw])


class Vsag(Peer):
    package = "pyvsag"
    objects = True
    knobs = EFS[:-1] + [1000]  # above 1,000 it answers with whatever was in memory
    note = "hgraph, sq8_uniform, fp32 reorder, max_degree 32, ef_construction 200"

    def build(self, base):
        import pyvsag

        pyvsag.set_logger_off()
        count, dim = base.shape
        params = {
            "base_quantization_type": "sq8_uniform",
            "use_reorder": True,
            "precise_quantization_type": "fp32",
            "max_degree": 2 * M,
            "ef_construction": EF_CONSTRUCT,
            "build_thread_count": self.threads,
        }
        metric = "l2" if self.euclid else "ip"
        described = json.dumps({"dtype": "float32", "metric_type": metric, "dim": dim, "index_param": params})
        self.index = pyvsag.Index("hgraph", described)
        self.index.build(vectors=base, ids=np.arange(count, dtype=np.int64), num_elements=count, dim=dim)

    def save_bytes(self):
        path = self.file("index")
        self.index.save(path)
        return size_bytes(path)

    def ready(self, queries, k, ef):
        params = json.dumps({"hgraph": {"ef_search": ef}})
        return lambda: [self.index.knn_search(vector=row, k=k, parameters=params)[0] for row in queries]

    def ids(self, raw):
        return padded(raw)


class Svs(Peer):
    """LVQ and LeanVec refuse processors that are not Intel's, so this is the open half of the library: f16 Vamana."""

    package = "scalable-vs"
    note = "Vamana, f16, degree 32, window 200"

    def build(self, base):
        import svs

        distance = svs.DistanceType.L2 if self.euclid else svs.DistanceType.MIP
        params = svs.VamanaBuildParameters(
            alpha=1.2 if self.euclid else 0.95, graph_max_degree=2 * M, window_size=EF_CONSTRUCT
        )
        self.index = svs.Vamana.build(params, base.astype(np.float16), distance, num_threads=self.threads)

    def save_bytes(self):
        paths = [self.file(name) for name in ("config", "graph", "data")]
        self.index.save(*paths)
        return sum(size_bytes(path) for path in paths)

    def ready(self, queries, k, window):
        self.index.num_threads = 1
        self.index.search_window_size = max(window, k)
        return lambda: self.index.search(queries, k)[0]

    def ids(self, raw):
        return np.asarray(raw).astype(np.int64)


class Scann(Peer):
    """A tree of partitions with 4-bit anisotropic codes. A knob is (leaves searched, rows scored again)."""

    package = "scann"
    note = "tree of sqrt(n) leaves, 4-bit AH with 2 dimensions per block"
    knobs = [(leaves, again) for again in (40, 100) for leaves in (3, 5, 8, 12, 18, 27, 40, 60, 90, 140, 190, 240)]

    def build(self, base):
        from scann import scann_ops_pybind

        leaves = int(len(base) ** 0.5)
        builder = scann_ops_pybind.builder(base, 10, "squared_l2" if self.euclid else "dot_product")
        builder = builder.set_n_training_threads(self.threads)
        builder = builder.tree(
            num_leaves=leaves, num_leaves_to_search=max(1, leaves // 20), training_sample_size=min(len(base), 250_000)
        )
        # Anisotropic loss is for inner products; NaN switches it off.
        loss = float("nan") if self.euclid else 0.2
        self.index = builder.score_ah(2, anisotropic_quantization_threshold=loss).reorder(100).build()

    def save_bytes(self):
        path = self.file("index")
        os.makedirs(path)
        self.index.serialize(path)
        return size_bytes(path)

    def ready(self, queries, k, knob):
        leaves, again = knob
        self.index.set_num_threads(1)
        return lambda: self.index.search_batched(
            queries, final_num_neighbors=k, leaves_to_search=leaves, pre_reorder_num_neighbors=again
        )[0]

    def ids(self, raw):
        return np.asarray(raw).astype(np.int64)


def padded(lists):
    """Row numbers of equal length, -1 where a peer found fewer."""
    out = np.full((len(lists), max(map(len, lists), default=0)), -1, dtype=np.int64)
    for row, line in enumerate(lists):
        out[row, : len(line)] = line
    return out


PEERS = {
    "hnswlib": Hnswlib,
    "faiss": Faiss,
    "faiss-refined": FaissRefined,
    "usearch": Usearch,
    "qdrant-sq8": Qdrant,
    "qdrant-tq4": QdrantTurbo,
    "zvec": Zvec,
    "vsag": Vsag,
    "svs": Svs,
    "scann": Scann,
}
