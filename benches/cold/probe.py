"""Measures the store itself: what it adds to a request, whether its delays are the ones it means, and whether it can deliver its bandwidth."""

import argparse
import json
import socket
import statistics
import tempfile
import threading
import time
from pathlib import Path

import far

FILE_BYTES = 64 << 20


class Client:
    """One connection that reads and drops."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.buffer = bytearray(1 << 20)

    def get(self, path, first, last):
        """Seconds to the first byte, and to the last."""
        begun = time.perf_counter()
        self.socket.sendall(f"GET {path} HTTP/1.1\r\nhost: x\r\nrange: bytes={first}-{last}\r\n\r\n".encode())
        head, wanted = b"", last - first + 1
        while b"\r\n\r\n" not in head:
            head += self.socket.recv(1 << 16)
            if len(head) == 0:
                raise ConnectionError("closed")
        first_s = time.perf_counter() - begun
        got = len(head) - head.index(b"\r\n\r\n") - 4
        while got < wanted:
            got += self.socket.recv_into(self.buffer)
        return first_s, time.perf_counter() - begun


def bandwidth(store, connections, bytes_):
    """Megabytes per second of all, when every connection reads so many bytes at once."""
    clients = [Client(store.port) for _ in range(connections)]
    # Connections are made; from here on bytes count.
    threads = [threading.Thread(target=client.get, args=("/b/file", 0, bytes_ - 1)) for client in clients]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return connections * bytes_ / 1e6 / (time.perf_counter() - begun)


def quantiles(values):
    ordered = sorted(values)
    return {name: round(ordered[min(int(len(ordered) * q), len(ordered) - 1)] * 1e3, 3) for name, q in (("p50", 0.5), ("p99", 0.99))}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--core", type=int, help="for the store")
    args = parser.parse_args()
    far.before_others(5)
    with tempfile.TemporaryDirectory() as root:
        (Path(root) / "b").mkdir()
        (Path(root) / "b" / "file").write_bytes(bytes(FILE_BYTES))
        with far.Store(root, args.core) as store:
            found = {}
            client = Client(store.port)
            store.reset(1, p50_ms=0, connection_mb_s=0, total_mb_s=0)
            found["request without delays, ms"] = quantiles([client.get("/b/file", 0, 4_095)[1] for _ in range(1_000)])
            found["16 connections without pace, MB/s"] = round(statistics.median(bandwidth(store, 16, 32 << 20) for _ in range(3)))
            store.reset(1, p50_ms=0, connection_mb_s=80, total_mb_s=600)
            for connections in (1, 4, 16):
                name = f"{connections} connections at 80 MB/s, 600 MB/s in all, MB/s"
                found[name] = round(statistics.median(bandwidth(store, connections, 16 << 20) for _ in range(3)))
            store.reset(1, p50_ms=0, connection_mb_s=80, total_mb_s=78)
            found["4 connections, 78 MB/s in all, MB/s"] = round(bandwidth(store, 4, 8 << 20))
            store.reset(1, p50_ms=30, p99_ms=120, total_mb_s=600)
            seen = [client.get("/b/file", 0, 4_095)[0] for _ in range(300)]
            drawn = [one["drawn_s"] for one in store.counts()["requests"]]
            found["first byte, ms"] = quantiles(seen)
            found["beyond what was drawn, ms"] = quantiles([a - b for a, b in zip(seen, drawn)])
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
