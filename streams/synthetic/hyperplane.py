"""Two sides of a hyperplane that turns slowly."""

from __future__ import annotations

import numpy as np

from streams.java_random import kernel, next_double, next_int_below
from streams.stream import Feature
from streams.synthetic.generator import Fill, Generator, check_integer, check_number, whole_percent


class Hyperplane(Generator):
    """Points of a cube on two sides of a hyperplane that turns slowly.

    Equals MOA's `HyperplaneGenerator`.

    Parameters
    ----------
    n_features
        Number of numeric features, at least 1.
    n_drift_features
        Number of features whose weight changes (the first ones), 0 to `n_features`.
    mag_change
        Change of each such weight after each sample, 0 to 1.
    noise
        Probability, in whole percent, with which the label is inverted.
    sigma
        Probability, in whole percent, with which the change of each weight reverses its direction after a sample.
    seed
        Seed of the first weights and the samples, a 32-bit integer; `None` is MOA's default, 1.
    n_samples
        Length, or `None` for a stream without end.

    References
    ----------
    Hulten, Spencer, Domingos (2001): Mining time-changing data streams. KDD 2001, 97-106.

    Examples
    --------
    >>> from streams.synthetic import Hyperplane
    >>> block = next(Hyperplane(n_features=3, mag_change=0.001, seed=1).blocks(100))
    >>> block.X.shape, bool(((block.X >= 0.0) & (block.X < 1.0)).all())
    ((100, 3), True)
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
        check_integer("n_features", n_features, 1)
        super().__init__(
            features=[Feature(f"att{i + 1}") for i in range(n_features)],
            n_classes=2,
            seed=seed,
            n_samples=n_samples,
        )
        check_integer("n_drift_features", n_drift_features, 0, n_features)
        check_number("mag_change", mag_change, 0.0, 1.0)
        self.n_drift_features = n_drift_features
        self.mag_change = mag_change
        self.noise = noise
        self.sigma = sigma
        self._noise_percent = whole_percent("noise", noise)
        self._sigma_percent = whole_percent("sigma", sigma)

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
