"""Filtered search by qdrant-edge on what `filters --export` wrote: same points, fields, filters, queries and truth.

    pip install qdrant-edge-py==0.9.0 numpy
    python qdrant.py DATA_FOLDER EXPORT_FOLDER SET [none|sq8|tq4] [EF,EF] [OUT.json]

Times are the processor's, of all threads of the process. One segment, HNSW m 16 and ef_construct 200, one search thread, an integer index on every field. Requests are made before the
clock starts. What Python costs is measured on a shard of one point, asked the same way, and subtracted: `qps` is without
it, `qps_raw` with.
"""
import gzip, json, os, shutil, sys, tempfile, time

import numpy as np
import qdrant_edge as q

K = 10
SETS = {"cve": ("cve", "cos"), "movies": ("movies", "cos"), "products": ("products", "cos"), "mnist": ("mnist-784-euclidean", "l2")}


def load(folder, name):
    path = os.path.join(folder, name + ".npy")
    if os.path.exists(path):
        return np.load(path).astype(np.float32)
    with gzip.open(path + ".gz") as file:
        return np.load(file).astype(np.float32)


def shard(path, dim, metric, quant):
    memory = q.Memory.Pinned
    quantization = {
        "none": None,
        "sq8": lambda: q.ScalarQuantizationConfig(q.ScalarType.Int8, quantile=0.99, memory=memory),
        "tq4": lambda: q.TurboQuantQuantizationConfig(bits=q.TurboQuantBitSize.Bits4, memory=memory),
    }[quant]
    hnsw = q.HnswIndexConfig(m=16, ef_construct=200, full_scan_threshold=10000, max_indexing_threads=2)
    distance = q.Distance.Euclid if metric == "l2" else q.Distance.Dot
    vector = q.EdgeVectorParams(size=dim, distance=distance, quantization_config=quantization() if quantization else None, hnsw_config=hnsw)
    optimizers = q.EdgeOptimizersConfig(default_segment_number=1, indexing_threshold=1, max_segment_size=1 << 40)
    os.makedirs(path)
    config = q.EdgeConfig(vectors={"v": vector}, hnsw_config=hnsw, wal_enabled=False, max_search_threads=1, optimizers=optimizers)
    return q.EdgeShard.create(path, config)


def fill(edge, base, fields):
    for name in fields:
        edge.update(q.UpdateOperation.create_field_index(name, q.PayloadSchemaType.Integer))
    for start in range(0, len(base), 5000):
        rows = range(start, min(start + 5000, len(base)))
        edge.update(q.UpdateOperation.upsert_points(
            [q.Point(i, {"v": base[i].tolist()}, {name: ranks[i] for name, ranks in fields.items()}) for i in rows]))
    edge.optimize()
    edge.flush()


def seconds(edge, requests, repeats=3):
    best = float("inf")
    for _ in range(repeats):
        start = time.process_time()
        for request in requests:
            edge.query(request)
        best = min(best, time.process_time() - start)
    return best


def main():
    data, export, name = sys.argv[1:4]
    quant = sys.argv[4] if len(sys.argv) > 4 else "none"
    efs = [int(ef) for ef in (sys.argv[5] if len(sys.argv) > 5 else "64,128").split(",")]
    folder, metric = SETS[name]
    base, queries = load(os.path.join(data, folder), "base"), load(os.path.join(data, folder), "queries")
    if metric == "cos":
        base /= np.maximum(np.linalg.norm(base, axis=1, keepdims=True), 1e-30)
        queries /= np.maximum(np.linalg.norm(queries, axis=1, keepdims=True), 1e-30)
    with open(os.path.join(export, name + ".fields.jsonl")) as file:
        fields = dict(json.loads(line) for line in file)
    with open(os.path.join(export, name + ".questions.json")) as file:
        cells = json.load(file)
    scratch = tempfile.mkdtemp(prefix="filters_")
    edge, tiny = shard(scratch + "/edge", base.shape[1], metric, quant), shard(scratch + "/tiny", base.shape[1], metric, quant)
    fill(edge, base, fields)
    fill(tiny, base[:1], fields)
    out = []
    for cell in cells:
        for ef in efs:
            quantization = None if quant == "none" else q.QuantizationSearchParams(ignore=False, rescore=True, oversampling=3.0 if quant == "tq4" else 1.0)
            params = q.SearchParams(hnsw_ef=ef, exact=False, quantization=quantization)
            requests = []
            for row, field, start, end, _ in cell["questions"]:
                condition = q.FieldCondition(key=field, range=q.RangeFloat(gte=float(start), lt=float(end)))
                requests.append(q.QueryRequest(limit=K, query=q.Query.Nearest(queries[row].tolist(), using="v"), params=params, filter=q.Filter(must=[condition])))
            found = wanted = 0
            for request, (row, _, _, _, truth) in zip(requests, cell["questions"]):
                rows = [point.id for point in edge.query(request)]
                score = lambda at: -np.sum((base[at] - queries[row]) ** 2, axis=1) if metric == "l2" else base[at] @ queries[row]
                bar = score(truth).min()
                found += int((score(rows) >= bar - 1e-5 * abs(bar)).sum()) if rows else 0
                wanted += len(truth)
            raw, overhead = seconds(edge, requests), seconds(tiny, requests)
            count = len(requests)
            result = dict(set=name, quant=quant, ef=ef, correlation=cell["correlation"], share=cell["share"], recall=found / wanted,
                          qps=round(count / max(raw - overhead, 1e-9)), qps_raw=round(count / raw), python_us=round(overhead / count * 1e6, 1))
            print("{set:>9} {quant:>5} {ef:>4} {correlation:>9} {share:>7} {recall:7.4f} {qps:>8} {qps_raw:>8}".format(**result), flush=True)
            out.append(result)
    if len(sys.argv) > 6:
        with open(sys.argv[6], "w") as file:
            json.dump(out, file, indent=1)
    edge.close()
    shutil.rmtree(scratch)


main()
