"""What partitioning by space saves and costs: recall@10 against the share of segments that are searched.

    python3 benches/fanout/space.py --cairn target/release/cairn --data DATA --sets cve,products --shards 16,64

Indexes each set by space into a directory of its own, serves it, and asks every query at several recalls; the truth is the same server's
exact search. What it searches is counted by `usage`, so that the figures do not depend on the machine's speed. Standard library only.
"""

import argparse
import http.client
import json
import pathlib
import struct
import subprocess
import tempfile
import time

K = 10


def npy_rows(path):
    """Rows of a .npy of float16 or float32, as lists."""
    raw = path.read_bytes()
    length = struct.unpack("<H", raw[8:10])[0]
    header = raw[10 : 10 + length].decode()
    shape = header.split("(")[1].split(")")[0].split(",")
    rows, dim = int(shape[0]), int(shape[1])
    code = {"<f2": "e", "<f4": "f"}[header.split("'descr': '")[1].split("'")[0]]
    values = struct.unpack(f"<{rows * dim}{code}", raw[10 + length :])
    return [values[row * dim : (row + 1) * dim] for row in range(rows)]


class Server:
    def __init__(self, cairn, store, cache):
        self.process = subprocess.Popen(
            [cairn, "serve", "--store", store, "--cache-dir", cache, "--listen", "127.0.0.1:0"],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for line in self.process.stdout:
            if " on http://" in line:
                host, port = line.split(" on http://")[1].split()[0].rsplit(":", 1)
                self.client = http.client.HTTPConnection(host, int(port), timeout=120)
                return
        raise SystemExit("the server did not start")

    def query(self, body):
        self.client.request("POST", "/collections/c/points/query", json.dumps(body), {"content-type": "application/json"})
        reply = self.client.getresponse()
        answer = json.loads(reply.read())
        if reply.status != 200:
            raise SystemExit(f"{reply.status}: {answer}")
        return answer["result"]["points"], answer["usage"]["cairn"]

    def stop(self):
        self.process.terminate()
        self.process.wait()


def measure(server, queries, truth, params):
    found = searched = skipped = scored = 0
    for query, worst in zip(queries, truth):
        points, usage = server.query({"query": query, "limit": K, "params": params})
        # As near as the true tenth counts, so that duplicates in the data do not look like misses.
        found += sum(point["score"] >= worst - 1e-6 for point in points)
        searched += usage["segments"]
        skipped += usage["segments_skipped"]
        scored += usage["vectors_scored"]
    return found / (K * len(queries)), searched / (searched + skipped), scored / len(queries)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cairn", required=True)
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--sets", default="cve,products")
    parser.add_argument("--shards", default="16,64")
    parser.add_argument("--queries", type=int, default=500, help="the first N queries")
    options = parser.parse_args()
    print("| set | shards | largest / mean | recall asked for | segments searched | recall@10 | distances |")
    print("|---|---|---|---|---|---|---|")
    for name in options.sets.split(","):
        queries = npy_rows(options.data / name / "queries.npy")[: options.queries]
        for shards in options.shards.split(","):
            with tempfile.TemporaryDirectory() as folder:
                store = f"{folder}/store"
                index = [options.cairn, "index", "--store", store, "--collection", "c", "--distance", "cosine", "--json"]
                index += ["--input", str(options.data / name / "base.npy"), "--partition", "space", "--shards", shards]
                started = time.monotonic()
                subprocess.run(index, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                took = time.monotonic() - started
                document = json.loads(pathlib.Path(f"{store}/collections/c/collection.json").read_text())
                sizes = [sum(entry["points"] for entry in shard["segments"]) for shard in document.get("manifests") or []]
                balance = f"{max(sizes) * len(sizes) / sum(sizes):.2f}" if sizes else "?"
                server = Server(options.cairn, store, f"{folder}/cache")
                try:
                    truth = [server.query({"query": query, "limit": K, "params": {"exact": True}})[0][-1]["score"] for query in queries]
                    for recall in (0.8, 0.9, None, 0.95, 0.98, 0.99):
                        recall_found, share, scored = measure(server, queries, truth, {} if recall is None else {"recall": recall})
                        shown = "none (0.95, at most half)" if recall is None else recall
                        print(f"| {name} | {shards} | {balance} | {shown} | {100 * share:.1f}% | {recall_found:.4f} | {scored:,.0f} |", flush=True)
                finally:
                    server.stop()
                print(f"    {name}, {shards} shards: indexed in {took:.1f} s, collection.json {len(json.dumps(document)):,} bytes", flush=True)


if __name__ == "__main__":
    main()
