"""What it takes until points are stored and searchable: Cairn's server and qdrant-edge, the same points in batches of 1,000, in turn.

    pip install qdrant-client==1.19.* qdrant-edge-py==0.9.0 numpy
    python upload.py CAIRN DATA_FOLDER [SET,SET] [ROUNDS] [OUT.json]

CAIRN is the release binary, over a new local directory; its indexer runs beside it. Three clocks: `stored`, until the last batch is acknowledged (in
Cairn's case durable, in its log); `searchable`, the same, because the log and qdrant-edge's plain segments are searched exactly; `indexed`, until all
points are in graphs (`cairn compact --force` after the last batch; `optimize`). qdrant-edge is a library in this process, given points that were made before the
clock starts, with its write-ahead log and flushed at the end. Cairn is given points in two ways: bodies of HTTP requests that were made before the clock
starts over one connection, and by `QdrantClient.upload_points`, which makes them from the same arrays while the clock runs.
"""
import gzip, http.client, json, os, shutil, socket, statistics, subprocess, sys, tempfile, time

import numpy as np

BATCH = 1_000
SETS = {"cve": ("cve", "Cosine"), "mnist": ("mnist-784-euclidean", "Euclid"), "movies": ("movies", "Cosine"), "products": ("products", "Cosine")}


def load(folder):
    path = os.path.join(folder, "base.npy")
    if os.path.exists(path):
        return np.load(path).astype(np.float32)
    with gzip.open(path + ".gz") as file:
        return np.load(file).astype(np.float32)


def batches(count):
    return [range(start, min(start + BATCH, count)) for start in range(0, count, BATCH)]


class Server:
    """`cairn serve` over a new directory, with one empty collection."""

    def __init__(self, cairn, dim, distance):
        self.folder = tempfile.mkdtemp(prefix="upload_")
        self.store = os.path.join(self.folder, "store")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.cairn = cairn
        command = [cairn, "serve", "--store", self.store, "--listen", f"127.0.0.1:{self.port}"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.wait()
        vectors = {"size": dim, "distance": distance}
        self.ask(self.connection(), "PUT", "/collections/c", json.dumps({"vectors": vectors}))

    def connection(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)

    def wait(self):
        end = time.monotonic() + 60
        while True:
            try:
                return self.ask(self.connection(), "GET", "/readyz")
            except OSError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.05)

    @staticmethod
    def ask(connection, method, path, body=None):
        connection.request(method, path, body, {"content-type": "application/json"})
        response = connection.getresponse()
        text = response.read()
        if response.status != 200:
            raise RuntimeError(f"{method} {path}: {response.status} {text[:300]}")
        return text

    def put(self, connection, body):
        """One batch; waits as long as it is told to where the log is full. How often that was."""
        refused = 0
        while True:
            connection.request("PUT", "/collections/c/points?wait=true", body, {"content-type": "application/json"})
            response = connection.getresponse()
            text = response.read()
            if response.status == 200:
                return refused
            if response.status != 429:
                raise RuntimeError(f"{response.status} {text[:300]}")
            refused += 1
            time.sleep(float(response.headers["retry-after"]))

    def compact(self):
        subprocess.run([self.cairn, "compact", "--store", self.store, "c", "--force"], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def check(self, count):
        found = json.loads(self.ask(self.connection(), "POST", "/collections/c/points/count", '{"exact": true}'))["result"]["count"]
        assert found == count, (found, count)

    def close(self):
        self.process.terminate()
        self.process.wait()
        shutil.rmtree(self.folder)


def measured(count, start, stored, indexed):
    return {"stored_s": stored - start, "indexed_s": indexed - start, "stored_per_s": count / (stored - start), "indexed_per_s": count / (indexed - start)}


def bodies(cairn, base, distance):
    made = [json.dumps({"points": [{"id": i, "vector": base[i].tolist(), "payload": {"n": i % 100}} for i in rows]}) for rows in batches(len(base))]
    server = Server(cairn, base.shape[1], distance)
    try:
        connection = server.connection()
        start = time.perf_counter()
        refused = sum(server.put(connection, body) for body in made)
        stored = time.perf_counter()
        server.compact()
        indexed = time.perf_counter()
        server.check(len(base))
        return {**measured(len(base), start, stored, indexed), "refused": refused}
    finally:
        server.close()


def client(cairn, base, distance):
    from qdrant_client import QdrantClient, models

    server = Server(cairn, base.shape[1], distance)
    try:
        qdrant = QdrantClient(url=f"http://127.0.0.1:{server.port}", timeout=600, check_compatibility=False)
        start = time.perf_counter()
        points = (models.PointStruct(id=i, vector=base[i].tolist(), payload={"n": i % 100}) for i in range(len(base)))
        qdrant.upload_points("c", points, batch_size=BATCH, wait=True, max_retries=100)
        stored = time.perf_counter()
        server.compact()
        indexed = time.perf_counter()
        server.check(len(base))
        return measured(len(base), start, stored, indexed)
    finally:
        server.close()


def edge(_, base, distance):
    import qdrant_edge as q

    folder = tempfile.mkdtemp(prefix="upload_")
    try:
        hnsw = q.HnswIndexConfig(m=16, ef_construct=100, full_scan_threshold=10000, max_indexing_threads=2)
        vector = q.EdgeVectorParams(size=base.shape[1], distance=getattr(q.Distance, distance), hnsw_config=hnsw)
        optimizers = q.EdgeOptimizersConfig(default_segment_number=1, indexing_threshold=1, max_segment_size=1 << 40)
        config = q.EdgeConfig(vectors={"v": vector}, hnsw_config=hnsw, max_search_threads=1, optimizers=optimizers)
        path = os.path.join(folder, "edge")
        os.makedirs(path)
        shard = q.EdgeShard.create(path, config)
        made = [q.UpdateOperation.upsert_points([q.Point(i, {"v": base[i].tolist()}, {"n": i % 100}) for i in rows]) for rows in batches(len(base))]
        start = time.perf_counter()
        for batch in made:
            shard.update(batch)
        shard.flush()
        stored = time.perf_counter()
        shard.optimize()
        shard.flush()
        indexed = time.perf_counter()
        return measured(len(base), start, stored, indexed)
    finally:
        shutil.rmtree(folder)


CONTESTANTS = {"cairn, bodies made before": bodies, "cairn, upload_points": client, "qdrant-edge": edge}


def main():
    cairn, data = sys.argv[1:3]
    sets = (sys.argv[3] if len(sys.argv) > 3 else "cve").split(",")
    rounds = int(sys.argv[4]) if len(sys.argv) > 4 else 3
    found = {}
    for name in sets:
        folder, distance = SETS[name]
        base = load(os.path.join(data, folder))
        runs = {contestant: [] for contestant in CONTESTANTS}
        for _ in range(rounds):
            for contestant, run in CONTESTANTS.items():
                runs[contestant].append(run(cairn, base, distance))
                print(name, contestant, json.dumps(runs[contestant][-1]), flush=True)
        found[name] = {"points": len(base), "dimensions": base.shape[1], "runs": runs}
        print(f"\n{name}: {len(base)} x {base.shape[1]}, median of {rounds} (least, most)\n\n| | points a second stored | indexed |\n|---|---|---|")
        for contestant, all_runs in runs.items():
            cells = []
            for key in ("stored_per_s", "indexed_per_s"):
                values = [run[key] for run in all_runs]
                cells.append(f"{statistics.median(values):,.0f} ({min(values):,.0f}, {max(values):,.0f})")
            print(f"| {contestant} | {' | '.join(cells)} |")
    if len(sys.argv) > 5:
        with open(sys.argv[5], "w") as out:
            json.dump(found, out, indent=1)


main()
