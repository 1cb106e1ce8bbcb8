"""The protocols through which a model makes groups of experts, asks them and teaches them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from driftmoe.memory import array_bytes
from driftmoe.transaction import Changes, StepPlan, carry_out

if TYPE_CHECKING:
    from driftmoe.experts.batch import Batch, Rows
    from driftmoe.state import State
    from driftmoe.trees import TreePool


Sizes = dict[str, int]
"""Any of `n_features`, `n_inputs` and `n_classes`."""


class Group(Protocol):
    """What all groups of experts have in common, whatever the shape of their votes.

    Experts see the index of a class, never the label itself, so labels may be any hashable values. The mixture, not the
    experts, decides which experts are asked and taught.

    Attributes
    ----------
    reads
        Field of a `Batch` that they read: `"vectors"`, `"samples"` or `"inputs"`.
    """

    reads: str

    @property
    def kind(self) -> str:
        """Name of the kind of expert in reports."""

    @property
    def n_experts(self) -> int:
        """Number of experts, which is the number of votes of the group."""

    @property
    def pool(self) -> TreePool | None:
        """The trees, if the experts are trees of one pool. They can be described and drawn."""

    @property
    def n_replaced(self) -> np.ndarray:
        """Number of trees that a drift detector replaced, for each expert, shape (n_experts,)."""

    @property
    def n_replaced_so_far(self) -> np.ndarray:
        """As `n_replaced`. With drift detectors it is a view of the counter, which later samples update."""

    def n_rows_with_room(self, n_rows: int, weights: Callable[[int], np.ndarray] | None = None) -> int:
        """Return how many of the next rows can be learnt in one step."""

    def n_rows_before_growth(self, weights: np.ndarray) -> int:
        """Return how many rows with these weights, shape (n_rows, n_experts), are learnt before an array must grow.

        It is their number, or a half of it, a quarter and so on, or 0.
        """

    def sizes(self) -> Sizes:
        """Return how many features, inputs and classes the experts know, of what they read."""

    @property
    def size(self) -> int:
        """How much they may keep: leaves of each tree, episodes of neighbours. 1 if they have nothing to give up."""

    @property
    def least_size(self) -> int:
        """The least that `resized` takes."""

    def bytes_at(self, size: int) -> int:
        """Return the most bytes that they can take with a size, until new names come. Only their state matters."""

    def resized(self, size: int) -> Any:
        """Return a copy of this size, from `least_size` to `size`, without spare room; these experts do not change."""

    def state(self) -> State:
        """Return everything that the experts have learnt, as named arrays and numbers."""

    def restore(self, state: State) -> None:
        """Restore the state of experts that were built with the same arguments."""


class Experts(Group, Protocol):
    """One or more experts of a kind. Each gives probabilities of all classes.

    Attributes
    ----------
    is_costly
        Whether extra experts of this kind are only asked for one sample in eight while their gate weight is low; see
        `min_trust` of `driftmoe.DriftMoEClassifier`.
    may_rest
        Whether extra experts of this kind are only asked and taught one sample in eight while their gate weight has
        been low for long; see `min_awake` of `driftmoe.DriftMoEClassifier`.
    """

    is_costly: bool
    may_rest: bool
    is_repeatable: bool
    """Whether what they plan may be carried out again for other rows; see `driftmoe.transaction.StepPlan`."""

    @property
    def names(self) -> Sequence[str]:
        """Names in reports that distinguish the experts of the group, one for each."""

    def predict_proba(self, batch: Batch, asked: np.ndarray | None = None) -> np.ndarray:
        """Return the class probabilities of each expert. Does not change the experts.

        Parameters
        ----------
        batch
            Samples.
        asked
            Experts whose vote is needed, bool, shape (n_rows, n_experts), or (1, n_experts) for all rows alike; default
            all. The votes of the others may be zeros.

        Returns
        -------
        expert_proba
            Shape (n_rows, n_experts, n_classes). A row sums to 1, or is 0 for an expert that has no vote yet.
        """

    def plan_votes(self, batch: Batch, plan: StepPlan, asked: Rows = None) -> np.ndarray:
        """Compute what `predict_proba` returns, by calls of a plan that may be made again.

        Parameters
        ----------
        batch
            Samples.
        plan
            Computes the votes. Where it cannot compute them again for other rows, it is marked as not repeatable.
        asked
            Rows on which the experts vote, as in `plan`.
        """

    def plan(self, batch: Batch, taught: Rows = None, asked: Rows = None, *, changes: Changes) -> np.ndarray:
        """Plan, for each row in order, that all experts predict and then learn.

        Parameters
        ----------
        batch
            Samples with targets and weights.
        taught
            Weight of each sample for each expert, 0 or more, shape (n_rows, n_experts). By default all experts learn
            each row with its own weight.
        asked
            Rows on which the experts vote, bool, shape (n_rows,); default all. Cheap experts may vote on the other
            rows, too.
        changes
            The planned changes are added to this list.

        Returns
        -------
        expert_proba
            As in `predict_proba`, from before each row is learnt. The changes fill it in.
        """


class OneVsRest(Group, Protocol):
    """One expert for each class learnt, which separates its class from all others. A new class adds an expert."""

    def predict_proba(self, batch: Batch) -> np.ndarray:
        """Return each expert's probability that a sample belongs to its class. Does not change the experts.

        Returns
        -------
        own_proba
            Shape (n_rows, n_classes), 0 for an expert that has no vote yet.
        """

    def plan_votes(self, batch: Batch, plan: StepPlan, asked: Rows = None) -> np.ndarray:
        """Compute what `predict_proba` returns, by calls of a plan; see `Experts.plan_votes`. Ignores `asked`."""

    def plan(self, batch: Batch, *, changes: Changes) -> np.ndarray:
        """Plan, for each row in order, that all experts predict and then learn the row with its weight.

        Returns
        -------
        own_proba
            As in `predict_proba`, from before each row is learnt. The changes fill it in.
        """


class Prototype(Protocol):
    """What the main experts of a model are copied from: a tree, another river classifier, or the sizes of a network."""

    @property
    def kind(self) -> str:
        """Name of the kind in error messages."""

    @property
    def nominal(self) -> Iterable[Hashable]:
        """Features that it declares nominal."""

    @property
    def arguments(self) -> frozenset[str]:
        """Arguments of `driftmoe.DriftMoEClassifier` that have an effect because the experts are of this kind."""

    def multiclass(
        self, n_experts: int, rng: np.random.Generator, *, n_threads: int, detectors: Mapping[str, float]
    ) -> Experts:
        """Return untrained experts that each give probabilities of all classes.

        Parameters
        ----------
        n_experts
            Number of experts.
        rng
            Private generator of their seeds.
        n_threads, detectors
            Arguments of `TreePool` that concern trees alone: `n_threads`, and settings of the drift detectors.

        Raises
        ------
        ValueError
            If such experts cannot be made of this prototype.
        """

    def one_vs_rest(self, rng: np.random.Generator, *, n_threads: int) -> OneVsRest:
        """Return a group that is still empty, of experts that each separate their class from all others."""


class Planned:
    """A part that learns by plans. `plan` returns the votes, and adds to `changes` what fills them in and learns."""

    plan: Callable[..., Any]
    predict_proba: Callable[..., np.ndarray]
    n_experts: Any
    is_repeatable = False

    def plan_votes(self, batch: Batch, plan: StepPlan, asked: Rows = None) -> np.ndarray:
        """Compute the votes once, if all rows are asked, else zeros; see `Experts.plan_votes`."""
        plan.is_repeatable = False
        if asked is None or asked.all():
            return self.predict_proba(batch)
        return np.zeros((len(batch.vectors), self.n_experts, batch.n_classes))

    def step(self, *arguments: Any, **others: Any) -> Any:
        """Predict, then learn, row by row, as planned by `plan`; return the votes."""
        changes: Changes = []
        votes = self.plan(*arguments, changes=changes, **others)
        carry_out(changes)
        return votes


class Fixed:
    """Experts whose size follows from what they know, so that they have nothing to give up."""

    size = least_size = 1

    def bytes_at(self, size: int) -> int:
        """Return the bytes of all arrays."""
        return array_bytes(self)

    def resized(self, size: int) -> Any:
        """Return the experts themselves."""
        return self


class Unmonitored(Fixed, Planned):
    """Experts without drift detectors, which can learn any number of rows in one step."""

    n_experts: int
    pool = None
    is_costly = False
    may_rest = False

    @property
    def names(self) -> Sequence[str]:
        """Names in reports that distinguish the experts of the group: their numbers, from 1."""
        return [str(i + 1) for i in range(self.n_experts)]

    @property
    def n_replaced(self) -> np.ndarray:
        """Number of trees that a drift detector replaced: always 0; shape (n_experts,)."""
        return np.zeros(self.n_experts, np.int64)

    n_replaced_so_far = n_replaced

    def n_rows_with_room(self, n_rows: int, weights: Callable[[int], np.ndarray] | None = None) -> int:
        """Return how many of the next rows can be learnt in one step: all."""
        return n_rows

    def n_rows_before_growth(self, weights: np.ndarray) -> int:
        """Return the number of rows: nothing must grow."""
        return len(weights)
