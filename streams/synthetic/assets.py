"""Offers in a negotiation that interest another agent or not."""

from __future__ import annotations

import numpy as np

from streams.java_random import kernel, next_float, next_int_below, seeded
from streams.stream import Feature
from streams.synthetic.generator import Fill, Generator, check_integer, check_number, first_wanted, is_wanted


class AssetNegotiation(Generator):
    """Offers of an asset, which interest another agent (class 0) or do not (class 1), in turn.

    Equals MOA's `AssetNegotiationGenerator`, including an oddity. If class 1 is wanted and an interesting offer was
    drawn, the offer gets the features of an interesting offer again, from a new draw, and the label 1. In MOA these
    draws come from a random state per function, which all streams of a Java process share. Each of our streams equals
    the first stream of its function in a Java process.

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

    Examples
    --------
    >>> from streams.synthetic import AssetNegotiation
    >>> stream = AssetNegotiation(seed=1, n_samples=100)
    >>> sorted({y for _, y in stream}), stream.n_features
    ([0, 1], 5)
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
        check_integer("function", function, 1, 5)
        check_number("noise", noise, 0.0, 1.0)
        self.function = function
        self.noise = noise

    def _start(self) -> Fill:
        random, repair_random = self._random(), seeded(2**31 - 1)
        wanted = first_wanted(balance=True)
        n_values = np.array([len(feature.values or ()) for feature in self.features])
        offers = INTERESTING_OFFERS[self.function - 1]

        def fill(X: np.ndarray, y: np.ndarray) -> None:
            _fill_asset_negotiation(random, repair_random, n_values, offers, self.noise, wanted, X, y)

        return fill


_DEGREES = ["veryLow", "low", "normal", "high", "veryHigh"]

ANY = -1
"""Stands for any value of a feature in an offer."""

# The two offers of each function that interest the agent: indices of colour, price, payment, amount and delay. In
# function 2 both are the same.

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
                # If both offers are equal, as in function 2, either draw gives the same.
                offer = offers[next_int_below(repair_random, 2)]
                for feature in range(5):
                    if offer[feature] != ANY:
                        X[i, feature] = offer[feature]
                target = 1
            if is_wanted(target, wanted):
                break
        is_inverted = next_float(random) <= noise
        y[i] = 1 - target if is_inverted else target


@kernel
def _is_offer(x: np.ndarray, offer: np.ndarray) -> bool:
    """Return whether every feature matches the offer."""
    for feature in range(len(offer)):  # noqa: SIM110 - all() of a generator does not compile
        if offer[feature] != ANY and x[feature] != offer[feature]:
            return False
    return True
