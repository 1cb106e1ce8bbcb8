"""Applications for a loan, judged by ten rules."""

from __future__ import annotations

import math

import numpy as np

from streams.java_random import kernel, next_double, next_int_below
from streams.stream import Feature
from streams.synthetic.generator import Fill, Generator, check_integer, check_number, first_wanted, is_wanted


class Agrawal(Generator):
    """Applications for a loan, which one of ten rules of a bank divides into two groups.

    Equals MOA's `AgrawalGenerator`, which also clips the perturbed `hvalue` to 135 000. The numbers are perturbed after
    the class is decided.

    Parameters
    ----------
    function
        Concept, 1 to 10.
    perturbation
        Largest change of a number after the class is decided, 0 to 1, as a share of the range of its feature.
    balance
        Whether classes 1 and 0 take turns: samples of the other class are left out.
    seed
        Seed of the samples, a 32-bit integer; `None` is MOA's default, 1.
    n_samples
        Length, or `None` for a stream without end.

    References
    ----------
    Agrawal, Imieliński, Swami (1993): Database mining: a performance perspective. IEEE TKDE 5(6), 914-925.

    Examples
    --------
    >>> from streams.synthetic import Agrawal
    >>> stream = Agrawal(function=1, perturbation=0.0, seed=1, n_samples=100)
    >>> all(y == (40 <= x["age"] < 60) for x, y in stream)
    True
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
        check_integer("function", function, 1, 10)
        check_number("perturbation", perturbation, 0.0, 1.0)
        self.function = function
        self.perturbation = perturbation
        self.balance = balance

    def _start(self) -> Fill:
        random, wanted = self._random(), first_wanted(self.balance)

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
            if is_wanted(y[i], wanted):
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
    """Return 0 if the function puts the applicant in group A, else 1."""
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
