"""A root and eight leaves in network namespaces of their own: what it costs when one of them is killed, slow or busy.

    sudo python3 benches/fanout/fanout.py --cairn target/release/cairn --data DATA/cve

Every answer is compared with that of one process. Two roots, with hedging and without, are asked each query in turn. Needs root and iproute2;
delays are made by proxy.py, as netem is not in every kernel. Standard library only.
"""

import argparse
import http.client
import json
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

import space

HERE = pathlib.Path(__file__).parent
LEAVES = 8
SICK = 3
PREFIX = "cairn-leaf-"


def ip(*args, check=True):
    subprocess.run(["ip", *args], check=check, stdout=subprocess.DEVNULL, stderr=None if check else subprocess.DEVNULL)


class Leaf:
    """A server in a namespace, behind a proxy that delays it."""

    def __init__(self, number, options, folder):
        self.name, self.mode = f"{PREFIX}{number}", folder / f"mode-{number}"
        self.address, here = f"10.213.{number}.2", f"10.213.{number}.1"
        self.set("well")
        link = f"cairn{number}"
        ip("netns", "add", self.name)
        ip("link", "add", link, "type", "veth", "peer", "name", "leaf", "netns", self.name)
        ip("addr", "add", f"{here}/30", "dev", link)
        ip("link", "set", link, "up")
        for args in (("addr", "add", f"{self.address}/30", "dev", "leaf"), ("link", "set", "leaf", "up"), ("link", "set", "lo", "up")):
            ip("-n", self.name, *args)
        log = (folder / f"{self.name}.log").open("w")
        run = lambda *args: subprocess.Popen(["ip", "netns", "exec", self.name, *map(str, args)], stdout=log, stderr=log, start_new_session=True)
        cache = folder / f"cache-{number}"
        serve = ["serve", "--store", folder / "store", "--role", "leaf", "--cache-dir", cache, "--threads", 1, "--listen", "127.0.0.1:6333"]
        self.processes = [run(options.cairn, *serve), run(sys.executable, HERE / "proxy.py", self.address, 6400, 6333, self.mode, number, options.median_ms)]
        self.url = f"http://{self.address}:6400"

    def set(self, mode):
        self.mode.write_text(mode)

    def ready(self):
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                client = http.client.HTTPConnection(self.address, 6400, timeout=5)
                client.request("GET", "/healthz")
                if client.getresponse().status == 200:
                    return
            except OSError:
                time.sleep(0.1)
        raise SystemExit(f"{self.name} does not answer")

    def kill(self):
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                process.wait()

    def remove(self):
        self.kill()
        ip("netns", "del", self.name, check=False)


class Server(space.Server):
    def __init__(self, options, folder, name, more=()):
        arguments = ["--threads", "2", "--request-timeout", "30", *more]
        self.process = subprocess.Popen(
            [options.cairn, "serve", "--store", str(folder / "store"), "--cache-dir", str(folder / name), "--listen", "127.0.0.1:0", *arguments],
            stdout=subprocess.PIPE, stderr=(folder / f"{name}.log").open("w"), text=True,
        )
        for line in self.process.stdout:
            if " on http://" in line:
                host, port = line.split(" on http://")[1].split()[0].rsplit(":", 1)
                self.client = http.client.HTTPConnection(host, int(port), timeout=120)
                return
        raise SystemExit(f"{name} did not start")


def percentile(times, share):
    return sorted(times)[min(len(times) - 1, int(len(times) * share))]


def scenario(name, roots, bodies, expected, before=lambda at: None):
    times = {root: [] for root in roots}
    for at, (body, wanted) in enumerate(zip(bodies, expected)):
        before(at)
        for root, server in roots.items():
            started = time.perf_counter()
            points, usage = server.query(body)
            times[root].append((time.perf_counter() - started) * 1000)
            if points != wanted or usage["leaves_failed"]:
                raise SystemExit(f"{name}, {root}: query {at} is not answered as by one process")
    for root, took in times.items():
        p50, p99 = percentile(took, 0.5), percentile(took, 0.99)
        print(f"| {name} | {root} | {len(took)} of {len(bodies)} | {p50:.0f} | {p99:.0f} | {max(took):.0f} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cairn", required=True)
    parser.add_argument("--data", type=pathlib.Path, required=True, help="a folder with base.npy and queries.npy")
    parser.add_argument("--queries", type=int, default=300, help="per situation")
    parser.add_argument("--shards", type=int, default=32)
    parser.add_argument("--median-ms", type=float, default=20, help="of a leaf's delay; lognormal, sigma 0.5")
    options = parser.parse_args()
    leaves, servers = [], []
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        try:
            index = [options.cairn, "index", "--store", str(folder / "store"), "--collection", "c", "--distance", "cosine"]
            index += ["--input", str(options.data / "base.npy"), "--shards", str(options.shards)]
            subprocess.run(index, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            for number in range(LEAVES):
                leaves.append(Leaf(number, options, folder))
            for leaf in leaves:
                leaf.ready()
            named = ["--leaves", ",".join(leaf.url for leaf in leaves)]
            one = Server(options, folder, "one")
            roots = {"hedging": Server(options, folder, "root", named), "no hedging": Server(options, folder, "plain-root", [*named, "--no-hedging"])}
            servers += [one, *roots.values()]
            queries = space.npy_rows(options.data / "queries.npy")[: options.queries]
            # Every other query exactly, so that both kinds are compared.
            bodies = [{"query": query, "limit": 10, "params": {"exact": at % 2 == 0}} for at, query in enumerate(queries)]
            expected = [one.query(body)[0] for body in bodies]
            # Caches warm up, and roots learn how fast leaves are.
            for body in bodies[:20]:
                for root in roots.values():
                    root.query(body)
            print(f"{LEAVES} leaves, {options.shards} segments, delays of {options.median_ms:.0f} ms (median)\n")
            print("| situation | root | answers equal to one process's | p50, ms | p99, ms | slowest, ms |")
            print("|---|---|---|---|---|---|")
            scenario("all well", roots, bodies, expected)
            leaves[SICK].set("slow")
            scenario("one 10 times slower", roots, bodies, expected)
            leaves[SICK].set("busy")
            scenario("one answers 503", roots, bodies, expected)
            leaves[SICK].set("well")
            third = len(bodies) // 3
            scenario("one killed after a third", roots, bodies, expected, lambda at: leaves[SICK].kill() if at == third else None)
        finally:
            for server in servers:
                server.stop()
            for leaf in leaves:
                leaf.remove()


if __name__ == "__main__":
    main()
