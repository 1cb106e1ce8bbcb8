"""Measure the first prediction on a machine that has compiled nothing: seconds by kernel, in one process and in two.

    python -m benchmarks.cold_start                      a table
    python -m benchmarks.cold_start --label "as before"  with a name in the lines
    python -m benchmarks.cold_start --out FILE           adds lines to a file of results

Each measurement is a fresh process with an empty `NUMBA_CACHE_DIR`. The seconds of a kernel are processor time from
numba's compile events, without the other kernels with a file of their own that it calls, which are listed themselves.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

MODELS = ("driftmoe", "moe-data", "moe-task")

PROGRAM = """
import json, resource, sys, time
start, used = time.perf_counter(), time.process_time()
import torch
import_torch = time.perf_counter() - start
from driftmoe import DriftMoEClassifier
imported = time.perf_counter() - start
from numba.core import event

seconds, stack = {}, []
class Compiled(event.Listener):
    def on_start(self, told):
        stack.append([time.process_time(), 0.0])
    def on_end(self, told):
        kernel = told.data["dispatcher"]
        start, inner = stack.pop()
        spent = time.process_time() - start
        if type(kernel._cache).__name__ == "KernelCache":
            name = kernel.py_func.__module__ + "." + kernel.py_func.__name__
            seconds[name] = seconds.get(name, 0.0) + spent - inner
            inner = 0.0
            if stack:
                stack[-1][1] += spent
        elif stack:
            stack[-1][1] += inner
event.register("numba:compile", Compiled())
try:
    from driftmoe import ahead
except ImportError:  # before there was a second process
    ahead = None
if ahead is not None and sys.argv[2] == "1":
    ahead._n_cores = lambda: 1
model = DriftMoEClassifier(sys.argv[1], seed=1)
samples = [({"a": i % 7 / 7.0, "b": i % 5 / 5.0, "c": "xyz"[i % 3]}, i % 2) for i in range(260)]
model.learn_one(*samples[0])
model.predict_one(samples[1][0])
first = time.perf_counter() - start
for x, label in samples[1:]:
    model.predict_one(x)
    model.learn_one(x, label)
whole, used = time.perf_counter() - start, time.process_time() - used
if ahead is not None and ahead._helper:
    ahead._helper[0].wait()
used += sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
print(json.dumps({
    "import_torch_s": import_torch, "import_s": imported, "first_prediction_s": first, "after_260_samples_s": whole,
    "processor_s": used, "kernels": seconds,
}))
"""


def cold_start(model: str, n_processes: int) -> dict[str, Any]:
    """Return the seconds up to the first prediction of a model, and those of each kernel that this process compiled."""
    with tempfile.TemporaryDirectory() as cache:
        environment = os.environ | {"NUMBA_CACHE_DIR": cache, "DRIFTMOE_QUIET": "1"}
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, model, str(n_processes)],
            env=environment, stdout=subprocess.PIPE, text=True, check=True,
        )  # fmt: skip
    figures = json.loads(done.stdout)
    kernels = sorted(figures.pop("kernels").items(), key=lambda pair: -pair[1])
    return {
        "what": "cold start",
        "model": model,
        "processes": n_processes,
        **{name: round(value, 2) for name, value in figures.items()},
        "kernels": {name: round(value, 2) for name, value in kernels},
    }


def main() -> None:
    """Measure, print a table, and add lines to a file if asked to."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", "-m", action="append", help="a variant; default: " + ", ".join(MODELS))
    parser.add_argument("--label", default="", help="what is measured, for example the commit")
    parser.add_argument("--shared", action="store_true", help="say in the lines that others used the machine")
    parser.add_argument("--out", type=Path, help="file to which the lines are added")
    options = parser.parse_args()
    about = {
        "label": options.label,
        "date": datetime.date.today().isoformat(),
        "machine": platform.machine(),
        "n_cores": os.cpu_count(),
        "load_before": round(os.getloadavg()[0], 1),
        "shared_machine": options.shared,
    }
    for model in options.model or MODELS:
        for n_processes in (1, 2):
            line = cold_start(model, n_processes) | about
            print(
                f"{model}, {n_processes} process{'es' * (n_processes > 1)}: first prediction after ", end=""
            )
            print(f"{line['first_prediction_s']:.1f} s, processor time {line['processor_s']:.1f} s")
            if n_processes == 1:
                for name, seconds in list(line["kernels"].items())[:12]:
                    print(f"  {seconds:6.2f} s  {name}")
            if options.out:
                with options.out.open("a") as file:
                    file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
