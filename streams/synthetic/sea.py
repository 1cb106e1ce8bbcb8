"""The SEA concepts: a threshold for the sum of two numbers."""

from __future__ import annotations

import numpy as np

from streams.java_random import kernel, next_double, next_int_below
from streams.stream import Feature
from streams.synthetic.generator import Fill, Generator, check_integer, first_wanted, is_wanted, whole_percent


class SEA(Generator):
    """Three numbers in [0, 10), of which the first two decide: class 1 where their sum is above a threshold.

    Equals MOA's `SEAGenerator`.

    Parameters
    ----------
    function
        Concept, 1 to 4: a threshold of 8, 9, 7 or 9.5.
    noise
        Probability, in whole percent, with which the label is inverted.
    balance
        Whether classes 1 and 0, before noise, take turns: samples of the other class are left out.
    seed
        Seed of the samples, a 32-bit integer; `None` is MOA's default, 1.
    n_samples
        Length, or `None` for a stream without end.

    References
    ----------
    Street, Kim (2001): A streaming ensemble algorithm (SEA) for large-scale classification. KDD 2001,
    377-382.

    Examples
    --------
    >>> from streams.synthetic import SEA
    >>> stream = SEA(function=1, noise=0.0, seed=1, n_samples=100)
    >>> all(y == (x["attrib1"] + x["attrib2"] > 8.0) for x, y in stream)
    True
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
        check_integer("function", function, 1, 4)
        self.function = function
        self.noise = noise
        self.balance = balance
        self._noise_percent = whole_percent("noise", noise)

    def _start(self) -> Fill:
        random, wanted = self._random(), first_wanted(self.balance)
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
            if is_wanted(target, wanted):
                break
        is_inverted = next_int_below(random, 100) < noise_percent
        y[i] = 1 - target if is_inverted else target
