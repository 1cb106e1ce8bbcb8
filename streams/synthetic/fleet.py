"""A fleet of keys: many short streams at once, of customers, sensors or shops, with something in common."""

from __future__ import annotations

import math

import numpy as np

from streams.java_random import kernel, next_double, next_int_below, seeded
from streams.stream import Feature
from streams.synthetic.generator import Fill, Generator, check_integer, check_number, java_seed

LEAST, MOST = 300, 3000
"""Fewest and most events of a key, by default."""

SPREAD = 0.5
"""Share of the stream within which all keys start."""


class Fleet(Generator):
    """Events of many keys in turn, which share one concept and have each their own, with drifts of their own.

    An event has a feature `key` and numbers in [0, 1). Its class is 1 where ``(1 - own) · common(x) + own · own_k(x)``
    is above 0, and is inverted with the probability `noise`. ``common`` is a random tree, the same for all keys: each
    leaf has a number from 0.2 to 1, and half of them a minus sign. ``own_k`` is a random plane through the middle,
    another one for each key. At a drift of a key its plane is drawn anew.

    Each key has a random number of events. The keys start at random places in the first half of the stream. At any
    place, each key that has started and not ended is equally likely to come next. No MOA class is like this one. It
    uses no function of the C library but the square root, whose last bit is the same everywhere.

    Parameters
    ----------
    n_keys
        Number of keys, at least 1.
    least, most
        Fewest and most events of a key.
    own
        How far keys differ, 0 to 1: 0 is one concept for all, 1 is nothing in common.
    n_drifts
        Mean number of abrupt drifts of a key, at most `least`. They come at random events.
    noise
        Probability, 0 to 1, with which a label is inverted.
    n_numeric
        Number of features beside the key, at least 1.
    depth
        Number of splits on each way down the common tree, 0 to 16.
    model_seed
        Seed of the common concept, a 32-bit integer; `None` means 1. Fleets with one `model_seed` and different seeds
        have different keys and the same common concept.
    seed
        Seed of the keys and their events, a 32-bit integer; `None` means 1.
    n_samples
        Length; by default, and at most, all events of all keys.

    Examples
    --------
    >>> from streams.synthetic import Fleet
    >>> fleet = Fleet(n_keys=3, least=5, most=10, seed=1)
    >>> fleet.n_samples, [len([x for x, _ in fleet if x["key"] == key]) for key in fleet.features[0].values]
    (23, [8, 9, 6])
    """

    def __init__(
        self,
        *,
        n_keys: int = 2000,
        least: int = LEAST,
        most: int = MOST,
        own: float = 0.5,
        n_drifts: float = 1.0,
        noise: float = 0.05,
        n_numeric: int = 8,
        depth: int = 4,
        model_seed: int | None = None,
        seed: int | None = None,
        n_samples: int | None = None,
    ) -> None:
        check_integer("n_keys", n_keys, 1)
        check_integer("least", least, 1)
        check_integer("most", most, least)
        check_integer("n_numeric", n_numeric, 1)
        check_integer("depth", depth, 0, 16)
        for name, share in (("own", own), ("noise", noise)):
            check_number(name, share, 0.0, 1.0)
        check_number("n_drifts", n_drifts, 0.0, least)
        self.n_keys, self.least, self.most = n_keys, least, most
        self.own, self.n_drifts, self.noise, self.depth = own, n_drifts, noise, depth
        self.n_numeric = n_numeric
        self.model_seed = model_seed
        self._model_seed = java_seed("model_seed", model_seed)
        random = seeded(java_seed("seed", seed))
        self._n_events = np.array([least + next_int_below(random, most - least + 1) for _ in range(n_keys)])
        self._random_after_lengths = random
        total = int(self._n_events.sum())
        super().__init__(
            features=[
                Feature("key", [f"key{k + 1}" for k in range(n_keys)]),
                *(Feature(f"att{i + 1}") for i in range(n_numeric)),
            ],
            n_classes=2,
            seed=seed,
            n_samples=total if n_samples is None else min(n_samples, total),
        )

    @classmethod
    def of_length(cls, n_samples: int | None, *, seed: int | None = None) -> Fleet:
        """Return a fleet of as many keys as give this many events; `None` is the default fleet."""
        if n_samples is None:
            return cls(seed=seed)
        random, n_keys, n = seeded(java_seed("seed", seed)), 0, 0
        while n < max(n_samples, 1):
            n += LEAST + next_int_below(random, MOST - LEAST + 1)
            n_keys += 1
        return cls(n_keys=n_keys, seed=seed, n_samples=n_samples)

    def _start(self) -> Fill:
        random, n_keys, total = self._random_after_lengths.copy(), self.n_keys, int(self._n_events.sum())
        starts = np.array([next_double(random) for _ in range(n_keys)])
        order = np.argsort(starts, kind="stable")
        places = np.floor(starts[order] * (SPREAD * total)).astype(np.int64)
        left, planes = self._n_events.copy(), np.zeros((n_keys, self.n_numeric))
        chances = self.n_drifts / self._n_events
        active, counts = np.zeros(n_keys, np.int64), np.zeros(3, np.int64)
        tree = self._draw_tree()

        def fill(X: np.ndarray, y: np.ndarray) -> None:
            _fill_fleet(
                random,
                order,
                places,
                left,
                chances,
                planes,
                active,
                counts,
                self.own,
                self.noise,
                *tree,
                X,
                y,
            )

        return fill

    def _draw_tree(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return feature and threshold of each split, those of a level after those of the one above, and leaves."""
        random, n_splits = seeded(self._model_seed), 2**self.depth - 1
        features, thresholds = np.zeros(n_splits, np.int64), np.zeros(n_splits)
        bounds = [np.array([[0.0, 1.0]] * self.n_numeric)]
        for split in range(n_splits):
            feature = next_int_below(random, self.n_numeric)
            low, high = bounds[split][feature]
            threshold = low + (high - low) * (0.25 + 0.5 * next_double(random))
            features[split], thresholds[split] = feature, threshold
            for side in (0, 1):
                inner = bounds[split].copy()
                inner[feature, 1 - side] = threshold
                bounds.append(inner)
        leaves = np.array([0.2 + 0.8 * next_double(random) for _ in range(n_splits + 1)])
        leaves[1::2] *= -1.0
        for i in range(n_splits, 0, -1):  # Fisher-Yates
            j = next_int_below(random, i + 1)
            leaves[[i, j]] = leaves[[j, i]]
        return features, thresholds, leaves


STARTED, ACTIVE, DONE = 0, 1, 2
"""Counts of the position: keys that have started, keys that are active, events so far."""


@kernel
def _fill_fleet(
    random: np.ndarray,
    order: np.ndarray,
    places: np.ndarray,
    left: np.ndarray,
    chances: np.ndarray,
    planes: np.ndarray,
    active: np.ndarray,
    counts: np.ndarray,
    own: float,
    noise: float,
    features: np.ndarray,
    thresholds: np.ndarray,
    leaves: np.ndarray,
    X: np.ndarray,
    y: np.ndarray,
) -> None:
    for i in range(len(y)):
        while counts[STARTED] < len(order) and (
            counts[ACTIVE] == 0 or places[counts[STARTED]] <= counts[DONE]
        ):
            key = order[counts[STARTED]]
            active[counts[ACTIVE]] = key
            counts[STARTED] += 1
            counts[ACTIVE] += 1
            _draw_plane(random, planes[key])
        chosen = next_int_below(random, counts[ACTIVE])
        key = active[chosen]
        if next_double(random) < chances[key]:
            _draw_plane(random, planes[key])
        X[i, 0] = key
        of_key = 0.0
        for feature in range(planes.shape[1]):
            value = next_double(random)
            X[i, feature + 1] = value
            of_key += planes[key, feature] * (2.0 * value - 1.0)
        node = 0
        while node < len(features):
            node = 2 * node + (1 if X[i, features[node] + 1] < thresholds[node] else 2)
        score = (1.0 - own) * leaves[node - len(features)] + own * of_key
        target = 1 if score > 0.0 else 0
        y[i] = 1 - target if next_double(random) < noise else target
        counts[DONE] += 1
        left[key] -= 1
        if left[key] == 0:
            counts[ACTIVE] -= 1
            active[chosen] = active[counts[ACTIVE]]


@kernel
def _draw_plane(random: np.ndarray, plane: np.ndarray) -> None:
    """Draw a plane through the middle, as a vector of length 1."""
    square = 0.0
    for feature in range(len(plane)):
        plane[feature] = 2.0 * next_double(random) - 1.0
        square += plane[feature] * plane[feature]
    for feature in range(len(plane)):
        plane[feature] /= math.sqrt(square)
