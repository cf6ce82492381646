"""One peer on one set, in a process of its own that stays up between passes: `worker.py DATA SET PEER FOLDER OPTIONS`.

Reads one JSON command per line, answers with one JSON line: {"do": "build"}, {"do": "pass", "knobs": [...] or null}.
"""

import importlib.metadata
import json
import os
import sys
import time

import numpy as np

WARM_UP = 50
# A sweep of rising knobs ends where there is nothing left to learn from it.
RECALL_ENOUGH, GAIN_LEAST = 0.9965, 0.0002
# A figure is the median of at least this much searching.
SECONDS_LEAST, RUNS_MOST = 0.4, 8


def memory_mb(field):
    with open("/proc/self/status") as status:
        line = next(line for line in status if line.startswith(field))
    return int(line.split()[1]) / 1024


def pin(core):
    """Every thread of this process to one core; libraries keep pools that ignore their own settings."""
    for thread in os.listdir("/proc/self/task"):
        try:
            os.sched_setaffinity(int(thread), {core})
        except OSError:
            pass


def build(peer, base):
    """Runs a peer's `build`. One that is a generator has three parts: opening, inserting, building."""
    start = time.perf_counter()
    parts = peer.build(base)
    if parts is None:
        return time.perf_counter() - start, None
    next(parts)
    start = time.perf_counter()
    next(parts)
    inserted = time.perf_counter()
    for _ in parts:
        raise AssertionError("a third part")
    return time.perf_counter() - inserted, inserted - start


class Worker:
    def __init__(self, data, name, peer, folder, options):
        from data import Set
        from peers import PEERS

        self.options = options
        self.kind = PEERS[peer]
        self.set = Set(data, name, options["queries_max"])
        self.worst = self.set.worst(options["k"])
        self.folder = folder
        self.peer = self.kind(self.set.metric, os.path.join(folder, "index"), options["build_threads"])

    def build(self):
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")  # the peak restarts here
        before = memory_mb("VmRSS") - self.set.base.nbytes / 2**20
        build_s, insert_s = build(self.peer, self.set.base)
        peak = memory_mb("VmHWM") - before
        answer = {
            "build_s": build_s,
            "insert_s": insert_s,
            "peak_mb": peak,
            "bytes_per_vector": self.peer.save_bytes() / len(self.set.base),
            "note": self.kind.note,
            "version": importlib.metadata.version(self.kind.package),
        }
        if self.kind.objects:
            self.tiny = self.kind(self.set.metric, os.path.join(self.folder, "tiny"), 1)
            build(self.tiny, self.set.base[: self.options["k"]])
        if self.options["core"] is not None:
            pin(self.options["core"])
        return answer

    def timed(self, knob):
        """Several runs over all queries: seconds per query by the wall and by the processor, the same of a minimal call
        measured right before each, and the row numbers found."""
        queries, k = self.set.queries, self.options["k"]
        self.peer.ready(queries[:WARM_UP], k, knob)()
        search = self.peer.ready(queries, k, knob)
        minimal = self.tiny.ready(queries, k, knob) if self.kind.objects else None
        run = {"knob": knob, "recall": 0.0, "seconds": [], "cpu_seconds": [], "call_seconds": [], "call_cpu_seconds": []}
        total = 0.0
        while len(run["seconds"]) < self.options["repeat"] or (total < SECONDS_LEAST and len(run["seconds"]) < RUNS_MOST):
            call_s, call_cpu_s, _ = clocked(minimal) if minimal else (0.0, 0.0, None)
            wall_s, cpu_s, raw = clocked(search)
            total += wall_s
            took = {"seconds": wall_s, "cpu_seconds": cpu_s, "call_seconds": call_s, "call_cpu_seconds": call_cpu_s}
            for key, seconds in took.items():
                run[key].append(seconds / len(queries))
        found = np.asarray(self.peer.ids(raw))[:, :k]
        # Where a library finds fewer than k, its array may end in what was in memory before.
        found = np.where((found >= 0) & (found < len(self.set.base)), found, -1)
        return {**run, "recall": self.set.recall(found, self.worst)}

    def sweep(self, knobs):
        """Measures the given knobs, or the peer's own ladder, cut short where recall is high or stands still."""
        adaptive, runs, still, done = knobs is None, [], 0, set()
        previous = ()
        for knob in map(as_knob, self.kind.knobs if adaptive else knobs):
            family = knob[1] if isinstance(knob, tuple) else None
            if family in done:
                continue
            run = self.timed(knob)
            # A family is a ladder of its own: the same second knob.
            gained = previous != family or run["recall"] - runs[-1]["recall"] >= GAIN_LEAST
            still = 0 if gained else still + 1
            previous = family
            runs.append(run)
            if adaptive and (run["recall"] >= RECALL_ENOUGH or still == 2):
                done.add(family)
        return {"runs": runs}


def clocked(work):
    """Seconds by the wall, seconds by the processor over all threads, and what the work gave."""
    cpu, wall = time.process_time(), time.perf_counter()
    made = work()
    return time.perf_counter() - wall, time.process_time() - cpu, made


def as_knob(knob):
    return tuple(knob) if isinstance(knob, (list, tuple)) else knob


def main():
    data, name, peer, folder, options = sys.argv[1:6]
    # Libraries print; the answers get a descriptor of their own.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    options = json.loads(options)
    for variable in ("OMP_NUM_THREADS", "RAYON_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[variable] = str(options["build_threads"])
    worker = Worker(data, name, peer, folder, options)
    for line in sys.stdin:
        command = json.loads(line)
        answer = worker.build() if command["do"] == "build" else worker.sweep(command.get("knobs"))
        print(json.dumps(answer), file=answers, flush=True)
    os._exit(0)  # some libraries do not survive their own destructors


if __name__ == "__main__":
    main()
