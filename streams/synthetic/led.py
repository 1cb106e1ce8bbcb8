"""The digits of a seven-segment display."""

from __future__ import annotations

import numpy as np

from streams.java_random import kernel, next_int_below
from streams.stream import Feature
from streams.synthetic.generator import Fill, Generator, check_integer, whole_percent


class LED(Generator):
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
        self._noise_percent = whole_percent("noise", noise)

    def _columns(self) -> np.ndarray:
        """Return the column of each segment, then of each irrelevant feature."""
        return np.arange(self.n_features)

    def _start(self) -> Fill:
        random, columns = self._random(), self._columns()

        def fill(X: np.ndarray, y: np.ndarray) -> None:
            _fill_led(random, self._noise_percent, columns, X, y)

        return fill


class LEDDrift(LED):
    """`LED` in which the first segments have changed places with irrelevant features.

    One such stream has one concept. Join streams with different `n_drift_features` for a drift.
    Equals MOA's `LEDGeneratorDrift`.

    Parameters
    ----------
    n_drift_features
        Number of segments, 0 to 7, that change places with an irrelevant feature: feature i with feature 7 + i.
        Without irrelevant features nothing moves.
    noise
        Probability, in whole percent, with which each segment is inverted.
    irrelevant_features
        Whether there are 17 random binary features besides the seven segments.
    seed
        Seed of the samples, a 32-bit integer; `None` is MOA's default, 1.
    n_samples
        Length, or `None` for a stream without end.

    References
    ----------
    Breiman, Friedman, Olshen, Stone (1984): Classification and Regression Trees. Sec. 2.6.1.

    Examples
    --------
    >>> from streams.synthetic import LED, LEDDrift
    >>> list(LEDDrift(n_drift_features=0, n_samples=5)) == list(LED(n_samples=5))
    True
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
        check_integer("n_drift_features", n_drift_features, 0, 7)
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
