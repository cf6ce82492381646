"""Asks a server whose memory and disk are smaller than its collection, over a far store, and records what it took.

    budgets.py FOLDER STORE COLLECTION [--memory-mb 512] [--disk-mb 512] [--cgroup PATH] [--cache-in DIR]

FOLDER has queries.npy and gt100.npy; STORE is the folder above the bucket `cairn`, whose COLLECTION was indexed from FOLDER's base.npy. With --cgroup, a memory
group of version 1 is made below that one, the server runs in it with --memory-mb as its limit, and it is removed at the end.
The store answers as in benches/cold: first byte p50 30 ms, p99 120 ms, 80 MB/s a connection, 600 MB/s in all.
"""

import argparse
import http.client
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benches/cold"))
import far  # noqa: E402

KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "us-east-1"}
K = 10


def parsed():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set")
    parser.add_argument("store")
    parser.add_argument("collection")
    parser.add_argument("--memory-mb", type=int, default=512)
    parser.add_argument("--disk-mb", type=int, default=512)
    parser.add_argument("--cgroup", help="a memory group of version 1 to make one below, such as this process's own")
    parser.add_argument("--queries", type=int, default=100, help="queries that name nothing [100]")
    parser.add_argument("--exact", type=int, default=5, help="queries over whole files, and exact ones [5]")
    parser.add_argument("--cache-in", help="where to make the cache directory: a file system of the disk's size [STORE]")
    parser.add_argument("--cairn", default=str(ROOT / "target/release/cairn"))
    return parser.parse_args()


class Watch(threading.Thread):
    """The most memory of a process, and the most bytes in its cache directory, by looking often."""

    def __init__(self, pid, cache):
        super().__init__(daemon=True)
        self.pid, self.cache, self.most = pid, Path(cache), {"VmHWM": 0, "RssAnon": 0, "disk": 0}

    def run(self):
        while True:
            try:
                status = Path(f"/proc/{self.pid}/status").read_text()
            except OSError:
                return
            for name in ("VmHWM", "RssAnon"):
                found = re.search(rf"^{name}:\s+(\d+) kB", status, re.M)
                if found:
                    self.most[name] = max(self.most[name], int(found[1]) * 1024)
            kept = 0
            for file in self.cache.rglob("*"):
                try:
                    kept += file.stat().st_blocks * 512 if file.is_file() else 0
                except OSError:
                    pass
            self.most["disk"] = max(self.most["disk"], kept)
            time.sleep(0.02)


class Group:
    """A memory group of version 1, or none."""

    def __init__(self, above, bytes_max):
        self.path = Path(above) / "cairn_budgets" if above else None
        if self.path:
            self.path.mkdir()
            (self.path / "memory.limit_in_bytes").write_text(str(bytes_max))

    def enter(self):
        if self.path:
            (self.path / "cgroup.procs").write_text(str(os.getpid()))

    def said(self):
        if not self.path:
            return "no control group"
        read = lambda name: (self.path / name).read_text().strip()  # noqa: E731
        limit, most, full = read("memory.limit_in_bytes"), read("memory.max_usage_in_bytes"), read("memory.failcnt")
        return f"control group: limit {limit}, most {most} with pages of files, {full} times full; {read('memory.oom_control')!r}"

    def remove(self):
        if self.path:
            self.path.rmdir()


def ask(address, path, body):
    connection = http.client.HTTPConnection(*address, timeout=300)
    begun = time.perf_counter()
    connection.request("POST", path, json.dumps(body), {"content-type": "application/json"})
    answer = json.loads(connection.getresponse().read())
    connection.close()
    if "result" not in answer:
        raise SystemExit(f"{path}: {answer}")
    return answer, time.perf_counter() - begun


def asked(name, address, args, rows, params):
    queries, truth = np.load(Path(args.set) / "queries.npy"), np.load(Path(args.set) / "gt100.npy")
    ms, recalls, waves, gets, mb = [], [], [], [], []
    for row in rows:
        body = {"query": queries[row].astype(np.float32).tolist(), "limit": K, "params": params}
        answer, seconds = ask(address, f"/collections/{args.collection}/points/query", body)
        ids = {point["id"] for point in answer["result"]["points"]}
        usage = answer["usage"]["cairn"]
        ms.append(seconds * 1e3)
        recalls.append(len(ids & set(truth[row, :K].tolist())) / K)
        waves.append(usage["waves"])
        gets.append(usage["gets"])
        mb.append(usage["store_bytes"] / 1e6)
    middle = statistics.median
    print(f"{name}: {len(ms)} queries, recall@10 {statistics.mean(recalls):.3f} (least {min(recalls):.1f}), ms p50 {middle(ms):.0f} most {max(ms):.0f}, "
          f"waves {middle(waves):g} ({max(waves)}), GETs {middle(gets):g} ({max(gets)}), MB {middle(mb):.1f} ({max(mb):.1f})", flush=True)


def main():
    args = parsed()
    group = Group(args.cgroup, args.memory_mb << 20)
    with far.Store(Path(args.store), None) as store, tempfile.TemporaryDirectory(dir=args.cache_in or args.store) as cache:
        store.reset(1)
        command = [args.cairn, "serve", "--store", "s3://cairn", "--s3-endpoint", store.url, "--listen", "127.0.0.1:0", "--cache-dir", cache]
        command += ["--memory", f"{args.memory_mb}MiB", "--cache-bytes", f"{args.disk_mb}MB", "--log", "warn"]
        print(" ".join(command))
        server = subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, **KEYS}, preexec_fn=group.enter)
        try:
            found = re.search(rb"on http://([0-9.]+):([0-9]+)", server.stdout.readline())
            address = (found[1].decode(), int(found[2]))
            watch = Watch(server.pid, cache)
            watch.start()
            rows = len(np.load(Path(args.set) / "queries.npy", mmap_mode="r"))
            count, _ = ask(address, f"/collections/{args.collection}/points/count", {"exact": True})
            print(f"{count['result']['count']} points")
            asked("default", address, args, range(min(args.queries, rows)), {})
            asked("whole files", address, args, range(min(args.exact, rows)), {"plan": "whole"})
            asked("exact", address, args, range(min(args.exact, rows)), {"exact": True})
            print(", ".join(f"{name} {most / 1e6:.1f} MB" for name, most in watch.most.items()))
            print(group.said(), "; the server", "runs" if server.poll() is None else f"ended with {server.poll()}")
        finally:
            server.terminate()
            server.wait()
            group.remove()


if __name__ == "__main__":
    main()
