"""Starts a Lambda function's program again and again and times it, as the Runtime API sees it.

usage: cold_init.py FOLDER DEMO RUNS NAME=COMMAND...      FOLDER/store has the collection cve; see run

Two moments, in milliseconds after the process was started: when it asks for its first event (its initialisation is over: what Lambda
reports as Init Duration), and when its first answer is there. Processor time does not depend on what else the machine does. The first event is a health check or a search.
"""

import ast
import http.server
import json
import os
import pathlib
import shlex
import shutil
import statistics
import struct
import subprocess
import sys
import threading
import time

NEXT = "/2018-06-01/runtime/invocation/next"
PATIENCE_S = 60


class Runtime(http.server.BaseHTTPRequestHandler):
    """Lambda's side: one event, then silence."""

    protocol_version = "HTTP/1.1"
    event, asked_s, answered_s, answer = None, None, None, None
    done = threading.Event()

    def do_GET(self):
        if self.path != NEXT or Runtime.asked_s is not None:
            Runtime.done.wait(PATIENCE_S)
            self.close_connection = True
            return
        Runtime.asked_s = time.monotonic()
        body = json.dumps(Runtime.event).encode()
        self.send_response(200)
        deadline_ms = int(time.time() * 1000) + 60_000
        for name, value in {
            "content-type": "application/json", "content-length": str(len(body)), "lambda-runtime-aws-request-id": "1",
            "lambda-runtime-deadline-ms": str(deadline_ms), "lambda-runtime-trace-id": "Root=1-0-0",
            "lambda-runtime-invoked-function-arn": "arn:aws:lambda:eu-central-1:0:function:searcher",
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        length = self.headers.get("content-length")
        if length is not None:
            body = self.rfile.read(int(length))
        else:
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        Runtime.answered_s, Runtime.answer = time.monotonic(), json.loads(body)
        self.send_response(202)
        self.send_header("content-length", "0")
        self.end_headers()
        Runtime.done.set()

    def log_message(self, *_):
        pass


def event(method, path, body=""):
    """A function URL's request."""
    http_part = {"method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1", "userAgent": "x"}
    context = {
        "accountId": "0", "apiId": "x", "domainName": "x.lambda-url.eu-central-1.on.aws", "domainPrefix": "x", "http": http_part,
        "requestId": "1", "routeKey": "$default", "stage": "$default", "time": "01/Jan/2026:00:00:00 +0000", "timeEpoch": 0,
    }
    return {
        "version": "2.0", "routeKey": "$default", "rawPath": path, "rawQueryString": "", "requestContext": context,
        "headers": {"content-type": "application/json", "host": context["domainName"]}, "body": body, "isBase64Encoded": False,
    }


def first_query(demo):
    with open(demo / "queries.npy", "rb") as file:
        file.seek(8)
        header = ast.literal_eval(file.read(struct.unpack("<H", file.read(2))[0]).decode())
        size, kind = header["shape"][1], {"<f4": "f", "<f2": "e"}[header["descr"]]
        return struct.unpack(f"<{size}{kind}", file.read(size * int(header["descr"][2])))


def once(command, first, folder, url):
    """Milliseconds to the first poll and to the first answer, and of processors in all."""
    shutil.rmtree(folder / "cache", ignore_errors=True)
    Runtime.event, Runtime.asked_s, Runtime.answer = first, None, None
    Runtime.done.clear()
    environment = {
        "PATH": os.environ["PATH"], "AWS_LAMBDA_RUNTIME_API": url, "AWS_LAMBDA_FUNCTION_NAME": "searcher",
        "AWS_LAMBDA_FUNCTION_VERSION": "1", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1769", "AWS_LAMBDA_LOG_GROUP_NAME": "x",
        "AWS_LAMBDA_LOG_STREAM_NAME": "x", "CAIRN_STORE": str(folder / "store"), "CAIRN_CACHE_DIR": str(folder / "cache"),
    }
    log = open(folder / "log", "wb")
    started_s = time.monotonic()
    process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        if not Runtime.done.wait(PATIENCE_S):
            sys.exit(f"{command}: no answer in {PATIENCE_S} s:\n{(folder / 'log').read_text()}")
    finally:
        process.kill()
        _, process.returncode, used = os.wait4(process.pid, 0)
        log.close()
    if Runtime.answer.get("statusCode") != 200:
        sys.exit(f"{command}: {Runtime.answer}")
    cpu_s = used.ru_utime + used.ru_stime
    return tuple(seconds * 1e3 for seconds in (Runtime.asked_s - started_s, Runtime.answered_s - started_s, cpu_s))


def main():
    folder, demo, runs = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), int(sys.argv[3])
    programs = [pair.split("=", 1) for pair in sys.argv[4:]]
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Runtime)
    server.daemon_threads = True
    # Killed processes leave their connections open.
    server.handle_error = lambda *_: None
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    body = json.dumps({"query": first_query(demo), "limit": 10, "with_payload": True})
    firsts = {"health check": event("GET", "/healthz"), "search": event("POST", "/collections/cve/points/query", body)}
    times = {}
    # In turn, so that whatever else the machine does meets all of them.
    for _ in range(runs):
        for name, command in programs:
            for what, first in firsts.items():
                times.setdefault((name, what), []).append(once(shlex.split(command), first, folder, url))
    print("| program | bytes | first event | ready, median (min) | answered, median (min) | CPU, median (min) |")
    print("|---|---|---|---|---|---|")
    for (name, what), measured in times.items():
        size = os.path.getsize(shlex.split(dict(programs)[name])[-1])
        cells = [f"{statistics.median(some):.1f} ms ({min(some):.1f})" for some in zip(*measured)]
        print(f"| {name} | {size:,} | {what} | {' | '.join(cells)} |")


main()
