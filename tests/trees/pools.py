"""Samples and pools of trees that several tests of trees use."""

from __future__ import annotations

import numba
import numpy as np

from driftmoe.trees import TreePool
from driftmoe.trees.nodes import N_NODES, Tree
from driftmoe.trees.storage import ARRAYS, as_tree_arguments

IS_COMPILED = not numba.config.DISABLE_JIT
EAGER = {"grace_period": 30, "delta": 0.05}


def size(n):
    return n if IS_COMPILED else max(300, n // 40)


def mixed(n_samples, seed=1, n_classes=3, p_missing=0.1):
    """Three numbers and two nominal features, which tell the classes apart, with gaps; and weights from 0 to 5."""
    rng = np.random.default_rng(seed)
    y = rng.integers(n_classes, size=n_samples)
    X = np.column_stack([
        rng.normal(y, 1.0),
        rng.normal(size=n_samples),
        rng.normal((y == 1) * 2.0, 0.5 + y),
        (y + rng.integers(3, size=n_samples)) % 5,
        rng.integers(2, size=n_samples),
    ])  # fmt: skip
    X[rng.random(X.shape) < p_missing] = np.nan
    return X, y, rng.poisson(1.0, size=(n_samples, 1)).astype(float)


MIXED_NOMINAL = (3, 4)


def grown(n_experts=3, n_samples=1500, **arguments):
    X, y, _ = mixed(size(n_samples))
    pool = TreePool(n_experts, nominal=MIXED_NOMINAL, **(EAGER | arguments))
    pool.learn(X, y, np.random.default_rng(5).poisson(1.5, size=(len(y), n_experts)))
    return pool


def state(pool, expert=None):
    """What the arrays of a pool, or of one tree in it, hold, as bytes; not the room for growth."""
    if expert is not None:
        pool = pool.clone(expert)
    storage = pool._storage
    arrays = {name: v for name, v in vars(storage).items() if isinstance(v, np.ndarray)}
    arrays["nodes"] = storage.nodes[:, : storage.sizes[:, N_NODES].max()]
    return {name: v.tolist() if v.dtype.names else v.tobytes() for name, v in arrays.items()}


def python(function):
    return getattr(function, "py_func", function)


def view(pool, expert=0):
    """A tree as the kernels take it."""
    arguments = zip(ARRAYS[: len(Tree._fields)], as_tree_arguments(pool._storage), strict=True)
    return Tree(*(values[expert] if array.axes[0] == "trees" else values for array, values in arguments))


def nominal_samples(n_samples):
    X, y, _ = mixed(n_samples)
    for row, target in zip(X.tolist(), y.tolist(), strict=True):
        x = dict(zip("abc", row[:3], strict=True))
        x |= {
            name: value if value != value else f"v{value:.0f}"
            for name, value in zip("de", row[3:], strict=True)
        }
        yield {name: value for name, value in x.items() if value == value}, "xyz"[target]
