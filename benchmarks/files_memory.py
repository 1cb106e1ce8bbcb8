"""Read a CSV file of 2 GB block by block in a fresh process, and print rows per second and peak memory.

    python -m benchmarks.files_memory [--gigabytes 2] [--folder FOLDER]

The file is written to a temporary folder and deleted afterwards. It holds random numbers in ten columns, a nominal
column and the class. 20 MB of rows are drawn and written repeatedly, because their content does not matter here.
"""

from __future__ import annotations

import argparse
import io
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

LIMIT_MB = 500

N_NUMBERS = 10


def write_csv(path: Path, n_bytes: int) -> int:
    """Write a file of at least `n_bytes`; return its number of rows."""
    rng = np.random.default_rng(1)
    n_rows = 100_000
    words = np.array(["clear", "overcast", "light rain", "fog"])
    text = io.StringIO()
    numbers, word, label = (
        rng.normal(size=(n_rows, N_NUMBERS)),
        rng.choice(words, n_rows),
        rng.integers(0, 5, n_rows),
    )
    for row, w, y in zip(numbers.tolist(), word.tolist(), label.tolist(), strict=True):
        text.write(",".join(map(repr, row)) + f",{w},{y}\n")
    rows = text.getvalue().encode()
    n_times = -(-n_bytes // len(rows))
    with path.open("wb") as file:
        file.write((",".join([*(f"x{i}" for i in range(N_NUMBERS)), "sky", "class"]) + "\n").encode())
        for _ in range(n_times):
            file.write(rows)
    return n_times * n_rows


def read_csv(path: Path) -> dict[str, float]:
    """Read a file to its end; return rows, seconds and peak memory in MB (10**6 bytes)."""
    from streams.files import CSVStream

    start = time.perf_counter()
    n_rows = sum(len(y) for _, y in CSVStream(path).blocks(1024))
    seconds = time.perf_counter() - start
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is in bytes on macOS, in KiB on Linux
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
    return {"rows": n_rows, "seconds": seconds, "peak_mb": peak}


def main() -> int:
    """Write the file, have a fresh process read it, print the figures; 1 if the memory is above the limit."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gigabytes", type=float, default=2.0)
    parser.add_argument("--folder", type=Path, default=None, help="where the temporary folder is made")
    parser.add_argument("--read", type=Path, default=None, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.read is not None:
        print(json.dumps(read_csv(arguments.read)))
        return 0
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        path = Path(folder, "big.csv")
        n_rows = write_csv(path, int(arguments.gigabytes * 1e9))
        size = path.stat().st_size
        command = [sys.executable, "-m", "benchmarks.files_memory", "--read", str(path)]
        figures = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    if figures["rows"] != n_rows:
        raise RuntimeError(f"wrote {n_rows} rows but read {figures['rows']}")
    print(
        f"{size / 1e9:.2f} GB, {n_rows:,} rows of {N_NUMBERS + 2} columns: {figures['seconds']:.1f} s, "
        f"{n_rows / figures['seconds']:,.0f} rows/s, {size / 1e6 / figures['seconds']:,.0f} MB/s, "
        f"peak memory {figures['peak_mb']:.0f} MB (limit {LIMIT_MB} MB)"
    )
    return int(figures["peak_mb"] > LIMIT_MB)


if __name__ == "__main__":
    sys.exit(main())
