"""Pools of experts: Hoeffding trees in one set of arrays, or river classifiers; with all classes each, or one each.

All four answer alike. Experts see the class index, never the label itself, so that labels may be anything hashable. A
pool never chooses: it is told which experts to ask and which to teach. Trees read vectors, river classifiers read
cleaned samples, others what the router reads; `reads` says which: `"vectors"`, `"samples"` or `"inputs"`.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from inspect import signature
from typing import Any, Protocol

import numpy as np
from river import base

from driftmoe.encoding import Sample
from driftmoe.transaction import Changes, Planned, assignment
from driftmoe.trees import HoeffdingTreeClassifier, TreePool


def spawn(prototype: base.Classifier, rng: np.random.Generator) -> base.Classifier:
    """Return an untrained copy of a prototype; it gets its own seed wherever it, or a part of it, takes one."""
    return prototype.clone(_seeds(prototype._get_params(), rng))


def _seeds(parameters: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """New values for each `seed` among river's nested parameters: a part is (class, parameters), a step parameters."""
    seeds: dict[str, Any] = {}
    for name, value in parameters.items():
        if name == "seed":
            seeds[name] = int(rng.integers(2**31))
        elif isinstance(value, dict) and (inner := _seeds(value, rng)):
            seeds[name] = inner
        elif (
            isinstance(value, tuple)
            and len(value) == 2
            and isinstance(value[0], type)
            and (inner := _seeds(value[1], rng))
        ):
            seeds[name] = (value[0], inner)
    return seeds


def _vote(expert: base.Classifier, sample: Sample) -> dict[Any, float]:
    """Return an expert's probabilities; the whole vote for its answer if it knows no probabilities."""
    try:
        return expert.predict_proba_one(sample)
    except NotImplementedError:
        answer = expert.predict_one(sample)
        return {} if answer is None else {answer: 1.0}


class Experts(Protocol):
    """Experts of one kind, each of which tells all classes apart.

    Attributes
    ----------
    reads
        What of a `Batch` they read: `"vectors"`, `"samples"` or `"inputs"`.
    kind
        What reports call one of them.
    """

    reads: str

    @property
    def kind(self) -> str:
        """What reports call one of them."""

    @property
    def n_experts(self) -> int:
        """How many there are."""

    @property
    def n_replaced(self) -> np.ndarray:
        """How often drift has ended the tree of each, shape (n_experts,); 0 where there are no trees."""

    @property
    def n_replaced_so_far(self) -> np.ndarray:
        """As `n_replaced`; where drift is watched, a view that goes on counting."""

    def n_rows_with_room(self, n_rows: int, weights: Callable[[int], np.ndarray] | None = None) -> int:
        """Return how many of the next rows can be learnt in one step."""

    def predict_proba(self, read: Any, n_classes: int, asked: np.ndarray | None = None) -> np.ndarray:
        """Return the class probabilities of each expert; changes nothing. See `MulticlassTrees.predict_proba`."""

    def plan(
        self,
        read: Any,
        targets: np.ndarray,
        taught: np.ndarray | None,
        n_classes: int,
        *,
        nominal: Sequence[int] = (),
        changes: Changes,
    ) -> np.ndarray:
        """Plan to let all experts predict, then those in `taught` learn. See `MulticlassTrees.plan`."""


class Unwatched(Planned):
    """Experts whose drift nobody watches, and which need no room made for them."""

    n_experts: int

    @property
    def n_replaced(self) -> np.ndarray:
        """How often drift has ended the tree of each: never; shape (n_experts,)."""
        return np.zeros(self.n_experts, np.int64)

    n_replaced_so_far = n_replaced

    def n_rows_with_room(self, n_rows: int, weights: Callable[[int], np.ndarray] | None = None) -> int:
        """Return how many of the next rows can be learnt in one step: all."""
        return n_rows


class MulticlassTrees(Planned):
    """A pool of trees, each of which tells all classes apart.

    Parameters
    ----------
    pool
        Untrained trees.
    """

    reads = "vectors"
    kind = "tree"

    def __init__(self, pool: TreePool) -> None:
        self.pool = pool

    @property
    def n_experts(self) -> int:
        """Number of trees."""
        return self.pool.n_experts

    @property
    def n_replaced(self) -> np.ndarray:
        """How often drift has ended each tree, shape (n_experts,)."""
        return self.pool.n_replaced

    @property
    def n_replaced_so_far(self) -> np.ndarray:
        """As `n_replaced`; where drift is watched, a view that goes on counting."""
        return self.pool.n_replaced_so_far

    def predict_proba(
        self, vectors: np.ndarray, n_classes: int, asked: np.ndarray | None = None
    ) -> np.ndarray:
        """Return the class probabilities of each expert; changes nothing.

        Parameters
        ----------
        vectors
            Shape (n_rows, n_features).
        n_classes
            Classes known so far.
        asked
            bool, shape (n_rows, n_experts): the experts whose answer will be used; all by default. The others may
            answer zeros.

        Returns
        -------
        expert_proba
            Shape (n_rows, n_experts, n_classes). A row sums to 1, or is 0 for an expert that has no vote yet.
        """
        return _widened(self.pool.predict_checked(vectors), n_classes)

    def plan(
        self,
        vectors: np.ndarray,
        targets: np.ndarray,
        taught: np.ndarray | None,
        n_classes: int,
        *,
        nominal: Sequence[int] = (),
        changes: Changes,
    ) -> np.ndarray:
        """Plan, for each row in order, to let all experts predict, then those in `taught` learn.

        Parameters
        ----------
        vectors
            Shape (n_rows, n_features).
        targets
            Class indices, shape (n_rows,).
        taught
            Weight of the sample for each expert, 0 or more, or whether it learns the sample at all; shape
            (n_rows, n_experts), all once by default.
        n_classes
            Classes known so far.
        nominal
            Columns of vectors that hold codes.
        changes
            Gets what is left to do.

        Returns
        -------
        expert_proba
            As of `predict_proba`, before each row was learnt; written by the changes.
        """
        shape = len(vectors), self.pool.n_experts
        weights = np.ones(shape) if taught is None else taught.astype(np.float64, copy=False)
        return self.pool.plan(
            vectors, targets[:, np.newaxis], weights, n_classes, nominal=nominal, changes=changes
        )

    def n_rows_with_room(self, n_rows: int, weights: Callable[[int], np.ndarray] | None = None) -> int:
        """Return how many of the next rows the trees can learn in one step; see `TreePool.n_rows_with_room`."""
        return self.pool.n_rows_with_room(n_rows, weights)


class OneVsRestTrees(MulticlassTrees):
    """A pool with a tree for each class, which tells its class (1) from all others (0); a new class brings a new tree.

    An answer is each tree's probability that the sample is of its class, shape (n_rows, n_classes); 0 where it has no
    vote yet. All trees learn every sample.
    """

    def predict_proba(
        self, vectors: np.ndarray, n_classes: int, asked: np.ndarray | None = None
    ) -> np.ndarray:
        """Return each tree's probability that the sample is of its class; changes nothing."""
        proba = np.zeros((len(vectors), n_classes))
        proba[:, : self.pool.n_experts] = _widened(self.pool.predict_checked(vectors), 2)[:, :, 1]
        return proba

    def plan(
        self,
        vectors: np.ndarray,
        targets: np.ndarray,
        taught: np.ndarray | None,
        n_classes: int,
        *,
        nominal: Sequence[int] = (),
        changes: Changes,
    ) -> np.ndarray:
        """Plan, for each row in order, to let all trees predict, then learn with the weights `taught`, (n_rows, 1)."""
        own = (targets[:, np.newaxis] == np.arange(n_classes)).astype(np.int64)
        weights = np.ones(own.shape) if taught is None else np.repeat(taught, n_classes, axis=1)
        proba = self.pool.plan(
            vectors, own, weights, 2, n_experts=n_classes, nominal=nominal, changes=changes
        )
        return proba[:, :, 1]


class MulticlassExperts(Unwatched):
    """A fixed number of river classifiers, each of which tells all classes apart; answers as `MulticlassTrees`.

    Parameters
    ----------
    prototype
        River classifier that is copied, not touched.
    n_experts
        Number of copies.
    rng
        Private source of the experts' seeds.
    """

    reads = "samples"

    def __init__(self, prototype: base.Classifier, n_experts: int, rng: np.random.Generator) -> None:
        self.kind = type(prototype).__name__
        self._experts = [spawn(prototype, rng) for _ in range(n_experts)]

    @property
    def n_experts(self) -> int:  # type: ignore[override]  # counted anew
        """Number of classifiers."""
        return len(self._experts)

    def predict_proba(
        self, samples: Sequence[Sample], n_classes: int, asked: np.ndarray | None = None
    ) -> np.ndarray:
        """Return the class probabilities of each expert, zeros for one that is not asked; changes nothing."""
        expert_proba = np.zeros((len(samples), len(self._experts), n_classes))
        for row, sample in enumerate(samples):
            for e in range(len(self._experts)):
                if asked is None or asked[row, e]:
                    expert_proba[row, e] = self._proba(sample, e, n_classes)
        return expert_proba

    def plan(
        self,
        samples: Sequence[Sample],
        targets: np.ndarray,
        taught: np.ndarray | None,
        n_classes: int,
        asked: np.ndarray | None = None,
        *,
        nominal: Sequence[int] = (),
        changes: Changes,
    ) -> np.ndarray:
        """Plan, for each sample in order, to let all experts predict, then learn each as often as `taught` says.

        Of samples that are not `asked`, bool, shape (n_rows,), the predictions are zeros.
        """
        if taught is not None:
            _check_weights(self._experts, taught)
        expert_proba = np.zeros((len(samples), self.n_experts, n_classes))

        def of_expert(row: int, e: int) -> None:
            if asked is None or asked[row]:
                expert_proba[row, e] = self._proba(samples[row], e, n_classes)
            _teach(self._experts[e], samples[row], int(targets[row]), 1 if taught is None else taught[row, e])

        changes.append(_Deeds(of_expert, len(samples), self.n_experts))
        return expert_proba

    def _proba(self, sample: Sample, e: int, n_classes: int) -> np.ndarray:
        """Return the class probabilities of an expert, shape (n_classes,), zeros if what it says cannot be used."""
        proba = np.zeros(n_classes)
        for target, probability in _vote(self._experts[e], sample).items():
            proba[int(target)] = probability
        total = sum(proba.tolist())  # in order, as everywhere
        return proba / total if math.isfinite(total) and total > 0.0 else np.zeros(n_classes)


class OneVsRestExperts(Unwatched):
    """One river classifier per class, which tells its class from all others; answers as `OneVsRestTrees`.

    Parameters
    ----------
    prototype
        River classifier that is copied, not touched; it learns `True` and `False`.
    rng
        Private source of the experts' seeds.
    """

    reads = "samples"

    def __init__(self, prototype: base.Classifier, rng: np.random.Generator) -> None:
        self.kind = type(prototype).__name__
        self._prototype = prototype
        self._rng = rng
        self._experts: list[base.Classifier] = []

    @property
    def n_experts(self) -> int:  # type: ignore[override]  # counted anew
        """Number of classifiers, one for each class learnt."""
        return len(self._experts)

    def predict_proba(
        self, samples: Sequence[Sample], n_classes: int, asked: np.ndarray | None = None
    ) -> np.ndarray:
        """Return each expert's probability that the sample is of its class; changes nothing."""
        own_proba = np.zeros((len(samples), n_classes))
        for row, sample in enumerate(samples):
            for e, expert in enumerate(self._experts):
                own_proba[row, e] = _own_proba(expert, sample)
        return own_proba

    def plan(
        self,
        samples: Sequence[Sample],
        targets: np.ndarray,
        taught: np.ndarray | None,
        n_classes: int,
        *,
        nominal: Sequence[int] = (),
        changes: Changes,
    ) -> np.ndarray:
        """Plan, for each sample in order, to let all experts predict, then learn with the weights `taught`."""
        rng = copy.deepcopy(self._rng) if n_classes > len(self._experts) else self._rng
        new = [spawn(self._prototype, rng) for _ in range(n_classes - len(self._experts))]
        experts = [*self._experts, *new]
        if taught is not None:
            _check_weights(experts[:1], taught)
        own_proba = np.zeros((len(samples), n_classes))

        def of_expert(row: int, e: int) -> None:
            own_proba[row, e] = _own_proba(experts[e], samples[row])
            weight = 1.0 if taught is None else taught[row, 0]
            _teach(experts[e], samples[row], bool(e == targets[row]), weight)

        changes.append(assignment(self, _experts=experts, _rng=rng))
        changes.append(_Deeds(of_expert, len(samples), n_classes))
        return own_proba


OneVsRest = OneVsRestTrees | OneVsRestExperts


def new_experts(
    prototype: base.Classifier, n_experts: int, rng: np.random.Generator, *, n_threads: int, **of_trees: Any
) -> tuple[Experts, Iterable[Hashable]]:
    """Return untrained copies of a prototype, and the features that it is told are nominal.

    Parameters
    ----------
    prototype
        River classifier that is copied, not touched; a `driftmoe.trees.HoeffdingTreeClassifier` makes a pool of trees.
    n_experts
        Number of copies.
    rng
        Private source of the seeds of other classifiers.
    n_threads, **of_trees
        Arguments of `TreePool` beside those of the prototype.

    Raises
    ------
    ValueError
        If the prototype tells only two classes apart.
    """
    if not prototype._multiclass:
        raise ValueError(
            f"expert={type(prototype).__name__} tells only two classes apart; wrap it in "
            "river.multiclass.OneVsRestClassifier, or choose variant='moe-task'"
        )
    if isinstance(prototype, HoeffdingTreeClassifier):
        pool = prototype.pool(n_experts, n_threads=n_threads, **of_trees)
        return MulticlassTrees(pool), prototype.nominal_attributes or ()
    return MulticlassExperts(prototype, n_experts, rng), ()


class _Deeds:
    """What experts of the user's own do with some samples, as a change: each deed is begun once, whatever it raises.

    Such experts run Python code, so that an interrupt, or what they raise, may leave the one at work with a sample half
    learnt; all others go on. Called again it has nothing left to do.
    """

    def __init__(self, do: Callable[[int, int], None], n_rows: int, n_experts: int) -> None:
        self._do, self._left = do, iter([(row, e) for row in range(n_rows) for e in range(n_experts)])

    def __call__(self) -> None:
        raised = None
        while True:
            try:
                for deed in self._left:
                    self._do(*deed)
                break
            except BaseException as error:  # put off until all have had their turn
                if error.__context__ is None and error is not raised:
                    error.__context__ = raised  # its traceback shows what came before
                raised = error
        if raised is not None:
            raise raised


def _teach(expert: base.Classifier, sample: Sample, target: Any, weight: float) -> None:
    """Let an expert learn a sample with a weight; one that takes none learns it so often, if that is a whole number."""
    if weight == int(weight):
        for _ in range(int(weight)):
            expert.learn_one(sample, target)
    else:
        expert.learn_one(sample, target, w=weight)  # type: ignore[call-arg]  # it was asked whether it takes one


def _check_weights(experts: Sequence[base.Classifier], weights: np.ndarray) -> None:
    """Raise unless experts can learn with these weights."""
    if (weights == np.floor(weights)).all():
        return
    for expert in experts:
        if "w" not in signature(expert.learn_one).parameters:
            raise ValueError(
                f"{type(expert).__name__}.learn_one takes no weight; give whole numbers as w, so that it learns a "
                "sample as often"
            )


def _own_proba(expert: base.Classifier, sample: Sample) -> float:
    """Return an expert's probability that the sample is of its class; 0 if what it says cannot be used."""
    proba = _vote(expert, sample)
    total = sum(proba.values())
    return proba.get(True, 0.0) / total if math.isfinite(total) and total > 0.0 else 0.0


def _widened(expert_proba: np.ndarray, n_classes: int) -> np.ndarray:
    """Add zeros for classes that no expert has seen."""
    missing = n_classes - expert_proba.shape[-1]
    return expert_proba if missing <= 0 else np.pad(expert_proba, ((0, 0), (0, 0), (0, missing)))
