"""Who answers from nothing: a fresh process each time, asked over the store's delays."""

import http.client
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import far

HERE = Path(__file__).resolve().parent
KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "us-east-1"}
LISTENS = re.compile(rb"on http://([0-9.]+):([0-9]+)")


def favoured(options):
    """Before a contestant's process begins: on its core, and before other programs where this is asked for."""

    def before():
        if options.core is not None:
            os.sched_setaffinity(0, {options.core})
        if options.before_others:
            far.before_others(5)

    return before


class Cairn:
    """`cairn serve` with an empty cache, asked over HTTP."""

    def __init__(self, name, collection, params, options):
        self.name, self.collection, self.params, self.options = name, collection, params, options

    def start(self, store):
        self.cache = tempfile.mkdtemp(prefix="cold_", dir=self.options.scratch)
        command = [self.options.cairn, "serve", "--store", "s3://cairn", "--s3-endpoint", store.url, "--listen", "127.0.0.1:0"]
        command += ["--no-hedge"] if self.name.endswith("-unhedged") else []
        command += ["--no-hydration", "--cache-dir", self.cache, "--log", self.options.log]
        begun = time.perf_counter()
        self.errors = open(Path(self.options.out) / "cairn.log", "ab")
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=self.errors, env={**os.environ, **KEYS}, preexec_fn=favoured(self.options)
        )
        address = LISTENS.search(self.process.stdout.readline())
        if address is None:
            raise SystemExit(f"cairn ended with {self.process.wait()}; see {self.errors.name}")
        self.address = (address[1].decode(), int(address[2]))
        self.connection = None
        return time.perf_counter() - begun

    def ask(self, vector, k):
        """Ids, seconds as the client sees them, and what the answer says that it took."""
        body = json.dumps({"query": vector.tolist(), "limit": k, "with_payload": False, "params": self.params})
        if self.connection is None:
            self.connection = http.client.HTTPConnection(*self.address, timeout=120)
        begun = time.perf_counter()
        path = f"/collections/{self.collection}/points/query"
        self.connection.request("POST", path, body, {"content-type": "application/json"})
        answer = json.loads(self.connection.getresponse().read())
        seconds = time.perf_counter() - begun
        if "result" not in answer:
            raise SystemExit(f"{self.name}: {answer}")
        return [point["id"] for point in answer["result"]["points"]], seconds, answer.get("usage", {})

    def stop(self):
        self.process.terminate()
        self.process.wait()
        self.process.stdout.close()
        self.errors.close()
        if self.connection:
            self.connection.close()
        shutil.rmtree(self.cache, ignore_errors=True)


class Lance:
    """LanceDB in a process of its own; its imports are not counted, connecting and opening the table are."""

    def __init__(self, name, table, knobs, options):
        self.name, self.table, self.knobs, self.options = name, table, knobs, options

    def start(self, store):
        arguments = [json.dumps({"endpoint": store.url, "table": self.table, **self.knobs}), str(self.options.queries)]
        begun = time.perf_counter()
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "lance.py"), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **KEYS},
            preexec_fn=favoured(self.options),
        )
        if self.process.stdout.readline() != "ready\n":
            raise SystemExit(f"{self.name} ended with {self.process.wait()}")
        return time.perf_counter() - begun

    def ask(self, row, k):
        self.process.stdin.write(json.dumps({"row": row, "k": k}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name} ended with {self.process.wait()}")
        answer = json.loads(line)
        return answer["ids"], answer["seconds"], {}

    def stop(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()
