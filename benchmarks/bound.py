"""How close the pool of trees is to the lower bound that its arithmetic sets.

    python -m benchmarks.bound [--samples 50000] [--repeats 5]

A straight loop does only what twelve trees of one leaf each must do for a sample. It computes the Gaussian log
density of each class over all features, and from these the class probabilities. For three of the trees it updates
the moments of the true class, with its precisions and its log height. It walks no tree, keeps no range of values,
compares no two predictors, tries no split, knows no missing value and checks nothing. The pool does the same work
on the same samples (led_a with numeric features, rbf_f), and everything else. Repeats take turns. The medians and
their ratio are printed.
"""

from __future__ import annotations

import argparse
import math
import time
from statistics import median

import numpy as np
from numba import njit

import streams
from driftmoe.trees import TreePool

N_EXPERTS, TOP_K, BLOCK = 12, 3, 256


@njit(error_model="numpy", fastmath={"contract", "reassoc"})
def distance(x, mean, precision):  # type: ignore[no-untyped-def]
    """Sum of (x - mean)² · precision."""
    total = 0.0
    for f in range(x.shape[0]):
        total += (x[f] - mean[f]) * (x[f] - mean[f]) * precision[f]
    return total


@njit(error_model="numpy")
def straight_line(block, targets, taught, weight, mean, m2, precision, height, proba):  # type: ignore[no-untyped-def]
    """Predict with every leaf, then let those in `taught` learn, row after row; arrays are (expert, class, feature)."""
    for row in range(block.shape[0]):
        x, c = block[row], targets[row]
        for e in range(weight.shape[0]):
            out = proba[row, e]
            highest = -np.inf
            for k in range(out.shape[0]):
                out[k] = height[e, k] - distance(x, mean[e, k], precision[e, k])
                highest = max(highest, out[k])
            total = 0.0
            for k in range(out.shape[0]):
                out[k] = math.exp(out[k] - highest)
                total += out[k]
            for k in range(out.shape[0]):
                out[k] /= total
            if taught[row, e] > 0.0:
                weight[e, c] += 1.0
                n = weight[e, c]
                of_mean, of_m2, of_precision = mean[e, c], m2[e, c], precision[e, c]
                product = 1.0
                for f in range(x.shape[0]):
                    old = of_mean[f]
                    of_mean[f] += (x[f] - old) / n
                    of_m2[f] += (x[f] - old) * (x[f] - of_mean[f])
                    of_precision[f] = 0.5 * (n - 1.0) / of_m2[f] if of_m2[f] > 0.0 else 0.0
                    product *= of_precision[f] if of_precision[f] > 0.0 else 1.0
                height[e, c] = math.log(n) + 0.5 * math.log(product)


def straight(X: np.ndarray, y: np.ndarray, weights: np.ndarray) -> float:
    """Return the seconds of the straight loop over all samples; `weights` has a column for each leaf."""
    shape = weights.shape[1], int(y.max()) + 1, X.shape[1]
    arrays = np.zeros(shape[:2]), np.zeros(shape), np.zeros(shape), np.zeros(shape), np.zeros(shape[:2])
    proba = np.empty((BLOCK, *shape[:2]))
    start = time.perf_counter()
    for i in range(0, len(y), BLOCK):
        rows = slice(i, i + BLOCK)
        straight_line(X[rows], y[rows], weights[rows], *arrays, proba)
    return time.perf_counter() - start


def measure(name: str, n_samples: int, repeats: int) -> tuple[float, float]:
    """Return µs a sample of the pool and of the loop."""
    (X, y) = next(streams.make(name, seed=1, n_samples=n_samples).blocks(n_samples))
    rng = np.random.default_rng(1)
    taught = np.argsort(rng.random((n_samples, N_EXPERTS)), axis=1) < TOP_K
    weights = taught.astype(np.float64)
    times: dict[str, list[float]] = {"pool": [], "loop": []}
    for _ in range(repeats + 1):  # the first one compiles
        pool = TreePool(N_EXPERTS, grace_period=50)
        start = time.perf_counter()
        for i in range(0, n_samples, BLOCK):
            rows = slice(i, i + BLOCK)
            pool.step(X[rows], y[rows], weights[rows])
        times["pool"].append(time.perf_counter() - start)
        times["loop"].append(straight(X, y, weights))
    pool_us, loop_us = (median(seconds[1:]) / n_samples * 1e6 for seconds in times.values())
    return pool_us, loop_us


def main() -> None:
    """Print the ratios."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--streams", nargs="+", default=["led_a", "rbf_f"])
    parser.add_argument("--samples", type=int, default=50_000)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    for name in options.streams:
        pool, loop = measure(name, options.samples, options.repeats)
        print(f"{name:6} pool {pool:.2f} µs, straight line {loop:.2f} µs, ratio {pool / loop:.2f}")


if __name__ == "__main__":
    main()
