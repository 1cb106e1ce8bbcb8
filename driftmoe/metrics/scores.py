"""The standard figures of a result line: accuracy, the kappas, macro F1 and G-mean."""

from __future__ import annotations

import math
from array import array
from collections import Counter, defaultdict, deque
from collections.abc import Collection, Hashable, Iterable, Sequence
from itertools import chain, islice
from typing import Any

import numpy as np
from river import metrics

from driftmoe.costs import DecisionCosts
from driftmoe.metrics.kappa import KappaM, KappaOrder, KappaTemporal, check_weight, improvement
from driftmoe.state import State, check_names

MICRO = (metrics.MicroPrecision, metrics.MicroFBeta, metrics.MicroJaccard)
"""Averages over samples. River's other micro averages inherit from these."""

OF_BASELINES = ("majority_correct", "previous_correct", "order_correct")
"""Weight of the samples of a step that each baseline predicts correctly."""

NEGLIGIBLE = 1e-12
"""Share of all weight below which a class counts as absent."""


class Scores:
    """The standard figures of a result line, computed together for speed.

    Parameters
    ----------
    window
        Number of last samples that count, in whole steps, which `restart` separates. The majority for kappa-M is taken
        over the last `window` labels. By default all samples count.
    classes
        As in `KappaM`.
    step
        Samples between two calls of `restart`. By default `window`, so that each call begins a new window.
    costs
        Costs of predictions, of which `get` gives the mean; by default it gives none.

    Raises
    ------
    ValueError
        If `step` does not divide `window`.

    Examples
    --------
    >>> from driftmoe.metrics import Scores
    >>> scores = Scores()
    >>> for y_true, y_pred in [("a", "a"), ("b", "a"), ("b", "b"), ("b", "b")]:
    ...     scores.update(y_true, y_pred)
    >>> scores.get()["accuracy"]
    0.75
    """

    def __init__(
        self,
        window: int | None = None,
        classes: Sequence[Hashable] = (),
        step: int | None = None,
        costs: DecisionCosts | None = None,
    ) -> None:
        if window and step and window % step:
            raise ValueError(f"step={step} does not divide window={window}; choose one that does")
        self._kappa_m, self._kappa_t, self._kappa_o = KappaM(window, classes), KappaTemporal(), KappaOrder()
        self._costs = costs
        self._steps: deque[_Step] = deque([_Step()], maxlen=window // step if window and step else 1)
        self._ranks: dict[Hashable, int] = {}  # of the labels that were true or predicted
        self._beside: list[Scores] = []

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update({"_ranks": {}, "_beside": []} | state)  # which earlier versions did not have

    def over_last(self, window: int, step: int | None = None) -> Scores:
        """Return scores of the last samples only, which see from now on all that this object sees, in less time.

        The two have the costs in common, and the baselines that never forget. Give both the same calls of `restore`,
        and only this one those of `update`, `update_many` and `pass_over`.

        Parameters
        ----------
        window, step
            As of `Scores`.

        Examples
        --------
        >>> from driftmoe.metrics import Scores
        >>> total = Scores()
        >>> last = total.over_last(2)
        >>> total.update_many("aab", "abb")
        >>> last.restart()
        >>> total.update("b", "b")
        >>> total.get()["accuracy"], last.get()["accuracy"]
        (0.75, 1.0)
        """
        last = Scores(window, self._kappa_m.classes, step, self._costs)
        last._kappa_t, last._kappa_o = self._kappa_t, self._kappa_o
        self._beside.append(last)
        return last

    def update(self, y_true: Hashable, y_pred: Hashable, w: float = 1.0) -> None:
        """Add one prediction. `None` means no prediction and counts as wrong."""
        self.update_many((y_true,), (y_pred,), (w,))

    def update_many(
        self,
        y_true: Sequence[Hashable],
        y_pred: Sequence[Hashable],
        weights: Sequence[float] | None = None,
    ) -> None:
        """Add predictions in order: the same as `update` for each. Weights are 0 or more; by default they are 1."""
        all_scores = (self, *self._beside)
        all_sums = [scores._steps[-1].pairs for scores in all_scores]
        of_each = None if weights is None else np.asarray(weights, dtype=np.float64)
        for wrong in [] if of_each is None else of_each[~(of_each >= 0.0)].tolist():
            check_weight(wrong)
        if of_each is None:
            pairs = Counter(zip(y_true, y_pred, strict=True))
            for sums in all_sums:
                for pair, n in pairs.items():
                    sums[pair] += n
        else:
            for t, p, w in zip(y_true, y_pred, of_each.tolist(), strict=True):
                for sums in all_sums:
                    sums[t, p] += w
        previous = self._kappa_t.baseline_hits(y_true, of_each)
        order = self._kappa_o.baseline_hits(y_true, of_each)
        for scores in all_scores:
            step = scores._steps[-1]
            step.majority_correct += scores._kappa_m.baseline_hits(y_true, of_each)
            step.previous_correct += previous
            step.order_correct += order

    def pass_over(self, y_true: Hashable, w: float = 1.0) -> None:
        """Let the baselines of the kappas see the label of a sample that does not count."""
        for scores in (self, *self._beside):
            scores._kappa_m.pass_over(y_true, w)
        self._kappa_t.pass_over(y_true, w)
        self._kappa_o.pass_over(y_true, w)

    def restart(self) -> None:
        """Begin a new step and forget the oldest. The baselines of the kappas keep their memory."""
        self._steps.append(_Step())

    def labels(self) -> dict[Hashable, float]:
        """Return the weight of each true label in the steps that count."""
        weights: defaultdict[Hashable, float] = defaultdict(float)
        for step in self._steps:
            for (t, _), w in step.pairs.items():
                weights[t] += w
        return dict(weights)

    def state(self) -> State:
        """Return the sums of each step, and what the baselines remember; see `driftmoe.state`."""
        return {
            "kappa_m": self._kappa_m.state(),
            "kappa_t": self._kappa_t.state(),
            "kappa_o": self._kappa_o.state(),
            "steps": [
                {
                    "pairs": [[t, p, w] for (t, p), w in step.pairs.items()],
                    **{name: float(getattr(step, name)) for name in OF_BASELINES},
                }
                for step in self._steps
            ],
        }

    def restore(self, state: State) -> None:
        """Restore the state of an object that was built with the same arguments; see `driftmoe.state`."""
        check_names(state, ("kappa_m", "kappa_t", "kappa_o", "steps"), self)
        self._kappa_m.restore(state["kappa_m"])
        self._kappa_t.restore(state["kappa_t"])
        self._kappa_o.restore(state["kappa_o"])
        self._steps.clear()
        for kept in state["steps"]:
            check_names(kept, ("pairs", *OF_BASELINES), "a step of Scores")
            step = _Step()
            step.pairs.update({(t, p): w for t, p, w in kept["pairs"]})
            for name in OF_BASELINES:
                setattr(step, name, kept[name])
            self._steps.append(step)

    def get(self) -> dict[str, float]:
        """Return the figures of `STANDARD` as shares, and mean_cost if there are costs."""
        confusion = _Summed(self._steps, self._ranks)
        correct, total = confusion.total_true_positives, confusion.total_weight
        return {
            "accuracy": metrics.Accuracy(confusion).get(),
            "kappa": metrics.CohenKappa(confusion).get(),
            "kappa_m": improvement(correct, sum(step.majority_correct for step in self._steps), total),
            "kappa_t": improvement(correct, sum(step.previous_correct for step in self._steps), total),
            "kappa_o": self._kappa_o.gain(correct, sum(step.order_correct for step in self._steps), total),
            "f1_macro": macro_f1(confusion),
            "g_mean": GMean(confusion).get(),
            **({} if self._costs is None else {"mean_cost": self._costs.mean(self._pairs())}),
        }

    def _pairs(self) -> dict[tuple[Hashable, Hashable], float]:
        """Return the weight of each pair of label and prediction in the steps that count."""
        pairs: defaultdict[tuple[Hashable, Hashable], float] = defaultdict(float)
        for step in self._steps:
            for pair, w in step.pairs.items():
                pairs[pair] += w
        return dict(pairs)


class _Step:
    """Sums over the samples of one step."""

    def __init__(self) -> None:
        self.pairs: defaultdict[tuple[Hashable, Hashable], float] = defaultdict(float)
        self.majority_correct = self.previous_correct = self.order_correct = 0.0
        # Of each pair, in their order: the ranks of label and prediction, and 1 if the two are equal.
        self._true, self._said, self._is_right = array("q"), array("q"), array("b")

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(vars(_Step()) | state)  # earlier versions had fewer

    def places(self, ranks: dict[Hashable, int]) -> tuple[array[int], array[int], array[int]]:
        """Return the ranks of the labels and of the predictions of all pairs, and which pairs are right."""
        n = min(map(len, (self._true, self._said, self._is_right)))
        for places in (self._true, self._said, self._is_right):  # an interrupt may have come between them
            del places[n:]
        for t, p in islice(self.pairs, n, None) if n < len(self.pairs) else ():
            self._true.append(ranks.setdefault(t, len(ranks)))
            self._said.append(ranks.setdefault(p, len(ranks)))
            self._is_right.append(bool(t == p))
        return self._true, self._said, self._is_right


class _Summed(metrics.ConfusionMatrix):
    """The confusion matrix of some steps, as far as figures read it: sums of its rows and columns, and its diagonal.

    All sums are those of a matrix that is updated pair by pair, to the last bit, in a fraction of the time.
    """

    def __init__(self, steps: Collection[_Step], ranks: dict[Hashable, int]) -> None:
        super().__init__()
        true, said, is_right = array("q"), array("q"), array("b")
        for step in steps:
            of_step = step.places(ranks)
            true += of_step[0]
            said += of_step[1]
            is_right += of_step[2]
        if not true:
            return
        weights = np.fromiter(
            chain.from_iterable(step.pairs.values() for step in steps), np.float64, len(true)
        )
        rows, columns, right = (np.frombuffer(places, places.typecode) for places in (true, said, is_right))
        labels, n = list(ranks), len(ranks)
        for sums, places in ((self.sum_row, rows), (self.sum_col, columns)):
            of_rank = _sums(places, weights, n)
            sums.update({labels[rank]: of_rank[rank] for rank in dict.fromkeys(places.tolist())})
        on = rows == columns
        diagonal = _sums(rows[on], weights[on], n)
        for rank in dict.fromkeys(rows[on].tolist()):
            self.data[labels[rank]][labels[rank]] = diagonal[rank]
        # In river's own, `n_samples` counts calls of update.
        total: Any = _sums(np.zeros_like(rows), weights, 1)[0]
        self.total_weight = self.n_samples = total
        self._total_true_positives = _sums(np.zeros(int(right.sum()), np.int64), weights[right == 1], 1)[0]

    @property
    def classes(self) -> list[Hashable]:
        """Labels that were true or predicted, `None` last."""
        found = super().classes
        return [*in_order(c for c in found if c is not None), *([None] if None in found else [])]


def in_order(labels: Iterable[Hashable]) -> list[Any]:
    """Return labels in an order that is the same in each process, unlike that of a set: sums depend on it.

    Examples
    --------
    >>> from driftmoe.metrics.scores import in_order
    >>> in_order({"b", "a"}), in_order({"b", 2, 1})
    (['a', 'b'], [1, 2, 'b'])
    """
    found: list[Any] = list(labels)
    try:
        return sorted(found)
    except TypeError:  # of several types
        return sorted(found, key=lambda label: (type(label).__name__, repr(label)))


def _sums(places: np.ndarray, weights: np.ndarray, n: int) -> list[float]:
    """Return the sum of the weights of each place, from the first one to the last."""
    sums: list[float] = np.bincount(places, weights, n).tolist()
    return sums


class GMean(metrics.base.MultiClassMetric):
    """Geometric mean of the recalls of the true classes; 0 as soon as one of them is never predicted correctly.

    River's `GeometricMean` also counts a class that was predicted but never true, and is then 0.

    References
    ----------
    Kubat, Matwin (1997). Addressing the curse of imbalanced training sets. ICML.

    Examples
    --------
    >>> from driftmoe.metrics import GMean
    >>> metric = GMean()
    >>> for y_true, y_pred in zip("aaaab", "aaabb"):
    ...     metric.update(y_true, y_pred)
    >>> metric
    GMean: 86.60%
    """

    def get(self) -> float:
        """Return the current value; 0 before any sample."""
        # Samples that were taken back leave rounding errors, above or below 0.
        least = self.cm.total_weight * NEGLIGIBLE
        recalls = [max(self.cm[c][c], 0.0) / n for c, n in self.cm.sum_row.items() if n > least]
        return math.prod(recalls) ** (1.0 / len(recalls)) if recalls else 0.0


def macro_f1(confusion: metrics.ConfusionMatrix) -> float:
    """Return the mean F1 over the classes that were true or predicted. `None` is not a class.

    Examples
    --------
    >>> from river import metrics
    >>> from driftmoe.metrics import macro_f1
    >>> confusion = metrics.ConfusionMatrix()
    >>> for y_true, y_pred in [("a", "a"), ("a", "b"), ("b", "b")]:
    ...     confusion.update(y_true, y_pred)
    >>> round(macro_f1(confusion), 4)  # both classes: 2 * 1 / (2 + 1)
    0.6667
    """
    classes = [c for c in confusion.classes if c is not None]
    if not classes:
        return 0.0
    f1 = [2.0 * confusion[c][c] / (confusion.sum_row[c] + confusion.sum_col[c]) for c in classes]
    return sum(f1) / len(f1)


class AnsweredConfusionMatrix(metrics.ConfusionMatrix):
    """A confusion matrix in which the prediction `None` is wrong, but is not a class.

    In river's own, `None` is a class: once a model makes no prediction, macro F1 of two classes is a mean over three.

    Examples
    --------
    >>> from river import metrics
    >>> from driftmoe.metrics import AnsweredConfusionMatrix
    >>> metric = metrics.MacroRecall(AnsweredConfusionMatrix())
    >>> for y_true, y_pred in zip("aab", [None, "a", "b"]):
    ...     metric.update(y_true, y_pred)
    >>> metric  # (1 / 2 + 1) / 2
    MacroRecall: 75.00%
    """

    @property
    def classes(self) -> list[Hashable]:
        """Labels that were true or predicted, in an order that is the same in each process."""
        return in_order(c for c in super().classes if c is not None)


def without_none(metric: Any) -> Any:
    """Return a new metric, or one like it for which the prediction `None` is not a class.

    Micro averages are returned as they are: they count samples, so that `None` is as wrong as any other prediction. So
    are measures of clusterings, for which the samples without a prediction are a group like any other.
    Metrics whose constructor takes no confusion matrix also stay as they are.

    Examples
    --------
    >>> from river import metrics
    >>> from driftmoe.metrics import without_none
    >>> metric = without_none(metrics.MacroRecall())
    >>> metric.update("a", None)
    >>> metric.update("a", "a")
    >>> metric
    MacroRecall: 50.00%
    """
    if (
        isinstance(metric, metrics.base.MultiClassMetric)
        and not isinstance(metric, MICRO)
        and metric.works_with_weights  # measures of clusterings do not
        and type(getattr(metric, "cm", None)) is metrics.ConfusionMatrix
        and "cm" in metric._get_params()
    ):
        return metric.clone({"cm": AnsweredConfusionMatrix()})
    return metric
