"""Sets of labels that hold the true one as often as asked, by online conformal prediction.

A label is in the set if its probability reaches a threshold. The most probable label always is. The threshold comes
from recent samples, by the probabilities that their true labels had before they were learnt. A plain quantile of these
is late after a drift. Adaptive conformal inference (ACI) moves the level of the quantile after each sample: down after
a miss, up after a hit, so that the share of misses approaches the one asked for, whatever the stream does.

The level depends on the coverage asked for, which may differ from call to call, and a model does not know which will be
asked for. So each call replays ACI over the recent samples, and takes the quantiles from all of them.

The level does not rise while the most probable label alone is enough. Otherwise it would wind up where that label holds
the true one more often than asked, and would be slow to come back after a drift. It is never above that of plain ACI,
so that no more samples are missed than with that.
"""

from __future__ import annotations

import math

import numpy as np

from driftmoe.compilation import compiled, kernel

RATE = 0.01
"""Step by which the level moves. `benchmarks.calibration` measures it."""

ROUNDING = 1e-9
"""What the rank of a quantile may be off by, so that 0.9 of 10 samples are 9."""


def check_coverage(coverage: float) -> None:
    """Raise TypeError or ValueError unless `coverage` is a number between 0 and 1."""
    if not isinstance(coverage, int | float | np.integer | np.floating) or isinstance(coverage, bool):
        raise TypeError(
            f"coverage={coverage!r} is of type {type(coverage).__name__}; give a number, such as 0.9"
        )
    if not 0.0 < coverage < 1.0:
        raise ValueError(f"coverage={coverage!r}; choose 0 < coverage < 1, such as 0.9")


def least_probability(true_proba: np.ndarray, was_right: np.ndarray, coverage: float) -> float:
    """Return the probability that a label must have to be in the set, if it is not the most probable one.

    Parameters
    ----------
    true_proba
        Probability of the true label of recent samples before they were learnt, the oldest first; float32, shape
        (n_scores,).
    was_right
        Whether the true label was the most probable, shape (n_scores,).
    coverage
        Share of the samples whose set should hold the true label, in (0, 1).

    Returns
    -------
    threshold
        `inf` if the most probable label is enough, `-inf` if all labels are needed: there are fewer than
        coverage / (1 - coverage) samples, or ACI asks for more than the recent samples can tell.

    References
    ----------
    Gibbs, Candès (2021). Adaptive conformal inference under distribution shift. NeurIPS, equation 2. Sadinle, Lei,
    Wasserman (2019). Least ambiguous set-valued classifiers with bounded error levels. JASA: sets by a threshold of the
    probability are the smallest.
    """
    # A most probable label is in every set, so that a sample which it answers is never missed.
    reached = np.where(was_right, np.float32(math.inf), true_proba)
    return float(replayed(reached, np.sort(reached), 1.0 - coverage, RATE))


def members(proba: np.ndarray, threshold: float) -> np.ndarray:
    """Return which labels are in the set of each row, bool, shape (n_rows, n_classes).

    Parameters
    ----------
    proba
        Class probabilities, shape (n_rows, n_classes).
    threshold
        As `least_probability` returns it.
    """
    # Compared as float32, as the threshold was remembered.
    are_members: np.ndarray = proba.astype(np.float32) >= threshold
    are_members[np.arange(len(proba)), proba.argmax(axis=1)] = True
    return are_members


@kernel
def quantile(ordered, missed):  # type: ignore[no-untyped-def]
    """Return the threshold below which a share `missed` of sorted values is, with one unknown value among them."""
    n = len(ordered)
    rank = math.ceil((1.0 - missed) * (n + 1) - ROUNDING)
    if rank > n:
        return -np.inf
    return np.float64(ordered[n - rank]) if rank > 0 else np.inf


@compiled()
def replayed(reached, ordered, missed, rate):  # type: ignore[no-untyped-def]
    """Return the threshold at which ACI arrives.

    Parameters
    ----------
    reached
        Greatest threshold at which the set of each sample holds the true label, the oldest first, shape (n_scores,).
    ordered
        The same, ascending.
    missed
        Share of the samples that may be missed.
    rate
        Step by which the level of the quantile moves.
    """
    level = missed
    for i in range(len(reached)):
        threshold = quantile(ordered, level)
        if reached[i] < threshold:
            level += rate * (missed - 1.0)
        elif threshold < np.inf:
            level += rate * missed
    return quantile(ordered, level)
