"""A trained model as one more expert: it votes and never learns, and all models with it share the one that there is.

References: Composition of Experts (Jain et al. 2024, arXiv 2412.01868) routes between trained experts; the shared
expert of DeepSeekMoE (Dai et al. 2024, arXiv 2401.06066) holds what all have in common.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from driftmoe.encoding import Encoder
from driftmoe.experts.protocol import Unmonitored
from driftmoe.state import State, check_names
from driftmoe.transaction import Changes, StepPlan

if TYPE_CHECKING:
    from threading import RLock

    from driftmoe.experts.batch import Batch, Rows

Reader = Callable[[np.ndarray], np.ndarray]
"""Takes vectors, shape (n_rows, n_features), and returns class probabilities, shape (n_rows, n_classes)."""


class Readable(Protocol):
    """A model that can be a prior."""

    _encoder: Encoder
    _lock: RLock
    _shared: Any

    def digest(self) -> str:
        """Return the SHA-256 of the model."""

    def _reader(self) -> Reader:
        """Return a function that reads the model for one thread, as long as the model does not learn."""


class Prior:
    """A model that others read. It is not copied, and learns no more.

    Parameters
    ----------
    model
        A trained model.

    Attributes
    ----------
    digest
        Its SHA-256.
    encoder
        Its encoder. Vectors of models that read it start with the same columns, codes and all.
    """

    def __init__(self, model: Readable) -> None:
        self.model, self.digest, self.encoder = model, model.digest(), model._encoder
        self._n_features = len(self.encoder.features)
        self._n_codes = [
            (column, len(of))
            for column, of in enumerate(self.encoder.values)
            if of is not None and len(of) < 256
        ]
        self._of_thread = threading.local()
        self._last: tuple[bytes, np.ndarray] = (b"", np.empty(0))

    def __deepcopy__(self, memo: dict[int, Any]) -> Prior:
        return self

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return prior_of, (self.model,)

    @property
    def name(self) -> str:
        """Its class and its digest."""
        return f"{type(self.model).__name__} {self.digest}"

    @property
    def n_classes(self) -> int:
        """Number of classes that the model knows."""
        return len(self.encoder.classes)

    def largest_codes(self, n_features: int) -> np.ndarray:
        """Return a row with the largest code of each nominal column, NaN in the others, shape (1, n_features)."""
        codes = np.full((1, n_features), np.nan)
        for column, of in enumerate(self.encoder.values):
            if of:
                codes[0, column] = len(of) - 1
        return codes

    def vote(self, vectors: np.ndarray, asked: Rows, votes: np.ndarray) -> None:
        """Write the class probabilities of the rows that are asked, and zeros for the others.

        Parameters
        ----------
        vectors
            Of a model whose encoder started with the names of this one's, shape (n_rows, n_features).
        asked
            Bool, shape (n_rows,); `None` for all.
        votes
            Result, shape (n_rows, n_classes).
        """
        if len(vectors) == 1:
            votes[0] = self._proba_of_row(vectors[0]) if asked is None or asked[0] else 0.0
            return
        rows = None if asked is None or asked.all() else np.flatnonzero(asked)
        if rows is None:
            votes[...] = self._proba(vectors)
            return
        votes[...] = 0.0
        if len(rows):
            votes[rows] = self._proba(vectors[rows])

    def _proba_of_row(self, vector: np.ndarray) -> np.ndarray:
        """Return the probabilities of a row. A sample is predicted and then learnt, so that the last one is kept."""
        content, last = vector.tobytes(), self._last
        if content == last[0]:
            return last[1]
        proba = self._proba(vector[np.newaxis])[0]
        self._last = content, proba
        return proba

    def _proba(self, vectors: np.ndarray) -> np.ndarray:
        own = vectors[:, : self._n_features]
        if (
            self._n_codes
        ):  # values that the model does not know have the next free code, as it gives them itself
            own = own.copy()
            for column, n_codes in self._n_codes:
                np.minimum(own[:, column], n_codes, out=own[:, column])
        with self.model._lock:  # predictions write into work space of the model
            return self._reader()(np.ascontiguousarray(own))

    def _reader(self) -> Reader:
        reader: Reader | None = getattr(self._of_thread, "reader", None)
        if reader is None:
            reader = self._of_thread.reader = self.model._reader()
        return reader


def prior_of(model: Readable) -> Prior:
    """Return what reads a model. There is one for each model, and from then on the model does not learn.

    Raises
    ------
    ValueError
        If the model has learnt nothing yet.
    """
    if model._shared is None:
        check_trained("prior", model)
        model._shared = Prior(model)
    prior: Prior = model._shared
    return prior


def name_of(model: Readable) -> str:
    """Return the class and the digest of a model, which may still learn afterwards."""
    shared: Prior | None = model._shared
    return f"{type(model).__name__} {model.digest()}" if shared is None else shared.name


def check_trained(name: str, model: Readable) -> None:
    """Raise ValueError if a model has learnt nothing yet."""
    if not model._encoder.classes:
        raise ValueError(
            f"{name}: the {type(model).__name__} has learnt nothing yet; teach it before others read it"
        )


class PriorExpert(Unmonitored):
    """The vote of a trained model, which is not a part of the model that asks it; see `Prior`.

    It starts with all classes of the prior. The vote has no probability for classes that came later.
    """

    reads = "vectors"
    kind = "prior"
    n_experts = 1
    is_costly = True
    is_repeatable = True

    def __init__(self, prior: Prior) -> None:
        self.prior = prior

    def predict_proba(self, batch: Batch, asked: np.ndarray | None = None) -> np.ndarray:
        """Return the prior's class probabilities, shape (n_rows, 1, n_classes)."""
        votes = np.zeros((len(batch.vectors), 1, batch.n_classes))
        self.prior.vote(batch.vectors, None, votes[:, 0, : self.prior.n_classes])
        return votes

    def answers(self, batch: Batch, plan: StepPlan) -> np.ndarray:
        """Return the answers of a model that has learnt nothing itself, shape (n_rows, n_classes)."""
        plan.is_repeatable = False
        proba: np.ndarray = self.predict_proba(batch)[:, 0]
        proba[~proba.any(axis=1)] = 1.0 / batch.n_classes  # a tree whose leaf has no vote
        return proba

    def alone(self, batch: Batch, n_experts: int, e: int) -> tuple[np.ndarray, np.ndarray]:
        """Return weights and votes of experts of which only number `e`, this one, has a vote."""
        weights, votes = np.zeros((len(batch.vectors), n_experts)), self.predict_proba(batch)
        weights[:, e] = 1.0
        expert_proba = np.zeros((len(votes), n_experts, batch.n_classes))
        expert_proba[:, e] = votes[:, 0]
        return weights, expert_proba

    def plan_votes(self, batch: Batch, plan: StepPlan, asked: Rows = None) -> np.ndarray:
        """Compute the prior's class probabilities on the rows that are asked; see `Experts.plan_votes`."""
        votes = np.zeros((len(batch.vectors), 1, batch.n_classes))
        plan.compute(self.prior.vote, batch.vectors, asked, votes[:, 0, : self.prior.n_classes])
        return votes

    def plan(self, batch: Batch, taught: Rows = None, asked: Rows = None, *, changes: Changes) -> np.ndarray:
        """Compute the votes. The prior learns nothing, so that there is nothing to change."""
        return self.plan_votes(batch, changes if isinstance(changes, StepPlan) else StepPlan(), asked)

    def sizes(self) -> dict[str, int]:
        """Return how many features and classes the prior knows; see `Group.sizes`."""
        return {"n_features": len(self.prior.encoder.features), "n_classes": self.prior.n_classes}

    def bytes_at(self, size: int) -> int:
        """Return 0: the prior is not a part of the model."""
        return 0

    def state(self) -> State:
        """Return nothing: the arguments of the model name the prior."""
        return {}

    def restore(self, state: State) -> None:
        """Check that the state is empty; see `driftmoe.state`."""
        check_names(state, (), self)
