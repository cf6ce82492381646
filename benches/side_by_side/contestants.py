"""Who takes part: a peer in a worker process that stays up between passes, or one configuration of `cairn bench`."""

import json
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
CAIRN_EFS = "10,16,24,32,48,64,96,128,192,256,384,512,768"


class Absent(Exception):
    """A contestant that cannot take part, and why."""


def merged(result, runs):
    """Adds one pass's measurements to those of earlier passes."""
    known = {json.dumps(run["knob"]): run for run in result["runs"]}
    for run in runs:
        empty = {key: [] for key in run if key.endswith("seconds")}
        old = known.setdefault(json.dumps(run["knob"]), run | empty)
        for key in empty:
            old[key] = old[key] + run[key]
    result["runs"] = list(known.values())


class Peer:
    """A library. Built once, then measured in every pass; later passes repeat the first one's knobs."""

    def __init__(self, name, set_name, options):
        self.name = name
        self.folder = tempfile.TemporaryDirectory(prefix="side_by_side_", dir=options.scratch)
        core = max(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
        settings = {
            "queries_max": options.queries_max,
            "k": 10,
            "build_threads": options.build_threads,
            "repeat": options.repeat,
            "core": core,
        }
        self.log = open(Path(options.out) / set_name.partition(":")[0] / f"{name}.log", "w+")
        arguments = [options.data, set_name, name, self.folder.name, json.dumps(settings)]
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "worker.py"), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
        )
        self.result = None

    def ask(self, **command):
        try:
            self.process.stdin.write(json.dumps(command) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise Absent(f"it ended with {self.process.wait()}; see {self.log.name}")
        return json.loads(line)

    def measure(self):
        knobs = None
        if self.result is None:
            built = self.ask(do="build")
            built["build_s"], built["peak_mb"] = [built["build_s"]], [built["peak_mb"]]
            self.result = {"name": self.name, "kind": "peer", "runs": [], **built}
        else:
            knobs = [run["knob"] for run in self.result["runs"]]
        merged(self.result, self.ask(do="pass", knobs=knobs)["runs"])

    def close(self):
        self.process.stdin.close()
        self.process.wait()
        self.log.close()
        self.folder.cleanup()


class Cairn:
    """`cairn bench` with some arguments. It builds anew in every pass, so its build time too is a median."""

    def __init__(self, configuration, points, options):
        self.name, _, arguments = configuration.partition(":")
        self.arguments = shlex.split(arguments)
        self.points, self.options = points, options
        self.result = None

    def command(self):
        points, options = self.points, self.options
        command = [options.cairn, "bench", "--json", "--distance", points.metric, "--k", "10"]
        command += ["--base", points.base_path, "--queries", points.queries_path, "--truth", points.truth_path]
        command += ["--queries-max", options.queries_max, "--build-threads", options.build_threads, "--threads", 1]
        if "--ef" not in self.arguments:
            command += ["--ef", CAIRN_EFS]
        if "--repeat" not in self.arguments:
            command += ["--repeat", max(3, options.repeat)]
        return [str(part) for part in command + self.arguments]

    def measure(self):
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
            process = subprocess.Popen(self.command(), stdout=out, stderr=errors, env={**os.environ, "NO_COLOR": "1"})
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            out.seek(0)
            errors.seek(0)
            if process.returncode != 0:
                lines = [line.strip() for line in errors.read().splitlines() if line.strip()]
                raise Absent(lines[0] if lines else f"it ended with {process.returncode}")
            report = json.loads(out.read())
        if self.result is None:
            about = {"name": self.name, "kind": "cairn", "arguments": self.arguments, "version": ""}
            kept = ("bytes_per_vector", "bits_per_link", "kernel", "sections", "tier")
            about |= {key: report[key] for key in kept if key in report}
            self.result = about | {"runs": [], "build_s": [], "peak_mb": []}
        self.result["build_s"].append(report["build_s"])
        self.result["peak_mb"].append(usage.ru_maxrss / 1024)
        strategies = sorted({run["strategy"] for run in report["runs"] if run.get("strategy")})
        self.result["note"] = " ".join(self.arguments + [f"(plan: {', '.join(strategies)})"])
        merged(
            self.result,
            [
                {
                    "knob": run["ef"],
                    "recall": run["recall"],
                    "seconds": [1.0 / qps for qps in run["qps_runs"]],
                    "cpu_seconds": [1.0 / qps for qps in run["qps_cpu_runs"]],
                    "distances": run.get("distances"),
                }
                for run in report["runs"]
            ],
        )

    def close(self):
        pass
