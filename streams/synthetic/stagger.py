"""The STAGGER concepts: rules on the size, colour and shape of objects."""

from __future__ import annotations

import numpy as np

from streams.java_random import kernel, next_int_below
from streams.stream import Feature
from streams.synthetic.generator import Fill, Generator, check_integer, first_wanted, is_wanted


class STAGGER(Generator):
    """Objects of three sizes, colours and shapes, and three rules that tell the true from the false.

    Equals MOA's `STAGGERGenerator`.

    Parameters
    ----------
    function
        Concept, 1 to 3: class 1 is small and red; green or a circle; medium or large.
    balance
        Whether classes 1 and 0 take turns: samples of the other class are left out.
    seed
        Seed of the samples, a 32-bit integer; `None` is MOA's default, 1.
    n_samples
        Length, or `None` for a stream without end.

    References
    ----------
    Schlimmer, Granger (1986): Incremental learning from noisy data. Machine Learning 1(3), 317-354.

    Examples
    --------
    >>> from streams.synthetic import STAGGER
    >>> stream = STAGGER(function=1, seed=1, n_samples=100)
    >>> all(y == (x["size"] == "small" and x["color"] == "red") for x, y in stream)
    True
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
        check_integer("function", function, 1, 3)
        self.function = function
        self.balance = balance

    def _start(self) -> Fill:
        random, wanted = self._random(), first_wanted(self.balance)

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
            if is_wanted(y[i], wanted):
                break
        X[i, 0], X[i, 1], X[i, 2] = size, color, shape
