"""How far labels can be predicted from labels alone."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import Any, NamedTuple

from driftmoe.markov import Succession

ORDERED = 0.05
"""Share of all samples by which `markov` exceeds the majority where labels count as ordered."""


class LabelOrder(NamedTuple):
    """How often three baselines that read no feature are right, each before it learns the label.

    Attributes
    ----------
    n_labels
        Number of labels that were predicted: all but the first.
    majority, no_change, markov
        Share of those that were the most frequent label before, the last label, and the label that most often followed
        the last one. Each is NaN if there are fewer than two labels.

    Examples
    --------
    >>> from driftmoe.metrics import LabelOrder
    >>> LabelOrder(999, majority=0.1, no_change=0.0, markov=0.99).is_ordered
    True
    """

    n_labels: int
    majority: float
    no_change: float
    markov: float

    @property
    def is_ordered(self) -> bool:
        """Whether `markov` exceeds the majority by 5 points or more, so that accuracy says little about features."""
        return exceeds(self.markov, self.majority)


def exceeds(markov: float, majority: float) -> bool:
    """Return whether `markov` is right at least 5 points more often than the majority, both as shares.

    Examples
    --------
    >>> from driftmoe.metrics import exceeds
    >>> exceeds(0.25, 0.2), exceeds(0.24, 0.2)
    (True, False)
    """
    return markov - majority >= ORDERED - 1e-9  # 0.25 - 0.2 is less than 0.05 in floats


def label_order(labels: Iterable[Hashable]) -> LabelOrder:
    """Return how far labels can be predicted from the labels before them.

    Parameters
    ----------
    labels
        Labels in the order in which they come.

    Notes
    -----
    The accuracies are those of the models `majority`, `nochange` and `markov` in `driftmoe evaluate`, but for ties
    between equally frequent labels, which go to the one that was the first to occur so often.

    Examples
    --------
    >>> from driftmoe.metrics import label_order
    >>> found = label_order("abcabcabcabc")
    >>> round(found.majority, 3), found.no_change, round(found.markov, 3)
    (0.273, 0.0, 0.818)
    """
    before, follows, last = Succession(0), Succession(1), None
    hits, n_labels = [0, 0, 0], -1
    for label in labels:
        n_labels += 1
        if n_labels:
            for i, said in enumerate((before.predict(), last, follows.predict())):
                hits[i] += said == label
        before.learn(label)
        follows.learn(label)
        last = label
    if n_labels < 1:
        return LabelOrder(max(n_labels, 0), *[float("nan")] * 3)
    return LabelOrder(n_labels, *(n / n_labels for n in hits))


def order_in(line: Mapping[str, Any]) -> tuple[float, float] | None:
    """Return how often the majority and `markov` were right in a run, by its accuracy and its kappas.

    Parameters
    ----------
    line
        Figures with `accuracy`, `kappa_m` and `kappa_o`, as a result line has them.

    Returns
    -------
    majority, markov
        `None` if a figure is missing or not defined, or the model was always right, so that the kappas do not tell. The
        majority is that of kappa-M, which counts the present label.

    Examples
    --------
    >>> from driftmoe.metrics import order_in
    >>> order_in({"accuracy": 0.9, "kappa_m": 0.8, "kappa_o": 0.6})
    (0.5, 0.75)
    """
    found = []
    for kappa in ("kappa_m", "kappa_o"):
        accuracy, gained = line.get("accuracy"), line.get(kappa)
        if accuracy is None or gained is None or not gained < 1.0:
            return None
        found.append(round((accuracy - gained) / (1.0 - gained), 9))  # 0.9 - 0.8 is no 0.1 in floats
    return found[0], found[1]
