"""The store as a process of its own, and what it counted."""

import http.client
import json
import os
import subprocess
import sys
import urllib.parse
from pathlib import Path

HERE = Path(__file__).resolve().parent


def before_others(priority=10):
    """Takes a core as soon as one is wanted, where this is allowed: what else runs on the machine is not what is measured."""
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(priority))
    except OSError:
        pass


class Store:
    """`store.py` over a directory. It stands for a network and for machines elsewhere, so it should not wait for a core."""

    def __init__(self, root, core=None):
        def before():
            if core is not None:
                os.sched_setaffinity(0, {core})
            before_others()

        command = [sys.executable, str(HERE / "store.py"), str(root)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=before)
        self.port = json.loads(self.process.stdout.readline())["port"]
        self.url = f"http://127.0.0.1:{self.port}"

    def _ask(self, path):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request("GET", path)
        answer = json.loads(connection.getresponse().read())
        connection.close()
        return answer

    def reset(self, seed, **pace):
        """Begins a run: counts from zero, with the delays of `seed`."""
        self._ask("/-/reset?" + urllib.parse.urlencode({"seed": seed, **pace}))

    def counts(self):
        return self._ask("/-/counts")

    def close(self):
        self.process.terminate()
        self.process.wait()
        self.process.stdout.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
