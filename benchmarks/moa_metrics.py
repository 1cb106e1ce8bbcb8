"""Write tests/vectors/moa_metrics.npz: CapyMOA's figures for 20 000 predictions of three classes in runs.

Run `python -m benchmarks.moa_metrics` where CapyMOA is installed (`pip install capymoa`, Java 17).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

FIGURES = ["accuracy", "kappa", "kappa_m", "kappa_t"]
WINDOW = 100
"""Samples in a window; cumulative figures are kept for each of the first `WINDOW` samples, then once a window."""


def predictions(seed: int = 5, n: int = 20_000) -> tuple[np.ndarray, np.ndarray]:
    """Return labels in runs of four, broken by noise, and predictions that are right in most cases."""
    rng = np.random.default_rng(seed)
    y = np.repeat(rng.integers(0, 3, n // 4), 4)
    y = np.where(rng.random(n) < 0.15, rng.integers(0, 3, n), y)
    return y, np.where(rng.random(n) < 0.7, y, rng.integers(0, 3, n))


def main() -> None:
    """Write the vector file."""
    from capymoa.evaluation import ClassificationEvaluator, ClassificationWindowedEvaluator
    from capymoa.stream import Schema

    y, p = predictions()
    schema = Schema.from_custom(
        features=["a", "y"], target="y", categories={"y": ["0", "1", "2"]}, name="runs"
    )
    total = ClassificationEvaluator(schema=schema)
    windowed = ClassificationWindowedEvaluator(schema=schema, window_size=WINDOW)
    cumulative = []
    for n, (y_true, y_pred) in enumerate(zip(y.tolist(), p.tolist(), strict=True), start=1):
        total.update(y_true, y_pred)
        windowed.update(y_true, y_pred)
        if n <= WINDOW or n % WINDOW == 0:
            cumulative.append([n, total.accuracy(), total.kappa(), total.kappa_m(), total.kappa_t()])
    path = Path(__file__).parent.parent / "tests" / "vectors" / "moa_metrics.npz"
    windows = windowed.metrics_per_window()[FIGURES].to_numpy(float)
    np.savez(path, y=y.astype(np.int8), p=p.astype(np.int8), cumulative=np.array(cumulative), window=windows)


if __name__ == "__main__":
    main()
