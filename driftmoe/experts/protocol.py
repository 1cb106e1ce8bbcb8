"""What a group of experts must offer, so that a mixture can ask and teach it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from driftmoe.transaction import Changes, carry_out

if TYPE_CHECKING:
    from driftmoe.experts.batch import Batch
    from driftmoe.state import State
    from driftmoe.trees import TreePool


class Experts(Protocol):
    """One or more experts of a kind. Each gives probabilities of all classes.

    Experts see the index of a class, never the label itself, so that labels may be anything hashable. They do not
    choose who is asked or taught: the mixture tells them.

    Attributes
    ----------
    reads
        What of a `Batch` they read: `"vectors"`, `"samples"` or `"inputs"`.
    """

    reads: str

    @property
    def kind(self) -> str:
        """What reports call one of them."""

    @property
    def n_experts(self) -> int:
        """How many experts there are: votes that the group gives."""

    @property
    def names(self) -> Sequence[str]:
        """What tells the experts of the group apart in reports, one for each."""

    @property
    def n_replaced(self) -> np.ndarray:
        """Number of trees that a drift detector replaced, for each expert, shape (n_experts,)."""

    @property
    def n_replaced_so_far(self) -> np.ndarray:
        """As `n_replaced`. Where drift is monitored it is a view of the counter, which goes on counting."""

    def n_rows_with_room(self, n_rows: int, weights: Callable[[int], np.ndarray] | None = None) -> int:
        """Return how many of the next rows can be learnt in one step."""

    def predict_proba(self, batch: Batch, asked: np.ndarray | None = None) -> np.ndarray:
        """Return the class probabilities of each expert; changes nothing.

        Parameters
        ----------
        batch
            Samples.
        asked
            bool, shape (n_rows, n_experts): the experts whose answer will be used; all by default. The others may
            answer zeros.

        Returns
        -------
        expert_proba
            Shape (n_rows, n_experts, n_classes). A row sums to 1, or is 0 for an expert that has no vote yet.
        """

    def plan(
        self,
        batch: Batch,
        taught: np.ndarray | None = None,
        asked: np.ndarray | None = None,
        *,
        changes: Changes,
    ) -> np.ndarray:
        """Plan, for each row in order, to let all experts predict, then learn.

        Parameters
        ----------
        batch
            Samples with targets and weights.
        taught
            Weight of the sample for each expert, 0 or more, shape (n_rows, n_experts). By default all learn each row
            with its weight.
        asked
            bool, shape (n_rows,): the rows on which they vote; all by default. Experts that are cheap to ask may vote
            on the others, too.
        changes
            The planned changes are added to this list.

        Returns
        -------
        expert_proba
            As of `predict_proba`, before each row is learnt. The changes write it.
        """

    def state(self) -> State:
        """Return what the experts have learnt, as named arrays and numbers."""

    def restore(self, state: State) -> None:
        """Bring experts that were built with the same arguments to a state."""


@runtime_checkable
class HasTrees(Protocol):
    """Experts that are trees of one pool, which can be described and drawn."""

    pool: TreePool


class Planned:
    """A part that learns by plans: `plan` returns the votes, and adds to `changes` what writes them and learns."""

    plan: Callable[..., Any]

    def step(self, *arguments: Any, **others: Any) -> Any:
        """Predict, then learn, row by row, as planned by `plan`; return the votes."""
        changes: Changes = []
        votes = self.plan(*arguments, changes=changes, **others)
        carry_out(changes)
        return votes


class Unmonitored(Planned):
    """Experts without drift detectors, for which no room needs to be made."""

    n_experts: int

    @property
    def names(self) -> Sequence[str]:
        """What tells the experts of the group apart in reports: their numbers, from 1."""
        return [str(i + 1) for i in range(self.n_experts)]

    @property
    def n_replaced(self) -> np.ndarray:
        """Number of trees that a drift detector replaced: none; shape (n_experts,)."""
        return np.zeros(self.n_experts, np.int64)

    n_replaced_so_far = n_replaced

    def n_rows_with_room(self, n_rows: int, weights: Callable[[int], np.ndarray] | None = None) -> int:
        """Return how many of the next rows can be learnt in one step: all."""
        return n_rows
