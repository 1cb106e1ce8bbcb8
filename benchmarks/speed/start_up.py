"""Seconds from `import driftmoe` to the first prediction."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from statistics import median
from typing import Any

FIRST_USE = """
import time; start = time.perf_counter()
import driftmoe
model = driftmoe.DriftMoEClassifier(); model.learn_one({"a": 1.0, "b": 2.0}, 0); model.predict_one({"a": 1.0, "b": 2.0})
print(time.perf_counter() - start)
"""
TORCH_ALONE = "import time; start = time.perf_counter(); import torch; print(time.perf_counter() - start)"


def start_up(n_repeats: int, tick: Callable[[str], None]) -> dict[str, Any]:
    """Return the seconds from `import driftmoe` to the first prediction, in fresh processes, beside `import torch`."""

    def seconds(program: str) -> float:
        tick("start-up")
        usual = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        environment = usual | {"NUMBA_CACHE_DIR": cache}
        done = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
        )
        return float(done.stdout)

    with tempfile.TemporaryDirectory() as cache:
        seconds(TORCH_ALONE)  # brings its files into memory
        first_ever = seconds(FIRST_USE)
        later = [(seconds(TORCH_ALONE), seconds(FIRST_USE)) for _ in range(n_repeats)]
    torch_alone, cached = (round(median(column), 2) for column in zip(*later, strict=True))
    return {
        "what": "start-up",
        "first_ever_s": round(first_ever, 2),
        "cached_s": cached,
        "import_torch_s": torch_alone,
    }
