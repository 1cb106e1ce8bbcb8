"""The figures of a routing report, computed from sums over the samples that a model has learnt."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from driftmoe.state import State, check_names

SUMS = ("entropy", "null_share", "right", "missed")
ENTROPY, NULL, RIGHT, MISSED = range(4)
"""Names and indices of the sums over samples."""

EXPERT_SUMS = ("chosen", "weight", "voted", "right")
CHOSEN, WEIGHT, VOTED, WAS_RIGHT = range(4)
"""Names and rows of the sums for each expert."""


@dataclass(frozen=True, eq=False)
class RoutingFigures:
    """Means over learnt samples; NaN if there is nothing to average.

    For cumulative figures of the same model, `after - before` gives the figures over the samples in between.

    Attributes
    ----------
    n_samples
        Number of samples.
    experts
        Names of the experts: `tree 1`, `neighbours (0.002)`, `history`, `head`, the class of a river classifier, or in
        `moe-task` `class` and the label.
    sums
        Sums over samples, shape (4,): entropy, share of null experts, right answers, missed answers.
    of_experts
        Sums over samples, shape (4, n_experts): chosen, weight, voted, right.
    replaced
        Number of trees of each expert that were replaced after drift, shape (n_experts,).
    are_rivals
        Whether each expert could have answered instead of the mixture, which is not so in `moe-task`.

    Examples
    --------
    >>> from driftmoe import DriftMoEClassifier
    >>> model = DriftMoEClassifier("moe-vote", n_experts=2, seed=1)
    >>> before = model.routing_report().cumulative
    >>> model.learn_one({"x": 1.0}, "yes")
    >>> figures = model.routing_report().cumulative - before
    >>> figures.n_samples, figures.experts
    (1, ('tree 1', 'tree 2'))
    """

    n_samples: int
    experts: tuple[str, ...]
    sums: np.ndarray
    of_experts: np.ndarray
    replaced: np.ndarray
    are_rivals: bool

    @property
    def experts_used(self) -> float:
        """Mean number of experts that the policy chose for a sample, without null experts."""
        return self._mean(self.of_experts[CHOSEN].sum())

    @property
    def entropy(self) -> float:
        """Mean Shannon entropy of the routing divided by its maximum: 0 for a single expert, 1 for equal weights.

        In `moe-vote` and `moe-data`, for any policy, it is the entropy of `driftmoe.routing.first_right`: the router's
        belief about which expert is the first right one. Otherwise it is the entropy of the voting weights.
        """
        return self._mean(self.sums[ENTROPY])

    @property
    def null_share(self) -> float:
        """Share of the chosen places that null experts took."""
        return self._mean(self.sums[NULL])

    @property
    def accuracy(self) -> float:
        """Share of samples that the mixture predicted correctly before learning them."""
        return self._mean(self.sums[RIGHT])

    @property
    def missed(self) -> float:
        """Share of samples on which some expert was right but the mixture was not; NaN in `moe-task`."""
        return self._mean(self.sums[MISSED]) if self.are_rivals else math.nan

    @property
    def best_single(self) -> float:
        """Accuracy of the best single expert in hindsight; NaN in `moe-task`. An expert not asked counts as wrong."""
        right = self.of_experts[WAS_RIGHT]
        return self._mean(right.max(initial=0.0)) if self.are_rivals else math.nan

    @property
    def oracle_gap(self) -> float:
        """Accuracy of the best single expert minus the mixture's; below 0 if the mixture beats each of its experts."""
        return self.best_single - self.accuracy

    @property
    def n_replaced(self) -> int:
        """Number of trees that were replaced after drift."""
        return int(self.replaced.sum())

    @property
    def usage(self) -> np.ndarray:
        """Share of samples for which each expert was chosen, shape (n_experts,)."""
        return self.of_experts[CHOSEN] / (self.n_samples or math.nan)

    @property
    def weight(self) -> np.ndarray:
        """Mean weight of each expert in the mixture, shape (n_experts,)."""
        return self.of_experts[WEIGHT] / (self.n_samples or math.nan)

    @property
    def expert_accuracy(self) -> np.ndarray:
        """Accuracy of each expert on the samples for which it had a vote, shape (n_experts,).

        In `moe-task` an expert is right if it accepts a sample of its class or rejects a sample of another class.
        """
        voted = self.of_experts[VOTED]
        return self.of_experts[WAS_RIGHT] / np.where(voted > 0.0, voted, math.nan)

    def __sub__(self, earlier: RoutingFigures) -> RoutingFigures:
        """Return the figures for the samples since an earlier report of the same model."""
        n_new = len(self.experts) - len(earlier.experts)
        return RoutingFigures(
            self.n_samples - earlier.n_samples,
            self.experts,
            self.sums - earlier.sums,
            self.of_experts - np.pad(earlier.of_experts, ((0, 0), (0, n_new))),
            self.replaced - np.pad(earlier.replaced, (0, n_new)),
            self.are_rivals,
        )

    def state(self) -> State:
        """Return the figures as plain values, without arrays; `of_state` makes them again."""
        return {
            "n_samples": self.n_samples,
            "experts": list(self.experts),
            "sums": self.sums.tolist(),
            "of_experts": self.of_experts.tolist(),
            "replaced": self.replaced.tolist(),
            "are_rivals": self.are_rivals,
        }

    @classmethod
    def of_state(cls, state: State) -> RoutingFigures:
        """Return the figures whose `state` this is."""
        check_names(
            state, ("n_samples", "experts", "sums", "of_experts", "replaced", "are_rivals"), cls.__name__
        )
        return cls(
            state["n_samples"],
            tuple(state["experts"]),
            np.array(state["sums"], np.float64),
            np.array(state["of_experts"], np.float64).reshape(4, -1),
            np.array(state["replaced"], np.int64),
            state["are_rivals"],
        )

    def of_all(self) -> dict[str, float | None]:
        """Return the overall figures by name, with `None` for NaN."""
        names = (
            "experts_used", "entropy", "null_share", "best_single", "oracle_gap", "missed",
        )  # fmt: skip
        return {name: _rounded(getattr(self, name)) for name in names} | {"n_replaced": self.n_replaced}

    def of_each(self) -> dict[str, dict[str, float | None]]:
        """Return the figures of each expert by its name, with `None` for NaN."""
        columns = {"usage": self.usage, "weight": self.weight, "accuracy": self.expert_accuracy}
        return {
            expert: {name: _rounded(values[e]) for name, values in columns.items()}
            | {"n_replaced": int(self.replaced[e])}
            for e, expert in enumerate(self.experts)
        }

    def _mean(self, total: float) -> float:
        return float(total / self.n_samples) if self.n_samples else math.nan


@dataclass(frozen=True, eq=False)
class RoutingReport:
    """Statistics of the routing on the samples learnt so far.

    Attributes
    ----------
    window
        Figures over the last 1000 samples, rounded up to whole mini-batches of the router.
    cumulative
        Figures over all samples.
    n_ignored_values, n_ignored_samples
        What the model ignored so far, because a feature is beyond `max_features` or a label beyond `max_classes`; see
        `driftmoe.DriftMoEClassifier`.
    n_shared_values
        Number of values that share a code, because their feature has 256 others.

    Examples
    --------
    >>> from driftmoe import DriftMoEClassifier
    >>> model = DriftMoEClassifier("moe-data", n_experts=4, seed=1)
    >>> model.learn_one({"x": 1.0}, "yes")
    >>> report = model.routing_report()
    >>> report.cumulative.n_samples, report.cumulative.experts_used
    (1, 3.0)
    """

    window: RoutingFigures
    cumulative: RoutingFigures
    n_ignored_values: int = 0
    n_ignored_samples: int = 0
    n_shared_values: int = 0

    def ignored(self) -> dict[str, int]:
        """Return the counts of what was ignored or shares a code, by name, as far as they are above 0."""
        names = ("n_ignored_values", "n_ignored_samples", "n_shared_values")
        return {name: getattr(self, name) for name in names if getattr(self, name)}


def _rounded(value: float) -> float | None:
    return None if math.isnan(value) else round(float(value), 6)
