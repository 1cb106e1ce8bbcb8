"""Synthetic streams that equal MOA's generators sample for sample.

Each class draws the numbers of `java.util.Random` (`streams.java_random`) in the order in which the MOA class of its
docstring draws them, so parameters and seeds of a published experiment on MOA or CapyMOA give that experiment's samples:
features and labels are equal as float64, for all samples. One compiled kernel fills a block. Where a platform could
still differ in the last bit, the docstring says so.

Left out: options of MOA that change no sample (class labels that no sample gets, lengths that nothing reads).

References
----------
Bifet, Holmes, Kirkby, Pfahringer (2010): MOA: Massive Online Analysis. JMLR 11, 1601-1604.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numba import njit

from streams.java_random import next_double, next_gaussian, next_int_below, seeded
from streams.stream import Block, Feature, Reader, Stream

Fill = Callable[[np.ndarray, np.ndarray], None]
"""A position in an endless stream: each call fills the rows of `X` and `y` with the next samples."""


class _Generator(Stream):
    """A stream without end, cut after `n_samples` where that is given; a subclass writes `_start`."""

    def __init__(
        self, *, features: Sequence[Feature], n_classes: int, seed: int | None, n_samples: int | None
    ) -> None:
        if n_samples is not None:
            _check_integer("n_samples", n_samples, 0)
        super().__init__(features=features, classes=range(n_classes), n_samples=n_samples)
        _java_seed("seed", seed)
        self.seed = seed

    def _start(self) -> Fill:
        """Return a new position at the start."""
        raise NotImplementedError

    def _random(self) -> np.ndarray:
        """Return the random state from which samples are drawn."""
        return seeded(_java_seed("seed", self.seed))

    def reader(self) -> Reader:
        """Return a new position at the start of the stream."""
        fill, done = self._start(), 0

        def read(n: int) -> Block:
            nonlocal done
            if self.n_samples is not None:
                n = min(n, self.n_samples - done)
            done += n
            X, y = np.empty((n, self.n_features)), np.empty(n, dtype=np.int64)
            fill(X, y)
            return Block(X, y)

        return read


class LED(_Generator):
    """The digit shown by a display of seven segments, each of which may be inverted by noise.

    Equals MOA's `LEDGenerator`.

    Parameters
    ----------
    noise
        Probability, in whole percent, with which each segment is inverted.
    irrelevant_features
        Whether 17 random binary features follow the seven segments.
    seed
        Seed of the samples, a 32-bit integer; `None` is MOA's default, 1.
    n_samples
        Length, or `None` for a stream without end.

    References
    ----------
    Breiman, Friedman, Olshen, Stone (1984): Classification and Regression Trees. Sec. 2.6.1.

    Examples
    --------
    >>> from streams.synthetic import LED
    >>> stream = LED(noise=0.0, irrelevant_features=False, seed=1)
    >>> x, y = next(iter(stream))
    >>> list(x.values()), y
    ([1, 1, 0, 1, 0, 1, 1], 5)
    """

    def __init__(
        self,
        *,
        noise: float = 0.1,
        irrelevant_features: bool = True,
        seed: int | None = None,
        n_samples: int | None = None,
    ) -> None:
        super().__init__(
            features=[Feature(f"att{i + 1}", [0, 1]) for i in range(24 if irrelevant_features else 7)],
            n_classes=10,
            seed=seed,
            n_samples=n_samples,
        )
        self.noise = noise
        self.irrelevant_features = irrelevant_features
        self._noise_percent = _percent("noise", noise)

    def _columns(self) -> np.ndarray:
        """Return the column in which each segment, then each irrelevant feature, stands."""
        return np.arange(self.n_features)

    def _start(self) -> Fill:
        random, columns = self._random(), self._columns()

        def fill(X: np.ndarray, y: np.ndarray) -> None:
            _fill_led(random, self._noise_percent, columns, X, y)

        return fill


class LEDDrift(LED):
    """`LED` with the first segments moved to where irrelevant features stood, and the reverse.

    One such stream has one concept; a drift comes of joining streams with different `n_drift_features`.
    Equals MOA's `LEDGeneratorDrift`.

    Parameters
    ----------
    n_drift_features
        Number of segments, 0 to 7, that change places with an irrelevant feature: feature i with feature 7 + i. Without
        irrelevant features nothing moves.
    noise
        Probability, in whole percent, with which each segment is inverted.
    irrelevant_features
        Whether 17 random binary features stand beside the seven segments.
    seed
        Seed of the samples, a 32-bit integer; `None` is MOA's default, 1.
    n_samples
        Length, or `None` for a stream without end.

    References
    ----------
    Breiman, Friedman, Olshen, Stone (1984): Classification and Regression Trees. Sec. 2.6.1.
    """

    def __init__(
        self,
        *,
        n_drift_features: int = 1,
        noise: float = 0.1,
        irrelevant_features: bool = True,
        seed: int | None = None,
        n_samples: int | None = None,
    ) -> None:
        super().__init__(noise=noise, irrelevant_features=irrelevant_features, seed=seed, n_samples=n_samples)
        _check_integer("n_drift_features", n_drift_features, 0, 7)
        self.n_drift_features = n_drift_features

    def _columns(self) -> np.ndarray:
        columns = super()._columns()
        if self.irrelevant_features:
            moved = np.arange(self.n_drift_features)
            columns[moved], columns[moved + 7] = moved + 7, moved
        return columns


# Lit segments of each digit: top, upper left, upper right, middle, lower left, lower right, bottom.
SEGMENTS = np.array(
    [
        [1, 1, 1, 0, 1, 1, 1],
        [0, 0, 1, 0, 0, 1, 0],
        [1, 0, 1, 1, 1, 0, 1],
        [1, 0, 1, 1, 0, 1, 1],
        [0, 1, 1, 1, 0, 1, 0],
        [1, 1, 0, 1, 0, 1, 1],
        [1, 1, 0, 1, 1, 1, 1],
        [1, 0, 1, 0, 0, 1, 0],
        [1, 1, 1, 1, 1, 1, 1],
        [1, 1, 1, 1, 0, 1, 1],
    ]
)


@njit(cache=True)
def _fill_led(
    random: np.ndarray, noise_percent: int, columns: np.ndarray, X: np.ndarray, y: np.ndarray
) -> None:
    for i in range(len(y)):
        digit = next_int_below(random, 10)
        y[i] = digit
        for segment in range(7):
            is_inverted = next_int_below(random, 100) < noise_percent
            X[i, columns[segment]] = SEGMENTS[digit, segment] ^ is_inverted
        for feature in range(7, len(columns)):
            X[i, columns[feature]] = next_int_below(random, 2)


class SEA(_Generator):
    """Three numbers in [0, 10), of which the first two decide: class 1 where their sum is above a threshold.

    Equals MOA's `SEAGenerator`.

    Parameters
    ----------
    function
        Concept, 1 to 4: a threshold of 8, 9, 7 or 9.5.
    noise
        Probability, in whole percent, with which the label is inverted.
    balance
        Whether samples whose class before noise is not the wanted one, 1 and 0 in turn, are left out.
    seed
        Seed of the samples, a 32-bit integer; `None` is MOA's default, 1.
    n_samples
        Length, or `None` for a stream without end.

    References
    ----------
    Street, Kim (2001): A streaming ensemble algorithm (SEA) for large-scale classification. KDD 2001, 377-382.
    """

    def __init__(
        self,
        *,
        function: int = 1,
        noise: float = 0.1,
        balance: bool = False,
        seed: int | None = None,
        n_samples: int | None = None,
    ) -> None:
        super().__init__(
            features=[Feature(f"attrib{i + 1}") for i in range(3)],
            n_classes=2,
            seed=seed,
            n_samples=n_samples,
        )
        _check_integer("function", function, 1, 4)
        self.function = function
        self.noise = noise
        self.balance = balance
        self._noise_percent = _percent("noise", noise)

    def _start(self) -> Fill:
        random, wanted = self._random(), _first_wanted(self.balance)
        threshold = (8.0, 9.0, 7.0, 9.5)[self.function - 1]

        def fill(X: np.ndarray, y: np.ndarray) -> None:
            _fill_sea(random, threshold, self._noise_percent, wanted, X, y)

        return fill


@njit(cache=True)
def _fill_sea(
    random: np.ndarray, threshold: float, noise_percent: int, wanted: np.ndarray, X: np.ndarray, y: np.ndarray
) -> None:
    for i in range(len(y)):
        while True:
            for feature in range(3):
                X[i, feature] = 10 * next_double(random)
            target = 0 if X[i, 0] + X[i, 1] <= threshold else 1
            if _is_wanted(target, wanted):
                break
        is_inverted = next_int_below(random, 100) < noise_percent
        y[i] = 1 - target if is_inverted else target


class RandomRBF(_Generator):
    """Samples around random centroids, each with its own class, weight and deviation.

    A sample lies in a uniformly drawn direction (of a cube) from its centroid, at a normally distributed distance.
    Equals MOA's `RandomRBFGenerator`. It needs no function of a C library, whose last bit could differ.

    Parameters
    ----------
    n_classes
        Number of classes, at least 2.
    n_features
        Number of numeric features, at least 1.
    n_centroids
        Number of centroids, at least 1.
    model_seed
        Seed of the centroids, a 32-bit integer; `None` is MOA's default, 1.
    seed
        Seed of the samples, a 32-bit integer; `None` is MOA's default, 1.
    n_samples
        Length, or `None` for a stream without end.

    References
    ----------
    Bifet, Holmes, Pfahringer, Kirkby, Gavaldà (2009): New ensemble methods for evolving data streams. KDD 2009, sec. 5.
    """

    def __init__(
        self,
        *,
        n_classes: int = 2,
        n_features: int = 10,
        n_centroids: int = 50,
        model_seed: int | None = None,
        seed: int | None = None,
        n_samples: int | None = None,
    ) -> None:
        _check_integer("n_classes", n_classes, 2)
        _check_integer("n_features", n_features, 1)
        super().__init__(
            features=[Feature(f"att{i + 1}") for i in range(n_features)],
            n_classes=n_classes,
            seed=seed,
            n_samples=n_samples,
        )
        _check_integer("n_centroids", n_centroids, 1)
        self.n_centroids = n_centroids
        self.model_seed = model_seed
        self._model_seed = _java_seed("model_seed", model_seed)

    def _velocities(self) -> np.ndarray:
        """Return how far the first centroids move before each sample, shape (moving centroids, n_features)."""
        return np.empty((0, self.n_features))

    def _start(self) -> Fill:
        random, velocities = self._random(), self._velocities()
        centroids = _draw_centroids(
            seeded(self._model_seed), self.n_classes, self.n_centroids, self.n_features
        )

        def fill(X: np.ndarray, y: np.ndarray) -> None:
            _fill_rbf(random, *centroids, velocities, X, y)

        return fill


class RandomRBFDrift(RandomRBF):
    """`RandomRBF` whose centroids move in straight lines and turn round at 0 and 1 of each feature.

    Equals MOA's `RandomRBFGeneratorDrift`. It needs no function of a C library, whose last bit could differ.

    Parameters
    ----------
    n_classes
        Number of classes, at least 2.
    n_features
        Number of numeric features, at least 1.
    n_centroids
        Number of centroids, at least 1.
    speed
        Distance that each moving centroid goes before each sample, at least 0.
    n_drift_centroids
        Number of moving centroids; all move where it is above `n_centroids`.
    model_seed
        Seed of the centroids and their directions, a 32-bit integer; `None` is MOA's default, 1.
    seed
        Seed of the samples, a 32-bit integer; `None` is MOA's default, 1.
    n_samples
        Length, or `None` for a stream without end.

    References
    ----------
    Bifet, Holmes, Pfahringer, Kirkby, Gavaldà (2009): New ensemble methods for evolving data streams. KDD 2009, sec. 5.
    """

    def __init__(
        self,
        *,
        n_classes: int = 2,
        n_features: int = 10,
        n_centroids: int = 50,
        speed: float = 0.0,
        n_drift_centroids: int = 50,
        model_seed: int | None = None,
        seed: int | None = None,
        n_samples: int | None = None,
    ) -> None:
        super().__init__(
            n_classes=n_classes,
            n_features=n_features,
            n_centroids=n_centroids,
            model_seed=model_seed,
            seed=seed,
            n_samples=n_samples,
        )
        _check_number("speed", speed, 0.0)
        _check_integer("n_drift_centroids", n_drift_centroids, 0)
        self.speed = speed
        self.n_drift_centroids = n_drift_centroids

    def _velocities(self) -> np.ndarray:
        random = seeded(self._model_seed)
        velocities = np.empty((min(self.n_drift_centroids, self.n_centroids), self.n_features))
        for velocity in velocities:
            square = 0.0
            for feature in range(self.n_features):
                velocity[feature] = next_double(random)
                square += velocity[feature] * velocity[feature]
            velocity /= math.sqrt(square)
        return velocities * self.speed


def _draw_centroids(
    random: np.ndarray, n_classes: int, n_centroids: int, n_features: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return centres (n_centroids, n_features), classes, deviations and cumulated weights (n_centroids,)."""
    centres = np.empty((n_centroids, n_features))
    classes = np.empty(n_centroids, dtype=np.int64)
    deviations, weights = np.empty(n_centroids), np.empty(n_centroids)
    for c in range(n_centroids):
        for feature in range(n_features):
            centres[c, feature] = next_double(random)
        classes[c] = next_int_below(random, n_classes)
        deviations[c] = next_double(random)
        weights[c] = next_double(random)
    return centres, classes, deviations, np.cumsum(weights)


@njit(cache=True)
def _fill_rbf(
    random: np.ndarray,
    centres: np.ndarray,
    classes: np.ndarray,
    deviations: np.ndarray,
    cumulated_weights: np.ndarray,
    velocities: np.ndarray,
    X: np.ndarray,
    y: np.ndarray,
) -> None:
    n_centroids, n_features = centres.shape
    for i in range(len(y)):
        _move(centres, velocities)
        chosen = next_double(random) * cumulated_weights[-1]
        c = min(np.searchsorted(cumulated_weights, chosen, side="right"), n_centroids - 1)
        square = 0.0
        for feature in range(n_features):
            direction = next_double(random) * 2.0 - 1.0
            X[i, feature] = direction
            square += direction * direction
        scale = next_gaussian(random) * deviations[c] / math.sqrt(square)
        for feature in range(n_features):
            X[i, feature] = centres[c, feature] + X[i, feature] * scale
        y[i] = classes[c]


@njit(cache=True)
def _move(centres: np.ndarray, velocities: np.ndarray) -> None:
    """Move the first centres by one step; one that would leave [0, 1] stops at the edge and turns round."""
    n_moving, n_features = velocities.shape
    for c in range(n_moving):
        for feature in range(n_features):
            place = centres[c, feature] + velocities[c, feature]
            if place > 1.0 or place < 0.0:
                velocities[c, feature] = -velocities[c, feature]
            centres[c, feature] = min(max(place, 0.0), 1.0)


def _first_wanted(balance: bool) -> np.ndarray:
    """Return what `_is_wanted` waits for at the start: class 1 of balanced classes, else anything."""
    return np.array([1 if balance else ANY_CLASS])


ANY_CLASS = -1


@njit(cache=True)
def _is_wanted(target: int, wanted: np.ndarray) -> bool:
    """Tell whether a drawn sample of class `target` is used; if so and classes are balanced, want the other one next."""
    if wanted[0] == ANY_CLASS:
        return True
    if target != wanted[0]:
        return False
    wanted[0] = 1 - target
    return True


def _java_seed(name: str, seed: int | None) -> int:
    """Return the seed as MOA takes it, whose seeds are 32-bit integers and 1 by default."""
    if seed is None:
        return 1
    _check_integer(name, seed, -(2**31), 2**31 - 1)
    return int(seed)


def _percent(name: str, share: float) -> int:
    """Return a probability as a whole percentage, the unit in which MOA holds it."""
    percent = round(100 * share)
    if not 0 <= percent <= 100 or abs(100 * share - percent) > 1e-9:
        raise ValueError(
            f"{name}={share}; MOA counts it in whole percent: choose one of 0.0, 0.01, 0.02, ..., 1.0"
        )
    return percent


def _check_integer(name: str, value: int, low: int, high: int | None = None) -> None:
    if not isinstance(value, int | np.integer):
        raise ValueError(f"{name}={value!r} is no integer; choose {_range_text(name, low, high)}")
    _check_number(name, value, low, high)


def _check_number(name: str, value: float, low: float, high: float | None = None) -> None:
    if not (low <= value and (high is None or value <= high)):
        raise ValueError(f"{name}={value!r} is out of range; choose {_range_text(name, low, high)}")


def _range_text(name: str, low: float, high: float | None) -> str:
    return f"{name} >= {low}" if high is None else f"{low} <= {name} <= {high}"
