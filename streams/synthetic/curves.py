"""Points above and below sine curves: Sine and Mixed."""

from __future__ import annotations

import math

import numpy as np

from streams.java_random import kernel, next_double
from streams.stream import Feature
from streams.synthetic.generator import Fill, Generator, check_integer, first_wanted, is_wanted


class Sine(Generator):
    """Two numbers in [0, 1), which a sine curve divides into two classes.

    Equals MOA's `SineGenerator`. On a platform whose sine rounds differently, a point that lies within the
    last bit of the curve could get another label. This concerns about one sample in 10**16.

    Parameters
    ----------
    function
        Concept, 1 to 4. In concept 1, class 0 lies below ``sin(att1)``; in 2, not below it. In concept 3, class 0 lies
        below ``0.5 + 0.3 sin(3 pi att1)``; in 4, not below it.
    irrelevant_features
        Whether two random numbers follow the two relevant ones.
    balance
        Whether classes 1 and 0 take turns: samples of the other class are left out.
    seed
        Seed of the samples, a 32-bit integer; `None` is MOA's default, 1.
    n_samples
        Length, or `None` for a stream without end.

    References
    ----------
    Gama, Medas, Castillo, Rodrigues (2004): Learning with drift detection. SBIA 2004, sec. 4.1.

    Examples
    --------
    >>> from math import sin
    >>> from streams.synthetic import Sine
    >>> stream = Sine(function=1, irrelevant_features=False, seed=1, n_samples=100)
    >>> all(y == (x["att2"] >= sin(x["att1"])) for x, y in stream)
    True
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
        check_integer("function", function, 1, 4)
        self.function = function
        self.irrelevant_features = irrelevant_features
        self.balance = balance

    def _start(self) -> Fill:
        random, wanted = self._random(), first_wanted(self.balance)

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
            if is_wanted(y[i], wanted):
                break
        for feature in range(2, X.shape[1]):
            X[i, feature] = next_double(random)


@kernel
def _steep_sine(x: float) -> float:
    return 0.5 + 0.3 * math.sin(3 * math.pi * x)


class Mixed(Generator):
    """Two truth values and a point beside a sine curve: class 0 where two of the three hold (function 1).

    Equals MOA's `MixedGenerator`. On a platform whose sine rounds differently, a point that lies within the
    last bit of the curve could get another label. This concerns about one sample in 10**16.

    Parameters
    ----------
    function
        Concept, 1 or 2. The second is the first with its classes exchanged.
    balance
        Whether classes 1 and 0 take turns: samples of the other class are left out.
    seed
        Seed of the samples, a 32-bit integer; `None` is MOA's default, 1.
    n_samples
        Length, or `None` for a stream without end.

    References
    ----------
    Gama, Medas, Castillo, Rodrigues (2004): Learning with drift detection. SBIA 2004, sec. 4.1.

    Examples
    --------
    >>> from streams.synthetic import Mixed
    >>> labels = [[y for _, y in Mixed(function=i, seed=1, n_samples=50)] for i in (1, 2)]
    >>> {a + b for a, b in zip(*labels)}  # concept 2 exchanges the classes
    {1}
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
        check_integer("function", function, 1, 2)
        self.function = function
        self.balance = balance

    def _start(self) -> Fill:
        random, wanted = self._random(), first_wanted(self.balance)

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
            if is_wanted(y[i], wanted):
                break
