"""Costs of a run: of its decisions, of memory over time, and the accuracy lost to each drift."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from river import metrics

from driftmoe.costs import DecisionCosts
from driftmoe.state import State, check_names


class MeanCost(metrics.base.MultiClassMetric):
    """Mean cost of the predictions.

    Parameters
    ----------
    costs
        Costs of missing a label, or of pairs (true label, prediction), as `decision_costs` of `DriftMoEClassifier`.
    cm
        Confusion matrix that is shared with other metrics; by default a new one.

    Examples
    --------
    >>> from driftmoe.metrics import MeanCost
    >>> metric = MeanCost({"fraud": 10})
    >>> for y_true, y_pred in zip(["fraud", "fraud", "fine", "fine"], ["fine", "fraud", "fraud", "fine"]):
    ...     metric.update(y_true, y_pred)
    >>> metric.get()  # (10 + 0 + 1 + 0) / 4
    2.75
    """

    _fmt = ",.4f"  # a cost is no share of anything

    def __init__(self, costs: dict[Any, float], cm: metrics.ConfusionMatrix | None = None) -> None:
        super().__init__(cm)
        self._costs = DecisionCosts(costs, "costs")
        self.costs = dict(costs)  # so that the caller may change his own

    def get(self) -> float:
        """Return the mean cost; 0 before any sample."""
        pairs = {(true, said): w for true, row in self.cm.data.items() for said, w in row.items() if w}
        return self._costs.mean(pairs)

    @property
    def bigger_is_better(self) -> bool:
        """Whether a larger value is a better one."""
        return False


class RamHours:
    """Memory times time, in GB·h: one gigabyte (10^9 bytes) for one hour is 1.

    Between two measurements, the memory is taken as their mean.

    References
    ----------
    Bifet, Holmes, Pfahringer, Frank (2010). Fast perceptron decision tree learning from evolving data streams. PAKDD.

    Examples
    --------
    >>> from driftmoe.metrics import RamHours
    >>> ram_hours = RamHours()
    >>> ram_hours.update(2_000_000_000, seconds=0)
    >>> ram_hours.update(4_000_000_000, seconds=1800)
    >>> ram_hours.get()
    1.5
    """

    def __init__(self) -> None:
        self._gigabyte_seconds = 0.0
        self._before: tuple[float, float] | None = None

    def update(self, n_bytes: float, seconds: float) -> None:
        """Add a measurement: `n_bytes` were in use `seconds` after the start."""
        before_bytes, before = self._before or (n_bytes, 0.0)
        self._gigabyte_seconds += (before_bytes + n_bytes) / 2e9 * (seconds - before)
        self._before = (n_bytes, seconds)

    def get(self, seconds: float | None = None) -> float:
        """Return the GB·h until `seconds`, at the memory measured last; by default until the last measurement."""
        since = 0.0
        if seconds is not None and self._before is not None:
            n_bytes, before = self._before
            since = n_bytes / 1e9 * (seconds - before)
        return (self._gigabyte_seconds + since) / 3600.0

    def state(self) -> State:
        """Return the sum and the last measurement; see `driftmoe.state`."""
        return {
            "gigabyte_seconds": self._gigabyte_seconds,
            "before": None if self._before is None else list(self._before),
        }

    def restore(self, state: State) -> None:
        """Restore the state of another object of this class; see `driftmoe.state`."""
        check_names(state, ("gigabyte_seconds", "before"), self)
        self._gigabyte_seconds = state["gigabyte_seconds"]
        self._before = None if state["before"] is None else tuple(state["before"])


@dataclass(frozen=True)
class Recovery:
    """The cost of one drift.

    Attributes
    ----------
    position
        Sample at which the change begins.
    before
        Accuracy in the last window before the change, as a share.
    lost
        `before` minus the accuracy in the worst window until the next drift; 0 if no window is worse.
    mistakes
        Wrong predictions until recovery beyond those at accuracy `before`; 0 if there are fewer.
    samples
        Samples from the begin of the change to the end of the first window that starts after the change and is as
        accurate as before; `None` if there is none before the next drift. For a gradual change this is at least the
        length of the change.

    Examples
    --------
    >>> from driftmoe.metrics import drift_recovery
    >>> (drift,) = drift_recovery([100, 200, 300, 400], [0.9, 0.9, 0.6, 0.9], [(200, 1)])
    >>> round(drift.lost, 2), round(drift.mistakes), drift.samples
    (0.3, 30, 200)
    """

    position: int
    before: float
    lost: float
    mistakes: float
    samples: int | None


def drift_recovery(
    ends: Sequence[int],
    accuracy: Sequence[float],
    drifts: Sequence[tuple[int, int]],
    *,
    tolerance: float = 0.01,
) -> list[Recovery]:
    """Return the cost of each known drift, from the accuracy curve of a run.

    Parameters
    ----------
    ends
        Number of samples at the end of each window, rising. A window begins where the one before ends.
    accuracy
        Accuracy in each window, as a share.
    drifts
        Known drifts as (position, width), in order: centre and length of the change, in samples. For a sigmoid change,
        as in `streams.drift`, this is the steep part: the new concept has 12 % of the samples at its begin and 88 % at
        its end.
    tolerance
        Accuracy counts as recovered when it is at most this much lower than before.

    Returns
    -------
    recoveries
        One per drift with a window before it and one after. The result is no finer than the windows. It is also no
        more certain, since a single window gives the accuracy before, and a single one shows the recovery: the accuracy
        of a window of n samples is uncertain by about 0.5 / sqrt(n).

    Raises
    ------
    ValueError
        If `ends` and `accuracy` differ in length.

    Examples
    --------
    >>> from driftmoe.metrics import drift_recovery
    >>> drift_recovery([100, 200, 300, 400], [0.9, 0.9, 0.6, 0.9], [(200, 1)])
    [Recovery(position=200, before=0.9, lost=0.3, mistakes=30.0, samples=200)]
    """
    if len(ends) != len(accuracy):
        raise ValueError(f"{len(ends)} ends of windows and {len(accuracy)} accuracies; give one for each")
    begins = [max(position - width // 2, 0) for position, width in drifts]
    is_over = [position + width // 2 for position, width in drifts]
    recoveries = []
    for begin, over, until in zip(begins, is_over, [*begins, math.inf][1:], strict=True):
        windows = list(zip([0, *ends][:-1], ends, accuracy, strict=True))
        earlier = [value for _, end, value in windows if end <= begin]
        later = [(start, end, value) for start, end, value in windows if begin < end <= until]
        if not earlier or not later:
            continue
        before, mistakes, samples = earlier[-1], 0.0, None
        for start, end, value in later:
            if start >= over and value >= before - tolerance:
                samples = end - begin
                break
            mistakes += (before - value) * (end - start)
        lost = max(0.0, before - min(value for _, _, value in later))
        recoveries.append(Recovery(begin, before, round(lost, 12), round(max(mistakes, 0.0), 9), samples))
    return recoveries
