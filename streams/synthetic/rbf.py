"""Clouds of samples around random centroids that stand still or move."""

from __future__ import annotations

import math

import numpy as np

from streams.java_random import kernel, next_double, next_gaussian, next_int_below, seeded
from streams.stream import Feature
from streams.synthetic.generator import Fill, Generator, check_integer, check_number, java_seed


class RandomRBF(Generator):
    """Samples around random centroids, each with its own class, weight and deviation.

    A sample lies in a random direction (uniform in a cube) from its centroid, at a normally distributed distance.
    Equals MOA's `RandomRBFGenerator`. It uses no function of the C library, whose last bit could differ.

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
        check_integer("n_classes", n_classes, 2)
        check_integer("n_features", n_features, 1)
        super().__init__(
            features=[Feature(f"att{i + 1}") for i in range(n_features)],
            n_classes=n_classes,
            seed=seed,
            n_samples=n_samples,
        )
        check_integer("n_centroids", n_centroids, 1)
        self.n_centroids = n_centroids
        self.model_seed = model_seed
        self._model_seed = java_seed("model_seed", model_seed)

    def _velocities(self) -> np.ndarray:
        """Return the step of each moving centroid before each sample, shape (n_moving, n_features)."""
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

    Equals MOA's `RandomRBFGeneratorDrift`. It uses no function of the C library, whose last bit could differ.

    Parameters
    ----------
    n_classes
        Number of classes, at least 2.
    n_features
        Number of numeric features, at least 1.
    n_centroids
        Number of centroids, at least 1.
    speed
        Distance that each moving centroid travels before each sample, at least 0.
    n_drift_centroids
        Number of moving centroids. If it is above `n_centroids`, all move.
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
        check_number("speed", speed, 0.0)
        check_integer("n_drift_centroids", n_drift_centroids, 0)
        self.speed = speed
        self.n_drift_centroids = n_drift_centroids

    @property
    def desc(self) -> str:
        """What the stream is, and how fast it changes."""
        return super().desc + (f" They move by {self.speed:g} a sample." if self.speed else "")

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
    """Move the first centres by one step. A centre that would leave [0, 1] stops at the edge and turns round."""
    n_moving, n_features = velocities.shape
    for c in range(n_moving):
        for feature in range(n_features):
            place = centres[c, feature] + velocities[c, feature]
            if place > 1.0 or place < 0.0:
                velocities[c, feature] = -velocities[c, feature]
            centres[c, feature] = min(max(place, 0.0), 1.0)
