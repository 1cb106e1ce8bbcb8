"""Write the store that later versions must open: `python tests/service/make_store.py`. Its models lag behind."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks.service.traffic import as_lines, mixed_events  # noqa: E402  # after the path
from driftmoe import saving  # noqa: E402
from driftmoe.service import Arrival, Bounds, Settings, Store, Worker  # noqa: E402

FOLDER = ROOT / "tests" / "golden" / "store"
SPEC = "moe-data(n_experts=2, hidden=(4,), batch_size=8)"
SETTINGS = Settings(model=SPEC, bounds=Bounds(max_waiting=10), snapshot_every=60, has_sink=True)


def main() -> None:
    """Write the store, and what its models and counters are."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    worker = Worker(Store(FOLDER), SETTINGS)
    lines = as_lines(mixed_events(100, 3))
    for start in range(0, len(lines), 25):
        arrivals = [Arrival("log", line, start + i) for i, line in enumerate(lines[start : start + 25])]
        worker.joiner.take(arrivals)
        worker._commit(arrivals)
    expected = {
        "digests": {key: saving.digest(keyed.model) for key, keyed in worker.registry.models.items()},
        "counts": worker.counts,
        "n_waiting": len(worker.joiner.waiting),
        "n_learnt": {key: keyed.scores.n_learnt for key, keyed in worker.registry.models.items()},
    }
    worker.store.compact()
    worker.store.close()  # without the snapshots of `stop`
    (FOLDER / "lock").unlink(missing_ok=True)
    (FOLDER / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    main()
