"""Mixtures of triangular waves in noise."""

from __future__ import annotations

import numpy as np

from streams.java_random import kernel, next_double, next_gaussian, next_int_below
from streams.stream import Feature
from streams.synthetic.generator import Fill, Generator, check_integer


class Waveform(Generator):
    """A random mixture of two of three triangular waves, in normal noise; the class tells which two.

    Equals MOA's `WaveformGenerator`. It uses no function of the C library, whose last bit could differ.

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

    Examples
    --------
    >>> from streams.synthetic import Waveform
    >>> stream = Waveform(irrelevant_features=True, seed=1)
    >>> stream.n_features, stream.n_classes
    (40, 3)
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
        """Return the column of each point of the wave, then of each irrelevant feature."""
        return np.arange(self.n_features)

    def _start(self) -> Fill:
        random = self._random()
        columns = self._columns(random)

        def fill(X: np.ndarray, y: np.ndarray) -> None:
            _fill_waveform(random, columns, X, y)

        return fill


class WaveformDrift(Waveform):
    """`Waveform` with some features exchanged at random.

    One such stream has one concept. Join streams with different `n_drift_features` for a drift.
    Equals MOA's `WaveformGeneratorDrift` before a call of its `restart`: MOA draws the two places where the exchange
    begins from the seed of the samples, but does not draw them again at a restart. It uses no function of the C
    library, whose last bit could differ.

    Parameters
    ----------
    n_drift_features
        Number of exchanges, 0 to 40. Exchange i swaps the two features i columns after two random places.
    irrelevant_features
        Whether there are 19 features of pure noise besides the 21 points of the wave.
    seed
        Seed of the exchanged places and the samples, a 32-bit integer; `None` is MOA's default, 1.
    n_samples
        Length, or `None` for a stream without end.

    References
    ----------
    Breiman, Friedman, Olshen, Stone (1984): Classification and Regression Trees. Sec. 2.6.2.

    Examples
    --------
    >>> from streams.synthetic import WaveformDrift
    >>> one, other = (next(WaveformDrift(n_drift_features=n).blocks(1)).X[0] for n in (0, 5))
    >>> sorted(one) == sorted(other), list(one) == list(other)
    (True, False)
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
        check_integer("n_drift_features", n_drift_features, 0, 40)
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
