"""Peak memory of a process per model."""

from __future__ import annotations

import resource
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks.speed.cases import cases
from benchmarks.speed.samples import Samples
from streams.stream import Stream

MEASURED_FOR_MEMORY = (
    "river: tree, dicts",
    "our tree, blocks",
    "pool, top 3 learn",
    "adaptive pool",
    "moe-data: prequential",
)


def peak_mb(name: str, stream: Stream, sizes: tuple[int, int, int]) -> float:
    """Run a case, if one is named, in this process; return the most memory the process ever had."""
    samples = Samples(stream, sizes[0])
    for case in cases(*sizes):
        if case.name == name:
            case.run(samples, case.n_samples)
    if (status := Path("/proc/self/status")).exists():  # Linux would count what the parent had in ru_maxrss
        (peak,) = [line for line in status.read_text().splitlines() if line.startswith("VmHWM:")]
        return int(peak.split()[1]) * 1024 / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # bytes on macOS


def memory(stream: Stream, sizes: tuple[int, int, int], tick: Callable[[str], None]) -> list[dict[str, Any]]:
    """Return the peak memory of fresh processes: one that holds imports and samples only, and one per model."""
    lines = []
    for name in ("", *MEASURED_FOR_MEMORY):
        tick(f"memory, {name}")
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
            peak = process.submit(peak_mb, name, stream, sizes).result()
        lines.append({"what": name or "imports and samples only", "peak_mb": round(peak, 1)})
    return lines
