"""Synthetic streams that equal MOA's generators sample for sample.

Each class draws the numbers of `java.util.Random` (`streams.java_random`) in the order in which the MOA class
of its docstring draws them, so parameters and seeds of a published experiment on MOA or CapyMOA give that
experiment's samples: features and labels are equal as float64, for all samples. One compiled kernel fills a
block. Where a platform could still differ in the last bit, the docstring says so.

Left out: options of MOA that change no sample (class labels that no sample gets, lengths that nothing reads).

References
----------
Bifet, Holmes, Kirkby, Pfahringer (2010): MOA: Massive Online Analysis. JMLR 11, 1601-1604.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from streams.java_random import kernel, next_double, next_float, next_gaussian, next_int_below, seeded
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
        Number of segments, 0 to 7, that change places with an irrelevant feature: feature i with feature 7 +
        i. Without irrelevant features nothing moves.
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


@kernel
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
    Street, Kim (2001): A streaming ensemble algorithm (SEA) for large-scale classification. KDD 2001,
    377-382.
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


@kernel
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

    A sample lies in a uniformly drawn direction (of a cube) from its centroid, at a normally distributed
    distance. Equals MOA's `RandomRBFGenerator`. It needs no function of a C library, whose last bit could
    differ.

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
    Bifet, Holmes, Pfahringer, Kirkby, Gavaldà (2009): New ensemble methods for evolving data streams. KDD
    2009, sec. 5.
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
        """Return how far the first centroids move before each sample, (n_moving, n_features)."""
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
    Bifet, Holmes, Pfahringer, Kirkby, Gavaldà (2009): New ensemble methods for evolving data streams. KDD
    2009, sec. 5.
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


@kernel
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


@kernel
def _move(centres: np.ndarray, velocities: np.ndarray) -> None:
    """Move the first centres by one step; one that would leave [0, 1] stops at the edge and turns round."""
    n_moving, n_features = velocities.shape
    for c in range(n_moving):
        for feature in range(n_features):
            place = centres[c, feature] + velocities[c, feature]
            if place > 1.0 or place < 0.0:
                velocities[c, feature] = -velocities[c, feature]
            centres[c, feature] = min(max(place, 0.0), 1.0)


class Agrawal(_Generator):
    """Applications for a loan, which one of ten rules of a bank divides into two groups.

    Equals MOA's `AgrawalGenerator`, which also clips the perturbed `hvalue` to 135 000. The numbers are
    perturbed after the class is decided.

    Parameters
    ----------
    function
        Concept, 1 to 10.
    perturbation
        Largest change of a number after the class is decided, 0 to 1, as a share of the range of its feature.
    balance
        Whether samples whose class is not the wanted one, 1 and 0 in turn, are left out.
    seed
        Seed of the samples, a 32-bit integer; `None` is MOA's default, 1.
    n_samples
        Length, or `None` for a stream without end.

    References
    ----------
    Agrawal, Imieliński, Swami (1993): Database mining: a performance perspective. IEEE TKDE 5(6), 914-925.
    """

    def __init__(
        self,
        *,
        function: int = 1,
        perturbation: float = 0.05,
        balance: bool = False,
        seed: int | None = None,
        n_samples: int | None = None,
    ) -> None:
        super().__init__(
            features=[
                Feature("salary"),
                Feature("commission"),
                Feature("age"),
                Feature("elevel", [f"level{i}" for i in range(5)]),
                Feature("car", [f"car{i + 1}" for i in range(20)]),
                Feature("zipcode", [f"zipcode{i + 1}" for i in range(9)]),
                Feature("hvalue"),
                Feature("hyears"),
                Feature("loan"),
            ],
            n_classes=2,
            seed=seed,
            n_samples=n_samples,
        )
        _check_integer("function", function, 1, 10)
        _check_number("perturbation", perturbation, 0.0, 1.0)
        self.function = function
        self.perturbation = perturbation
        self.balance = balance

    def _start(self) -> Fill:
        random, wanted = self._random(), _first_wanted(self.balance)

        def fill(X: np.ndarray, y: np.ndarray) -> None:
            _fill_agrawal(random, self.function, self.perturbation, wanted, X, y)

        return fill


@kernel
def _fill_agrawal(
    random: np.ndarray, function: int, perturbation: float, wanted: np.ndarray, X: np.ndarray, y: np.ndarray
) -> None:
    for i in range(len(y)):
        while True:
            salary = 20000.0 + 130000.0 * next_double(random)
            commission = 0.0 if salary >= 75000.0 else 10000.0 + 65000.0 * next_double(random)
            age = 20 + next_int_below(random, 61)
            elevel = next_int_below(random, 5)
            car = next_int_below(random, 20)
            zipcode = next_int_below(random, 9)
            typical_hvalue = (9.0 - zipcode) * 100000.0
            hvalue = typical_hvalue * (0.5 + next_double(random))
            hyears = 1 + next_int_below(random, 30)
            loan = next_double(random) * 500000.0
            y[i] = _agrawal_class(function, salary, commission, age, elevel, hvalue, hyears, loan)
            if _is_wanted(y[i], wanted):
                break
        if perturbation > 0.0:
            salary = _perturbed(random, perturbation, salary, 130000.0, 20000.0, 150000.0)
            if commission > 0.0:
                commission = _perturbed(random, perturbation, commission, 65000.0, 10000.0, 75000.0)
            # Rounded half up, as Java's Math.round.
            age = math.floor(_perturbed(random, perturbation, age, 60.0, 20.0, 80.0) + 0.5)
            hvalue = _perturbed(random, perturbation, hvalue, typical_hvalue, 0.0, 135000.0)
            hyears = math.floor(_perturbed(random, perturbation, hyears, 29.0, 1.0, 30.0) + 0.5)
            loan = _perturbed(random, perturbation, loan, 500000.0, 0.0, 500000.0)
        X[i, 0], X[i, 1], X[i, 2] = salary, commission, age
        X[i, 3], X[i, 4], X[i, 5] = elevel, car, zipcode
        X[i, 6], X[i, 7], X[i, 8] = hvalue, hyears, loan


@kernel
def _perturbed(
    random: np.ndarray, perturbation: float, value: float, width: float, low: float, high: float
) -> float:
    """Return the value moved by at most `perturbation * width` and clipped to [low, high]."""
    value += width * (2.0 * (next_double(random) - 0.5)) * perturbation
    return min(max(value, low), high)


@kernel
def _agrawal_class(
    function: int,
    salary: float,
    commission: float,
    age: int,
    elevel: int,
    hvalue: float,
    hyears: int,
    loan: float,
) -> int:
    """Return 0 where the function puts the applicant in group A, else 1."""
    band = 0 if age < 40 else 1 if age < 60 else 2
    low_salary = (50000.0, 75000.0, 25000.0)[band]
    is_usual_elevel = band <= elevel <= (1, 3, 4)[band]
    if function == 1:
        is_a = band != 1
    elif function == 2:
        is_a = low_salary <= salary <= low_salary + 50000.0
    elif function == 3:
        is_a = is_usual_elevel
    elif function == 4:
        low_usual, low_else = (25000.0, 50000.0, 50000.0)[band], low_salary
        low = low_usual if is_usual_elevel else low_else
        is_a = low <= salary <= low + 50000.0
    elif function == 5:
        if low_salary <= salary <= low_salary + 50000.0:
            low = (100000.0, 200000.0, 300000.0)[band]
        else:
            low = (200000.0, 300000.0, 100000.0)[band]
        is_a = low <= loan <= low + 200000.0
    elif function == 6:
        is_a = low_salary <= salary + commission <= low_salary + 50000.0
    else:
        income = 2.0 * (salary + commission) / 3.0
        if function == 7:
            disposable = income - loan / 5.0 - 20000.0
        elif function == 8:
            disposable = income - 5000.0 * elevel - 20000.0
        elif function == 9:
            disposable = income - 5000.0 * elevel - loan / 5.0 - 10000.0
        else:
            equity = hvalue * (hyears - 20.0) / 10.0 if hyears >= 20 else 0.0
            disposable = income - 5000.0 * elevel + equity / 5.0 - 10000.0
        is_a = disposable > 0.0
    return 0 if is_a else 1


class Hyperplane(_Generator):
    """Points of a cube on two sides of a hyperplane that turns slowly.

    Equals MOA's `HyperplaneGenerator`.

    Parameters
    ----------
    n_features
        Number of numeric features, at least 1.
    n_drift_features
        Number of features, the first ones, whose weight changes; 0 to `n_features`.
    mag_change
        Change of each such weight after each sample, 0 to 1.
    noise
        Probability, in whole percent, with which the label is inverted.
    sigma
        Probability, in whole percent, with which each weight's change turns to the other direction after a
        sample.
    seed
        Seed of the first weights and the samples, a 32-bit integer; `None` is MOA's default, 1.
    n_samples
        Length, or `None` for a stream without end.

    References
    ----------
    Hulten, Spencer, Domingos (2001): Mining time-changing data streams. KDD 2001, 97-106.
    """

    def __init__(
        self,
        *,
        n_features: int = 10,
        n_drift_features: int = 2,
        mag_change: float = 0.0,
        noise: float = 0.05,
        sigma: float = 0.1,
        seed: int | None = None,
        n_samples: int | None = None,
    ) -> None:
        _check_integer("n_features", n_features, 1)
        super().__init__(
            features=[Feature(f"att{i + 1}") for i in range(n_features)],
            n_classes=2,
            seed=seed,
            n_samples=n_samples,
        )
        _check_integer("n_drift_features", n_drift_features, 0, n_features)
        _check_number("mag_change", mag_change, 0.0, 1.0)
        self.n_drift_features = n_drift_features
        self.mag_change = mag_change
        self.noise = noise
        self.sigma = sigma
        self._noise_percent = _percent("noise", noise)
        self._sigma_percent = _percent("sigma", sigma)

    def _start(self) -> Fill:
        random = self._random()
        weights = np.array([next_double(random) for _ in range(self.n_features)])
        changes = np.full(self.n_drift_features, float(self.mag_change))

        def fill(X: np.ndarray, y: np.ndarray) -> None:
            _fill_hyperplane(random, weights, changes, self._noise_percent, self._sigma_percent, X, y)

        return fill


@kernel
def _fill_hyperplane(
    random: np.ndarray,
    weights: np.ndarray,
    changes: np.ndarray,
    noise_percent: int,
    sigma_percent: int,
    X: np.ndarray,
    y: np.ndarray,
) -> None:
    for i in range(len(y)):
        total, total_weight = 0.0, 0.0
        for feature in range(len(weights)):
            X[i, feature] = next_double(random)
            total += weights[feature] * X[i, feature]
            total_weight += weights[feature]
        target = 1 if total >= total_weight * 0.5 else 0
        is_inverted = next_int_below(random, 100) < noise_percent
        y[i] = 1 - target if is_inverted else target
        for feature in range(len(changes)):
            weights[feature] += changes[feature]
            if next_int_below(random, 100) < sigma_percent:
                changes[feature] = -changes[feature]


class RandomTree(_Generator):
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
        Probability that it does.
    model_seed
        Seed of the tree, a 32-bit integer; `None` is MOA's default, 1.
    seed
        Seed of the samples, a 32-bit integer; `None` is MOA's default, 1.
    n_samples
        Length, or `None` for a stream without end.

    References
    ----------
    Domingos, Hulten (2000): Mining high-speed data streams. KDD 2000, sec. 4.1.
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
        _check_integer("n_classes", n_classes, 2)
        _check_integer("n_nominal", n_nominal, 0)
        _check_integer("n_numeric", n_numeric, 0)
        _check_integer("n_values", n_values, 2)
        _check_integer("max_depth", max_depth, 0)
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
        _check_integer("first_leaf_level", first_leaf_level, 0)
        _check_number("leaf_fraction", leaf_fraction, 0.0, 1.0)
        self.n_nominal = n_nominal
        self.n_numeric = n_numeric
        self.n_values = n_values
        self.max_depth = max_depth
        self.first_leaf_level = first_leaf_level
        self.leaf_fraction = leaf_fraction
        self.model_seed = model_seed
        self._model_seed = _java_seed("model_seed", model_seed)

    def _start(self) -> Fill:
        random, tree = self._random(), self._draw_tree()

        def fill(X: np.ndarray, y: np.ndarray) -> None:
            _fill_random_tree(random, self.n_nominal, self.n_values, *tree, X, y)

        return fill

    def _draw_tree(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return, per node: feature of the split or LEAF, threshold, children, class if a leaf."""
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


LEAF = -1


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


class Sine(_Generator):
    """Two numbers in [0, 1), which a sine curve divides into two classes.

    Equals MOA's `SineGenerator`. A platform whose sine rounds otherwise could give another label where a
    point lies within the last bit of the curve, about one sample in 10**16.

    Parameters
    ----------
    function
        Concept, 1 to 4: class 0 below ``sin(att1)``, not below it, below ``0.5 + 0.3 sin(3 pi att1)``, not
        below it.
    irrelevant_features
        Whether two random numbers follow the two that decide.
    balance
        Whether samples whose class is not the wanted one, 1 and 0 in turn, are left out.
    seed
        Seed of the samples, a 32-bit integer; `None` is MOA's default, 1.
    n_samples
        Length, or `None` for a stream without end.

    References
    ----------
    Gama, Medas, Castillo, Rodrigues (2004): Learning with drift detection. SBIA 2004, sec. 4.1.
    """

    def __init__(
        self,
        *,
        function: int = 1,
        irrelevant_features: bool = True,
        balance: bool = False,
        seed: int | None = None,
        n_samples: int | None = None,
    ) -> None:
        super().__init__(
            features=[Feature(f"att{i + 1}") for i in range(4 if irrelevant_features else 2)],
            n_classes=2,
            seed=seed,
            n_samples=n_samples,
        )
        _check_integer("function", function, 1, 4)
        self.function = function
        self.irrelevant_features = irrelevant_features
        self.balance = balance

    def _start(self) -> Fill:
        random, wanted = self._random(), _first_wanted(self.balance)

        def fill(X: np.ndarray, y: np.ndarray) -> None:
            _fill_sine(random, self.function, wanted, X, y)

        return fill


@kernel
def _fill_sine(random: np.ndarray, function: int, wanted: np.ndarray, X: np.ndarray, y: np.ndarray) -> None:
    for i in range(len(y)):
        while True:
            X[i, 0], X[i, 1] = next_double(random), next_double(random)
            curve = math.sin(X[i, 0]) if function <= 2 else _steep_sine(X[i, 0])
            is_below = X[i, 1] < curve
            y[i] = 0 if is_below == (function == 1 or function == 3) else 1
            if _is_wanted(y[i], wanted):
                break
        for feature in range(2, X.shape[1]):
            X[i, feature] = next_double(random)


@kernel
def _steep_sine(x: float) -> float:
    return 0.5 + 0.3 * math.sin(3 * math.pi * x)


class STAGGER(_Generator):
    """Objects of three sizes, colours and shapes, and three rules that tell the true from the false.

    Equals MOA's `STAGGERGenerator`.

    Parameters
    ----------
    function
        Concept, 1 to 3: class 1 is small and red; green or a circle; medium or large.
    balance
        Whether samples whose class is not the wanted one, 1 and 0 in turn, are left out.
    seed
        Seed of the samples, a 32-bit integer; `None` is MOA's default, 1.
    n_samples
        Length, or `None` for a stream without end.

    References
    ----------
    Schlimmer, Granger (1986): Incremental learning from noisy data. Machine Learning 1(3), 317-354.
    """

    def __init__(
        self,
        *,
        function: int = 1,
        balance: bool = False,
        seed: int | None = None,
        n_samples: int | None = None,
    ) -> None:
        super().__init__(
            features=[
                Feature("size", ["small", "medium", "large"]),
                Feature("color", ["red", "blue", "green"]),
                Feature("shape", ["circle", "square", "triangle"]),
            ],
            n_classes=2,
            seed=seed,
            n_samples=n_samples,
        )
        _check_integer("function", function, 1, 3)
        self.function = function
        self.balance = balance

    def _start(self) -> Fill:
        random, wanted = self._random(), _first_wanted(self.balance)

        def fill(X: np.ndarray, y: np.ndarray) -> None:
            _fill_stagger(random, self.function, wanted, X, y)

        return fill


@kernel
def _fill_stagger(
    random: np.ndarray, function: int, wanted: np.ndarray, X: np.ndarray, y: np.ndarray
) -> None:
    for i in range(len(y)):
        while True:
            size, color, shape = (
                next_int_below(random, 3),
                next_int_below(random, 3),
                next_int_below(random, 3),
            )
            if function == 1:
                is_true = size == 0 and color == 0
            elif function == 2:
                is_true = color == 2 or shape == 0
            else:
                is_true = size != 0
            y[i] = 1 if is_true else 0
            if _is_wanted(y[i], wanted):
                break
        X[i, 0], X[i, 1], X[i, 2] = size, color, shape


class Mixed(_Generator):
    """Two truth values and a point beside a sine curve: class 0 where two of the three hold (function 1).

    Equals MOA's `MixedGenerator`. A platform whose sine rounds otherwise could give another label where a
    point lies within the last bit of the curve, about one sample in 10**16.

    Parameters
    ----------
    function
        Concept, 1 or 2; the second is the first with its classes exchanged.
    balance
        Whether samples whose class is not the wanted one, 1 and 0 in turn, are left out.
    seed
        Seed of the samples, a 32-bit integer; `None` is MOA's default, 1.
    n_samples
        Length, or `None` for a stream without end.

    References
    ----------
    Gama, Medas, Castillo, Rodrigues (2004): Learning with drift detection. SBIA 2004, sec. 4.1.
    """

    def __init__(
        self,
        *,
        function: int = 1,
        balance: bool = False,
        seed: int | None = None,
        n_samples: int | None = None,
    ) -> None:
        super().__init__(
            features=[Feature("v", [0, 1]), Feature("w", [0, 1]), Feature("x"), Feature("y")],
            n_classes=2,
            seed=seed,
            n_samples=n_samples,
        )
        _check_integer("function", function, 1, 2)
        self.function = function
        self.balance = balance

    def _start(self) -> Fill:
        random, wanted = self._random(), _first_wanted(self.balance)

        def fill(X: np.ndarray, y: np.ndarray) -> None:
            _fill_mixed(random, self.function, wanted, X, y)

        return fill


@kernel
def _fill_mixed(random: np.ndarray, function: int, wanted: np.ndarray, X: np.ndarray, y: np.ndarray) -> None:
    for i in range(len(y)):
        while True:
            X[i, 0] = 0.0 if next_double(random) < 0.5 else 1.0
            X[i, 1] = 0.0 if next_double(random) < 0.5 else 1.0
            X[i, 2], X[i, 3] = next_double(random), next_double(random)
            is_below = X[i, 3] < _steep_sine(X[i, 2])
            holds = X[i, 0] + X[i, 1] + (1.0 if is_below else 0.0) >= 2.0
            y[i] = 0 if holds == (function == 1) else 1
            if _is_wanted(y[i], wanted):
                break


class Waveform(_Generator):
    """A random mixture of two of three triangular waves, in normal noise; the class tells which two.

    Equals MOA's `WaveformGenerator`. It needs no function of a C library, whose last bit could differ.

    Parameters
    ----------
    irrelevant_features
        Whether 19 features of pure noise follow the 21 points of the wave.
    seed
        Seed of the samples, a 32-bit integer; `None` is MOA's default, 1.
    n_samples
        Length, or `None` for a stream without end.

    References
    ----------
    Breiman, Friedman, Olshen, Stone (1984): Classification and Regression Trees. Sec. 2.6.2.
    """

    def __init__(
        self,
        *,
        irrelevant_features: bool = False,
        seed: int | None = None,
        n_samples: int | None = None,
    ) -> None:
        super().__init__(
            features=[Feature(f"att{i + 1}") for i in range(40 if irrelevant_features else 21)],
            n_classes=3,
            seed=seed,
            n_samples=n_samples,
        )
        self.irrelevant_features = irrelevant_features

    def _columns(self, random: np.ndarray) -> np.ndarray:
        """Return the column in which each point of the wave, then each irrelevant feature, stands."""
        return np.arange(self.n_features)

    def _start(self) -> Fill:
        random = self._random()
        columns = self._columns(random)

        def fill(X: np.ndarray, y: np.ndarray) -> None:
            _fill_waveform(random, columns, X, y)

        return fill


class WaveformDrift(Waveform):
    """`Waveform` with some features exchanged at random.

    One such stream has one concept; a drift comes of joining streams with different `n_drift_features`.
    Equals MOA's `WaveformGeneratorDrift` as it is before its `restart` is called: MOA draws the two places
    where the exchange begins from the seed of the samples, but not again at a restart. It needs no function
    of a C library, whose last bit could differ.

    Parameters
    ----------
    n_drift_features
        Number of exchanges, 0 to 40, each of a feature with another, going on from the two places.
    irrelevant_features
        Whether 19 features of pure noise stand beside the 21 points of the wave.
    seed
        Seed of the exchanged places and the samples, a 32-bit integer; `None` is MOA's default, 1.
    n_samples
        Length, or `None` for a stream without end.

    References
    ----------
    Breiman, Friedman, Olshen, Stone (1984): Classification and Regression Trees. Sec. 2.6.2.
    """

    def __init__(
        self,
        *,
        n_drift_features: int = 0,
        irrelevant_features: bool = False,
        seed: int | None = None,
        n_samples: int | None = None,
    ) -> None:
        super().__init__(irrelevant_features=irrelevant_features, seed=seed, n_samples=n_samples)
        _check_integer("n_drift_features", n_drift_features, 0, 40)
        self.n_drift_features = n_drift_features

    def _columns(self, random: np.ndarray) -> np.ndarray:
        columns = super()._columns(random)
        first = next_int_below(random, self.n_features)
        second = next_int_below(random, self.n_features)
        for i in range(self.n_drift_features):
            a, b = (first + i) % self.n_features, (second + i) % self.n_features
            columns[a], columns[b] = columns[b], columns[a]
        return columns


# The three triangular waves, each of height 6, and the two that each class mixes.
WAVES = np.maximum(0, 6 - np.abs(np.arange(21) - np.array([[6], [14], [10]])))
MIXED_WAVES = np.array([[0, 1], [0, 2], [1, 2]])


@kernel
def _fill_waveform(random: np.ndarray, columns: np.ndarray, X: np.ndarray, y: np.ndarray) -> None:
    for i in range(len(y)):
        y[i] = next_int_below(random, 3)
        a, b = MIXED_WAVES[y[i], 0], MIXED_WAVES[y[i], 1]
        share = next_double(random)
        for point in range(21):
            wave = share * WAVES[a, point] + (1.0 - share) * WAVES[b, point]
            X[i, columns[point]] = wave + next_gaussian(random)
        for feature in range(21, len(columns)):
            X[i, columns[feature]] = next_gaussian(random)


class AssetNegotiation(_Generator):
    """Offers of an asset, which interest another agent (class 0) or do not (class 1), in turn.

    Equals MOA's `AssetNegotiationGenerator`, its oddity included: where class 1 is wanted and an interesting
    offer was drawn, that offer is given the features of an interesting offer once more, drawn anew, and
    labelled 1. These draws come from a random state that all streams of a Java process share, per function;
    equal are the first stream of a function in its process and each of ours.

    Parameters
    ----------
    function
        Concept, 1 to 5.
    noise
        Probability, 0 to 1, with which the label is inverted.
    seed
        Seed of the samples, a 32-bit integer; `None` is MOA's default, 1.
    n_samples
        Length, or `None` for a stream without end.

    References
    ----------
    Enembreck, Ávila, Scalabrin, Barthès (2007): Learning drifting negotiations. Applied Artificial
    Intelligence 21(9), 861-881.
    """

    def __init__(
        self,
        *,
        function: int = 1,
        noise: float = 0.05,
        seed: int | None = None,
        n_samples: int | None = None,
    ) -> None:
        super().__init__(
            features=[
                Feature("color", ["black", "blue", "cyan", "brown", "red", "green", "yellow", "magenta"]),
                Feature("price", [*_DEGREES, "quiteHigh", "enormous", "non_salable"]),
                Feature("payment", [str(days) for days in range(0, 241, 30)]),
                Feature("amount", [*_DEGREES, "quiteHigh", "enormous", "non_ensured"]),
                Feature("deliveryDelay", [*_DEGREES]),
            ],
            n_classes=2,
            seed=seed,
            n_samples=n_samples,
        )
        _check_integer("function", function, 1, 5)
        _check_number("noise", noise, 0.0, 1.0)
        self.function = function
        self.noise = noise

    def _start(self) -> Fill:
        random, repair_random = self._random(), seeded(2**31 - 1)
        wanted = _first_wanted(balance=True)
        n_values = np.array([len(feature.values or ()) for feature in self.features])
        offers = INTERESTING_OFFERS[self.function - 1]

        def fill(X: np.ndarray, y: np.ndarray) -> None:
            _fill_asset_negotiation(random, repair_random, n_values, offers, self.noise, wanted, X, y)

        return fill


_DEGREES = ["veryLow", "low", "normal", "high", "veryHigh"]

# Two offers per function that interest the agent: index of color, price, payment, amount and delay, ANY where
# any will do. Function 2 has one.
ANY = -1
INTERESTING_OFFERS = np.array(
    [
        [[ANY, 2, ANY, 3, ANY], [3, 0, ANY, ANY, 3]],
        [[ANY, 3, ANY, 4, 3], [ANY, 3, ANY, 4, 3]],
        [[ANY, 0, 0, 3, ANY], [4, 1, 1, ANY, ANY]],
        [[0, ANY, 3, ANY, 0], [7, 3, ANY, ANY, 0]],
        [[1, ANY, 2, 1, 2], [2, ANY, ANY, 1, 2]],
    ]
)


@kernel
def _fill_asset_negotiation(
    random: np.ndarray,
    repair_random: np.ndarray,
    n_values: np.ndarray,
    offers: np.ndarray,
    noise: float,
    wanted: np.ndarray,
    X: np.ndarray,
    y: np.ndarray,
) -> None:
    for i in range(len(y)):
        while True:
            for feature in range(5):
                X[i, feature] = next_int_below(random, n_values[feature])
            target = 0 if _is_offer(X[i], offers[0]) or _is_offer(X[i], offers[1]) else 1
            if target == 0 and wanted[0] == 1:
                # Where both offers are one, as in function 2, either draw gives the same.
                offer = offers[next_int_below(repair_random, 2)]
                for feature in range(5):
                    if offer[feature] != ANY:
                        X[i, feature] = offer[feature]
                target = 1
            if _is_wanted(target, wanted):
                break
        is_inverted = next_float(random) <= noise
        y[i] = 1 - target if is_inverted else target


@kernel
def _is_offer(x: np.ndarray, offer: np.ndarray) -> bool:
    """Tell whether every feature is as in the offer."""
    for feature in range(len(offer)):  # noqa: SIM110 - all() of a generator does not compile
        if offer[feature] != ANY and x[feature] != offer[feature]:
            return False
    return True


def _first_wanted(balance: bool) -> np.ndarray:
    """Return what `_is_wanted` waits for at the start: class 1 of balanced classes, else anything."""
    return np.array([1 if balance else ANY_CLASS])


ANY_CLASS = -1


@kernel
def _is_wanted(target: int, wanted: np.ndarray) -> bool:
    """Tell whether a sample of class `target` is used; with balanced classes, then want the other one."""
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


# Every generator by a plain name, with MOA's parameters, save those whose 0 would keep a drifting stream
# still. The seed is that of the model too, as in the field's experiments.
STREAMS: dict[str, Callable[[int | None, int | None], Stream]] = {
    "agrawal": lambda seed, n_samples: Agrawal(seed=seed, n_samples=n_samples),
    "asset_negotiation": lambda seed, n_samples: AssetNegotiation(seed=seed, n_samples=n_samples),
    "hyperplane": lambda seed, n_samples: Hyperplane(mag_change=0.001, seed=seed, n_samples=n_samples),
    "led": lambda seed, n_samples: LED(seed=seed, n_samples=n_samples),
    "led_drift": lambda seed, n_samples: LEDDrift(seed=seed, n_samples=n_samples),
    "mixed": lambda seed, n_samples: Mixed(seed=seed, n_samples=n_samples),
    "random_rbf": lambda seed, n_samples: RandomRBF(model_seed=seed, seed=seed, n_samples=n_samples),
    "random_rbf_drift": lambda seed, n_samples: RandomRBFDrift(
        speed=0.001, model_seed=seed, seed=seed, n_samples=n_samples
    ),
    "random_tree": lambda seed, n_samples: RandomTree(model_seed=seed, seed=seed, n_samples=n_samples),
    "sea": lambda seed, n_samples: SEA(seed=seed, n_samples=n_samples),
    "sine": lambda seed, n_samples: Sine(seed=seed, n_samples=n_samples),
    "stagger": lambda seed, n_samples: STAGGER(seed=seed, n_samples=n_samples),
    "waveform": lambda seed, n_samples: Waveform(seed=seed, n_samples=n_samples),
    "waveform_drift": lambda seed, n_samples: WaveformDrift(
        n_drift_features=10, seed=seed, n_samples=n_samples
    ),
}
