"""Samples labelled by a random decision tree."""

from __future__ import annotations

import numpy as np

from streams.java_random import kernel, next_double, next_int_below, seeded
from streams.stream import Feature
from streams.synthetic.generator import Fill, Generator, check_integer, check_number, java_seed

LEAF = -1
"""Feature of a node that has no split."""


class RandomTree(Generator):
    """Samples labelled by a random decision tree.

    Equals MOA's `RandomTreeGenerator`.

    Parameters
    ----------
    n_classes
        Number of classes, at least 2.
    n_nominal
        Number of nominal features, which come first.
    n_numeric
        Number of numeric features, uniform in [0, 1).
    n_values
        Number of values of each nominal feature, at least 2.
    max_depth
        Depth of the deepest leaves. A path splits once on a nominal feature, so without numeric features the
        depth is at most `n_nominal`.
    first_leaf_level
        Depth from which a node may become a leaf.
    leaf_fraction
        Probability that such a node becomes a leaf.
    model_seed
        Seed of the tree, a 32-bit integer; `None` is MOA's default, 1.
    seed
        Seed of the samples, a 32-bit integer; `None` is MOA's default, 1.
    n_samples
        Length, or `None` for a stream without end.

    References
    ----------
    Domingos, Hulten (2000): Mining high-speed data streams. KDD 2000, sec. 4.1.

    Examples
    --------
    >>> from streams.synthetic import RandomTree
    >>> stream = RandomTree(n_nominal=2, n_numeric=3, n_values=4, seed=1)
    >>> [len(feature.values or []) for feature in stream.features]
    [4, 4, 0, 0, 0]
    """

    def __init__(
        self,
        *,
        n_classes: int = 2,
        n_nominal: int = 5,
        n_numeric: int = 5,
        n_values: int = 5,
        max_depth: int = 5,
        first_leaf_level: int = 3,
        leaf_fraction: float = 0.15,
        model_seed: int | None = None,
        seed: int | None = None,
        n_samples: int | None = None,
    ) -> None:
        check_integer("n_classes", n_classes, 2)
        check_integer("n_nominal", n_nominal, 0)
        check_integer("n_numeric", n_numeric, 0)
        check_integer("n_values", n_values, 2)
        check_integer("max_depth", max_depth, 0)
        if n_numeric == 0 and max_depth > n_nominal:
            raise ValueError(
                f"max_depth={max_depth} but a path splits once on each of n_nominal={n_nominal} features; "
                f"choose max_depth <= {n_nominal} or n_numeric >= 1"
            )
        nominal = [
            Feature(f"nominal{i + 1}", [f"value{v + 1}" for v in range(n_values)]) for i in range(n_nominal)
        ]
        super().__init__(
            features=nominal + [Feature(f"numeric{i + 1}") for i in range(n_numeric)],
            n_classes=n_classes,
            seed=seed,
            n_samples=n_samples,
        )
        check_integer("first_leaf_level", first_leaf_level, 0)
        check_number("leaf_fraction", leaf_fraction, 0.0, 1.0)
        self.n_nominal = n_nominal
        self.n_numeric = n_numeric
        self.n_values = n_values
        self.max_depth = max_depth
        self.first_leaf_level = first_leaf_level
        self.leaf_fraction = leaf_fraction
        self.model_seed = model_seed
        self._model_seed = java_seed("model_seed", model_seed)

    def _start(self) -> Fill:
        random, tree = self._random(), self._draw_tree()

        def fill(X: np.ndarray, y: np.ndarray) -> None:
            _fill_random_tree(random, self.n_nominal, self.n_values, *tree, X, y)

        return fill

    def _draw_tree(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return for each node: feature of its split (or LEAF), threshold, children, class of a leaf."""
        random = seeded(self._model_seed)
        features: list[int] = []
        thresholds: list[float] = []
        children: list[list[int]] = []
        classes: list[int] = []

        def grow(depth: int, nominal: list[int], bounds: list[tuple[float, float]]) -> int:
            node = len(features)
            features.append(LEAF)
            thresholds.append(0.0)
            children.append([])
            classes.append(0)
            if depth >= self.max_depth or (
                depth >= self.first_leaf_level and self.leaf_fraction >= 1.0 - next_double(random)
            ):
                classes[node] = next_int_below(random, self.n_classes)
                return node
            chosen = next_int_below(random, len(nominal) + self.n_numeric)
            if chosen < len(nominal):
                features[node] = nominal[chosen]
                left_over = nominal[:chosen] + nominal[chosen + 1 :]
                children[node] = [grow(depth + 1, left_over, bounds) for _ in range(self.n_values)]
                return node
            numeric = chosen - len(nominal)
            low, high = bounds[numeric]
            threshold = (high - low) * next_double(random) + low
            features[node] = self.n_nominal + numeric
            thresholds[node] = threshold
            below = [*bounds[:numeric], (low, threshold), *bounds[numeric + 1 :]]
            above = [*bounds[:numeric], (threshold, high), *bounds[numeric + 1 :]]
            children[node] = [grow(depth + 1, nominal, below), grow(depth + 1, nominal, above)]
            return node

        grow(0, list(range(self.n_nominal)), [(0.0, 1.0)] * self.n_numeric)
        child_table = np.full((len(features), max(2, self.n_values)), LEAF)
        for node, of_node in enumerate(children):
            child_table[node, : len(of_node)] = of_node
        return np.array(features), np.array(thresholds), child_table, np.array(classes)


@kernel
def _fill_random_tree(
    random: np.ndarray,
    n_nominal: int,
    n_values: int,
    features: np.ndarray,
    thresholds: np.ndarray,
    children: np.ndarray,
    classes: np.ndarray,
    X: np.ndarray,
    y: np.ndarray,
) -> None:
    for i in range(len(y)):
        for feature in range(X.shape[1]):
            if feature < n_nominal:
                X[i, feature] = next_int_below(random, n_values)
            else:
                X[i, feature] = next_double(random)
        node = 0
        while features[node] != LEAF:
            value = X[i, features[node]]
            if features[node] < n_nominal:
                node = children[node, int(value)]
            else:
                node = children[node, 0 if value < thresholds[node] else 1]
        y[i] = classes[node]
