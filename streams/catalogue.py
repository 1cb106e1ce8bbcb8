"""What is known of each synthetic stream without making it: lists and completion need no compiler."""

from __future__ import annotations

from typing import NamedTuple


class Summary(NamedTuple):
    """A synthetic stream in numbers and words.

    Attributes
    ----------
    n_features, n_classes, n_drifts
        Counts; the drifts are those within the default length.
    width
        Samples that the first drift takes at the default length, or 0 if there is none.
    description
        First line of the stream's documentation.
    """

    n_features: int
    n_classes: int
    n_drifts: int
    width: int
    description: str


N_SAMPLES = 1_000_000
"""Default length of a synthetic stream."""

_LED = "`LED` in which the first segments have changed places with irrelevant features."
_SEA = (
    "Three numbers in [0, 10), of which the first two decide: class 1 where their sum is above a threshold."
)
_AGRAWAL = "Applications for a loan, which one of ten rules of a bank divides into two groups."
_MIXED = "Two truth values and a point beside a sine curve: class 0 where two of the three hold (function 1)."
_RBF = "Samples around random centroids, each with its own class, weight and deviation."
_RBF_DRIFT = "`RandomRBF` whose centroids move in straight lines and turn round at 0 and 1 of each feature."

SYNTHETIC = {
    "led_a": Summary(24, 10, 3, 50, f"Changing concepts of LEDDrift: {_LED}"),
    "led_g": Summary(24, 10, 3, 50_000, f"Changing concepts of LEDDrift: {_LED}"),
    "sea_a": Summary(3, 2, 3, 50, f"Changing concepts of SEA: {_SEA}"),
    "sea_g": Summary(3, 2, 3, 50_000, f"Changing concepts of SEA: {_SEA}"),
    "rbf_m": Summary(10, 2, 0, 0, f"{_RBF_DRIFT} They move by 0.0001 a sample."),
    "rbf_f": Summary(10, 2, 0, 0, f"{_RBF_DRIFT} They move by 0.001 a sample."),
    "rbf_imbalanced": Summary(10, 2, 0, 0, "The first samples of a stream."),
    "agrawal_a": Summary(9, 2, 3, 50, f"Changing concepts of Agrawal: {_AGRAWAL}"),
    "agrawal_g": Summary(9, 2, 3, 50_000, f"Changing concepts of Agrawal: {_AGRAWAL}"),
    "mixed_a": Summary(4, 2, 3, 50, f"Changing concepts of Mixed: {_MIXED}"),
    "recurrent_led": Summary(24, 10, 7, 50, f"Changing concepts of LEDDrift: {_LED}"),
    "recurrent_rbf": Summary(10, 4, 7, 50, f"Changing concepts of RandomRBF: {_RBF}"),
    "agrawal": Summary(9, 2, 0, 0, _AGRAWAL),
    "asset_negotiation": Summary(
        5, 2, 0, 0, "Offers of an asset, which interest another agent (class 0) or do not (class 1), in turn."
    ),
    "fleet": Summary(
        9,
        2,
        0,
        0,
        "Events of many keys in turn, which share one concept and have each their own, with drifts of their own.",
    ),
    "hyperplane": Summary(10, 2, 0, 0, "Points of a cube on two sides of a hyperplane that turns slowly."),
    "led": Summary(
        24,
        10,
        0,
        0,
        "The digit shown by a display of seven segments, each of which may be inverted by noise.",
    ),
    "led_drift": Summary(24, 10, 0, 0, _LED),
    "mixed": Summary(4, 2, 0, 0, _MIXED),
    "random_rbf": Summary(10, 2, 0, 0, _RBF),
    "random_rbf_drift": Summary(10, 2, 0, 0, f"{_RBF_DRIFT} They move by 0.001 a sample."),
    "random_tree": Summary(10, 2, 0, 0, "Samples labelled by a random decision tree."),
    "sea": Summary(3, 2, 0, 0, _SEA),
    "sine": Summary(4, 2, 0, 0, "Two numbers in [0, 1), which a sine curve divides into two classes."),
    "stagger": Summary(
        3,
        2,
        0,
        0,
        "Objects of three sizes, colours and shapes, and three rules that tell the true from the false.",
    ),
    "waveform": Summary(
        21,
        3,
        0,
        0,
        "A random mixture of two of three triangular waves, in normal noise; the class tells which two.",
    ),
    "waveform_drift": Summary(21, 3, 0, 0, "`Waveform` with some features exchanged at random."),
}
"""Name -> summary, in the order of `streams.names`."""
