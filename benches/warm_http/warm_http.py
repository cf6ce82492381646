"""Warm searches through HTTP: requests per second, percentiles, and where the time goes. See README.md."""

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
LISTENS = re.compile(rb"on (http://[0-9.]+:[0-9]+)")
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def parsed():
    parser = argparse.ArgumentParser(prog="benches/warm_http/run", description=__doc__)
    parser.add_argument("set", help="folder of base.npy and queries.npy")
    parser.add_argument("--distance", default="cosine", help="[cosine]")
    parser.add_argument("--clients", default="1,8,64", help="connections [1,8,64]")
    parser.add_argument("--rounds", type=int, default=5, help="times that everything is measured, in turn [5]")
    parser.add_argument("--seconds", type=int, default=3, help="each time [3]")
    parser.add_argument("--serve", action="append", help="further arguments of `cairn serve` as NAME=ARGUMENTS; several are measured in turn")
    parser.add_argument("--params", default="{}", help='of the searches, such as {"hnsw_ef": 64} [{}]')
    parser.add_argument("--cairn", default=str(ROOT / "target/release/cairn"), help="the binary [target/release/cairn]")
    parser.add_argument("--out", default=str(ROOT / "target/warm_http"), help="collection and results [target/warm_http]")
    return parser.parse_args()


class Server:
    """`cairn serve` over a local directory, with a cache of its own."""

    def __init__(self, name, more, args, store):
        self.name = name
        self.cache = tempfile.mkdtemp(prefix="cache_", dir=args.out)
        command = [args.cairn, "serve", "--store", str(store), "--listen", "127.0.0.1:0", "--cache-dir", self.cache, "--log", "error", *more.split()]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE)
        found = LISTENS.search(self.process.stdout.readline())
        if found is None:
            raise SystemExit(f"{name}: cairn serve ended with {self.process.wait()}")
        self.url = found[1].decode()

    def post(self, path, body):
        request = urllib.request.Request(self.url + path, json.dumps(body).encode(), {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read())

    def cpu_s(self):
        """Processor time that the process has taken, kernel's included."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_PER_S

    def stop(self):
        self.process.terminate()
        self.process.wait()
        self.process.stdout.close()
        shutil.rmtree(self.cache, ignore_errors=True)


def collection(args, store):
    if not (store / "collections/cve/collection.json").exists():
        command = [args.cairn, "index", "--store", store, "--collection", "cve", "--input", Path(args.set) / "base.npy", "--distance", args.distance]
        subprocess.run([str(part) for part in command], check=True)


def cases(args):
    """What is asked, from nothing to everything: name, path, file of bodies."""
    queries = np.load(Path(args.set) / "queries.npy").astype(np.float32)
    numbers = [json.dumps([float(f"{value:.7g}") for value in query]) for query in queries]
    points = "/collections/cve/points"
    params = json.dumps(json.loads(args.params))
    search = [f'{{"query": {vector}, "limit": 10, "params": {params}}}' for vector in numbers]
    explain = [f'{{"query": {vector}, "limit": 10, "explain": true}}' for vector in numbers]
    found = [("health", "/healthz", None)]
    for name, path, bodies in [("count", f"{points}/count", ["{}"]), ("explain", f"{points}/query", explain), ("search", f"{points}/query", search)]:
        file = Path(args.out) / f"{name}.jsonl"
        file.write_text("\n".join(bodies) + "\n")
        found.append((name, path, file))
    return found


def wrk(server, path, bodies, clients, seconds):
    """One measurement, with the server's processor time for each answer."""
    environment = {**os.environ, "CAIRN_PATH": path} | ({"CAIRN_BODIES": str(bodies)} if bodies else {})
    # One thread: it does little, and the machine's other cores are the server's.
    command = ["wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "--latency", "-s", str(HERE / "query.lua"), server.url]
    before = server.cpu_s()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    cpu_s = server.cpu_s() - before
    figures = json.loads(done.stdout.splitlines()[-1])
    if figures["refused"] or figures["errors"] or not figures["answered"]:
        raise SystemExit(f"{path}: {figures}\n{done.stdout}")
    return figures | {"qps": figures["answered"] / figures["seconds"], "cpu_us": cpu_s * 1e6 / figures["answered"]}


def spread(values, form="{:,.0f}"):
    low, middle, high = (form.format(value) for value in (min(values), statistics.median(values), max(values)))
    return f"{middle} ({low} to {high})"


def main():
    args = parsed()
    store = Path(args.out) / "store"
    store.mkdir(parents=True, exist_ok=True)
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is needed (Debian: apt install wrk)")
    collection(args, store)
    asked = cases(args)
    servers = []
    results = {}
    try:
        for one in args.serve or ["cairn serve="]:
            name, _, more = one.partition("=")
            servers.append(Server(name, more, args, store))
        for server in servers:
            with asked[-1][2].open() as file:
                for line in file:
                    server.post(asked[-1][1], json.loads(line))
        for _ in range(args.rounds):
            for clients in map(int, args.clients.split(",")):
                for name, path, bodies in asked:
                    for server in servers:
                        figures = wrk(server, path, bodies, clients, args.seconds)
                        results.setdefault((server.name, clients, name), []).append(figures)
    finally:
        for server in servers:
            server.stop()
    print("| server | clients | request | per second | p50 us | p99 us | server us, mean | search us, mean | server beside search, p50 us | processor us |")
    print("|" + "---|" * 10)
    for (server, clients, name), runs in results.items():
        cells = [spread([run[key] for run in runs]) for key in ("qps", "p50_us", "p99_us", "server_us", "search_us", "beside_us", "cpu_us")]
        print(f"| {server} | {clients} | {name} | {' | '.join(cells)} |")
    with (Path(args.out) / "results.jsonl").open("a") as file:
        for (server, clients, name), runs in results.items():
            file.write(json.dumps({"when": time.time(), "server": server, "clients": clients, "request": name, "runs": runs}) + "\n")


if __name__ == "__main__":
    sys.exit(main())
