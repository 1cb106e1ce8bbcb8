"""Measure the cost of a routing policy, beside a plain softmax and torch.topk on the same logits.

    python -m benchmarks.routing

One thread, in processor time, so that other work on the machine does not count. Each line is a policy on logits of
one shape, normal with deviation 1 in float32. The policies take turns within a repeat. The median of the repeats is
printed, with its ratio to the plain softmax top-k of the same shape in the same run. "numpy" is `route` on one row
of numpy logits, and "torch" is the policy on a tensor. "plan" is `TopK(2)` and then its expert-sorted plan, and
"entropy" is `TopK(2)` and then its entropy.

The table is printed, and each line of it is also written to `--out` (kept: `benchmarks/results/routing.jsonl`).
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch

from driftmoe.routing import (
    DYNMOLE,
    HARDER_TASKS,
    STREAM,
    Dense,
    GroupTopK,
    TopK,
    WithNull,
    WithShared,
    route,
)

OUT = Path("runs/routing.jsonl")
POLICIES = {
    "Dense()": Dense(),
    "TopK(1)": TopK(1),
    "TopK(3)": TopK(3),
    "HARDER_TASKS": HARDER_TASKS,
    "DYNMOLE": DYNMOLE,
    "STREAM": STREAM,
    "WithNull(TopK(4), 4)": WithNull(TopK(4), 4),
    "WithShared(TopK(2), 1)": WithShared(TopK(2), 1),
    "GroupTopK(2, 4, 2)": GroupTopK(2, 4, 2),
}
PLAIN = "softmax, torch.topk(2)"


def runs(logits: torch.Tensor) -> dict[tuple[str, str], Callable[[], Any]]:
    """What is timed on logits of shape (n_rows, n_experts): (policy, how) -> a call."""

    def plain() -> torch.Tensor:
        values, chosen = logits.softmax(-1).topk(2, dim=-1)
        values = values / values.sum(-1, keepdim=True)
        return torch.zeros_like(logits).scatter(-1, chosen, values)

    entries: dict[tuple[str, str], Callable[[], Any]] = {(PLAIN, "torch"): plain}
    for name, policy in POLICIES.items():
        entries[name, "torch"] = lambda policy=policy: policy(logits)
    entries["TopK(2)", "plan"] = lambda: TopK(2)(logits).plan
    entries["TopK(2)", "entropy"] = lambda: TopK(2)(logits).entropy
    if len(logits) == 1:
        row = logits[0].numpy()
        for name, policy in POLICIES.items():
            if hasattr(policy, "of_row"):
                entries[name, "numpy"] = lambda policy=policy: route(policy, row)
    return entries


def micros(call: Callable[[], Any], seconds: float) -> float:
    """Microseconds of the processor for one call, in a loop that takes about this many seconds."""
    start = time.thread_time()
    call()
    n = max(1, int(seconds / max(time.thread_time() - start, 1e-6)))
    start = time.thread_time()
    for _ in range(n):
        call()
    return (time.thread_time() - start) / n * 1e6


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 256, 8192])
    parser.add_argument("--experts", type=int, nargs="+", default=[12, 64, 256])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument(
        "--seconds", type=float, default=0.02, help="of a policy in a repeat (default: %(default)s)"
    )
    parser.add_argument("--out", type=Path, default=OUT, metavar="FILE", help="default: %(default)s")
    options = parser.parse_args()

    torch.set_num_threads(1)
    machine = {"python": platform.python_version(), "torch": torch.__version__, "machine": platform.machine()}
    lines = []
    for n_rows in options.rows:
        for n_experts in options.experts:
            entries = runs(torch.randn(n_rows, n_experts, generator=torch.Generator().manual_seed(1)))
            times: dict[tuple[str, str], list[float]] = {entry: [] for entry in entries}
            with torch.inference_mode():
                for _ in range(options.repeats):
                    for entry, call in entries.items():
                        times[entry].append(micros(call, options.seconds))
            plain = median(times[PLAIN, "torch"])
            for (policy, how), measured in times.items():
                lines.append({
                    "rows": n_rows, "experts": n_experts, "policy": policy, "how": how,
                    "us_per_call": round(median(measured), 2), "times_plain": round(median(measured) / plain, 2),
                })  # fmt: skip
                print(
                    "{rows:5} x {experts:3}  {policy:24} {how:8} {us_per_call:11.2f} us  x{times_plain}".format(
                        **lines[-1]
                    )
                )
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text("".join(json.dumps(line | machine) + "\n" for line in lines))


if __name__ == "__main__":
    main()
