"""Plans that are made once, and carried out for one step after another.

To plan a step takes longer than to carry it out for one row, and a third as long for the rows between two steps of the
router. Rows that bring nothing new always have the same plan: the same kernels on the same arrays. So the plan is kept,
with arrays for the vectors and the targets. It holds until an array must grow or is replaced. There is another plan for
each number of rows, and for rows that end a mini-batch of the router. What differs from one step to the next is what
the kernels read from arrays: how many rows were learnt, whose turn it is, who is probed, who sleeps.

A plan is kept as long as steps of its kind come again and there is room for it: rows whose weights are 0 in ever new
patterns would fill the memory with plans that nobody needs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from operator import is_
from typing import Any

import numpy as np

from driftmoe.compilation import direct
from driftmoe.encoding import Encoder, Sample
from driftmoe.experts.batch import NONE_AWAITED
from driftmoe.learning import plan_prediction, plan_step
from driftmoe.mixture import Mixture
from driftmoe.recent import Recent
from driftmoe.transaction import Changes, StepPlan, assignment, carry_out

_NOTHING, _AWAITED = np.empty(0), np.ones(1, np.bool_)
_ONE_ROW = np.ones(1, np.bool_).tobytes(), NONE_AWAITED.tobytes()  # is learnt

AHEAD = 128
"""Number of rows for which a plan makes room, if that takes little memory: to plan takes as long as to learn ten rows.
"""

FEW = 32
"""Number of rows below which a plan that holds for them is not worth asking how much room is left after each."""

MOST = 32
"""Number of plans of learning that are kept at once. Blocks that end within mini-batches make many kinds of steps."""

MOST_BYTES = 4_000_000
"""Most bytes of the plans of learning that are kept at once. A bounded model has a smaller share; see `SHARE`."""

SHARE = 8
"""Plans of learning take at most one in so many bytes of a model's bound."""

COPIES, COPIES_OF_SOME = 2, 3
"""How often a plan holds the features and votes of its rows, at most: inputs, votes by group and of all, weights, and
again those of the rows that are learnt if only some are."""

REMEMBERED = 32
"""Number of kinds of steps that are remembered, to keep their plans if they come again."""

MOST_NEW = 16
"""Number of new kinds of steps, less steps by kept plans, from which on a plan is only kept if its kind came before."""

Key = tuple[bool, bytes, bytes]
"""Which steps of learning have the same plan: those that end a mini-batch of the router or not, in which the same rows
are learnt, and the same rows await their labels."""

NEVER = -1

_UNKNOWN = NEVER, b"", False
"""Of a step with weights above 1: number of samples before it, its weights, and whether there was room for it."""


class KeptPlans:
    """Predicts and learns rows of a model that bring nothing new: single ones, or those of a step.

    Whoever changes the model in another way makes `doubted` the first and the last of the changes, and calls `settle`
    afterwards.

    Parameters
    ----------
    encoder, mixture, recent
        Parts of the model. If an expert reads samples as dictionaries, each step of learning has a new plan, and
        single rows are neither predicted nor learnt here.
    max_bytes
        Bound on the memory of the model, of which the plans are not a part; `None` for none.

    Attributes
    ----------
    doubted
        A change, after which the plans are used only if the parts of the model still hold what they held. Code of a
        signal handler may predict before any change, or within one that runs Python, but not between two others.
    """

    def __init__(
        self, encoder: Encoder, mixture: Mixture, recent: Recent, *, max_bytes: int | None = None
    ) -> None:
        self._encoder, self._mixture, self._recent = encoder, mixture, recent
        self._most_bytes = MOST_BYTES if max_bytes is None else min(MOST_BYTES, max_bytes // SHARE)
        self._learning: dict[Key, _Kept] = {}  # the last used comes last
        self._seen: dict[int, None] = {}  # hashes of the keys that came before; the newest comes last
        self._n_new = 0  # number of keys that had not come before, less steps by kept plans
        self._predicting: _Kept | None = None
        self._arriving: _Kept | None = None
        self._until = 0  # number of samples up to which the plans of learning hold
        self._short_at = NEVER  # number of samples at which there was too little room
        self._heavy = _UNKNOWN
        self._scarce_until = 0  # number of samples before which no plan makes room for more rows than its own
        self._is_certain = False  # whether the plan of predicting holds
        self._is_in_use = False  # whether its arrays are
        self._is_doubted = False  # whether any plan may not hold
        unknown = {"_until": 0, "_short_at": NEVER, "_heavy": _UNKNOWN}
        self.doubted = assignment(self, _is_certain=False, _is_doubted=True, **unknown)

    def settle(self) -> None:
        """Drop the plans that do not hold any more, and with them the arrays that the model has replaced."""
        if not self._is_doubted:
            return
        held = self._held()
        for name in ("_predicting", "_arriving"):
            kept = getattr(self, name)
            if kept is not None and not kept.holds(held):
                setattr(self, name, None)
        if not all(kept.holds(held) for kept in self._first()):
            self._learning = {}
        self._is_doubted = False

    def _first(self) -> list[_Kept]:
        """Return a plan of learning, if there is one: either all of them hold, or none does."""
        return list(islice(self._learning.values(), 1))

    def predict(self, vector: np.ndarray) -> np.ndarray:
        """Return the class probabilities of a row, shape (n_classes,). Changes nothing."""
        log = self._mixture.log
        while True:  # once, unless a signal handler learns in the meantime
            n_samples = log.n_samples
            proba = self._proba(vector)
            if log.n_samples == n_samples:
                return proba

    def _proba(self, vector: np.ndarray) -> np.ndarray:
        if self._is_in_use:  # by the code that a signal handler has interrupted
            return plan_prediction(*self._own(), vector[np.newaxis], (), StepPlan())[0]
        try:
            self._is_in_use = True
            kept = self._predicting
            if kept is not None and (self._is_certain or kept.holds(self._held())):
                self._is_certain = True
                kept.vectors[0] = vector
                for function in kept.plan.computed:
                    function()
                return kept.proba[0].copy()
            plan, vectors = StepPlan(), vector[np.newaxis].copy()
            proba = plan_prediction(*self._own(), vectors, (), plan)
            self._predicting = _Kept(plan, vectors, proba, self._held()) if plan.is_repeatable else None
            return proba[0].copy()
        finally:
            self._is_in_use = False

    def arrive(self, vector: np.ndarray, samples: Sequence[Sample]) -> np.ndarray:
        """Return the class probabilities of a row whose label will come, and keep what is needed for that."""
        mixture, kept = self._mixture, self._arriving
        if (
            kept is not None
            and mixture.arrivals.has_room(1, len(self._encoder.classes))
            and kept.holds(self._held())
        ):
            kept.vectors[0] = vector
            for function in kept.plan.computed:
                function()
            carry_out(kept.plan)
            return kept.proba[0].copy()
        plan, vectors = StepPlan(), vector[np.newaxis].copy()
        proba = plan_prediction(self._encoder, mixture, self._recent, vectors, samples, plan, awaits=_AWAITED)
        carry_out(plan.between(self.doubted))
        self.settle()
        self._arriving = _Kept(plan, vectors, proba, self._held()) if plan.is_repeatable else None
        return proba[0].copy()

    def learn(self, vector: np.ndarray, target: int, weight: float) -> None:
        """Learn a row with a weight above 0."""
        log, key = self._mixture.log, self._key(1, *_ONE_ROW)
        if (
            key not in self._learning
            or log.n_samples >= self._until
            or weight > 1.0
            or self._recent.class_weights is not None
        ):
            self.step(vector[np.newaxis], np.array([target]), np.array([weight]))
            return
        kept = self._use(key)
        kept.vectors[0], kept.targets[0], kept.weights[0] = vector, target, weight
        for function in kept.plan.computed:
            function()
        carry_out(kept.plan)

    def step(
        self,
        vectors: np.ndarray,
        targets: np.ndarray,
        weights: np.ndarray,
        samples: Sequence[Sample] = (),
        *,
        awaits: np.ndarray = NONE_AWAITED,
        further: Callable[[np.ndarray], Changes] = lambda proba: [],
    ) -> None:
        """Learn rows in one step.

        Parameters
        ----------
        vectors, targets, weights, samples, awaits
            As in `driftmoe.experts.batch.Batch`. At least one weight is above 0, and at most as many as the router has
            `room`.
        further
            Returns changes that belong to the step and come last. It gets the class probabilities of the rows before
            they are learnt, shape (n_rows, n_classes), which earlier changes write, and which the next step may write
            over.
        """
        as_learnt = self._as_learnt(targets, weights)
        is_learnt = as_learnt > 0.0  # the weight of its class may leave nothing of a row's
        now = as_learnt[is_learnt]
        key = self._key(len(now), is_learnt.tobytes(), awaits.tobytes())
        if (
            not len(now)
            or not self.has_room(now)
            or key not in self._learning
            or not self._has_places(awaits)
        ):
            self._step_anew(key, now, (vectors, targets, weights), samples, awaits, further)
            return
        kept = self._use(key)
        kept.vectors[:], kept.targets[:], kept.weights[:] = vectors, targets, weights
        for function in kept.plan.computed:
            function()
        carry_out(kept.plan.followed_by(further(kept.proba)))

    def _use(self, key: Key) -> _Kept:
        """Return a plan of learning, which is now the one that was used last."""
        self._learning[key] = kept = self._learning.pop(key)
        self._n_new = max(self._n_new - 1, 0)
        return kept

    def has_room(self, weights: np.ndarray) -> bool:
        """Return whether the next rows can be learnt with the room for which plans were made.

        `weights` are those with which the rows are learnt, those of their classes included; all are above 0.
        """
        n_samples = self._mixture.log.n_samples
        if weights.max() > 1.0:
            return self._has_room_for(n_samples, weights)
        if len(weights) > self._until - n_samples and self._short_at != n_samples:
            self._renew(len(weights))
        return len(weights) <= self._until - n_samples

    def _has_room_for(self, n_samples: int, weights: np.ndarray) -> bool:
        """As `has_room`, of rows of which some are heavier than 1: for others there may still be too little room."""
        told = n_samples, weights.tobytes()
        self._until = 0  # these rows will take more room
        if told != self._heavy[:2]:
            self.settle()
            has_room = bool(self._learning) and self._mixture.n_rows_before_growth(weights) == len(weights)
            self._heavy = (*told, has_room)
        return self._heavy[2]

    def _has_places(self, awaits: np.ndarray) -> bool:
        """Return whether the rows that await labels can be kept without more places for them."""
        n_rows, arrivals = int(np.count_nonzero(awaits)), self._mixture.arrivals
        return not n_rows or not arrivals.most or arrivals.has_room(n_rows, len(self._encoder.classes))

    def _key(self, n_learnt: int, is_learnt: bytes, awaits: bytes) -> Key:
        """Return which plan a step has, of whose rows so many and these are learnt, and these await their labels."""
        return n_learnt == self._mixture.router.room, is_learnt, awaits

    def _as_learnt(self, targets: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Return the weights with which rows are learnt, those of their classes included."""
        weighed = self._recent.class_weights
        if weighed is None:
            return weights
        return weighed.learnt_with(targets, weights, self._encoder.classes)

    def _renew(self, n_rows: int) -> None:
        """Find out for how many rows the plans hold, of which each has a weight of 1 or less."""
        self.settle()
        n_samples = self._mixture.log.n_samples
        self._until, self._short_at = 0, n_samples
        if self._learning:
            n_with_room = self._mixture.n_rows_before_growth(np.ones(max(AHEAD, 2 * n_rows)))
            if n_with_room >= max(n_rows, FEW):
                self._until, self._short_at = n_samples + n_with_room, NEVER

    def _step_anew(
        self,
        key: Key,
        now: np.ndarray,
        given: tuple[np.ndarray, np.ndarray, np.ndarray],
        samples: Sequence[Sample],
        awaits: np.ndarray,
        further: Callable[[np.ndarray], Changes],
    ) -> None:
        """Learn rows by a new plan. Keep the plan, if it can be carried out again and such steps may come again."""
        mixture, n_rows = self._mixture, len(now)
        n_before, n_known = mixture.log.n_samples, mixture.log.n_classes
        is_heavy = n_rows > 0 and now.max() > 1.0
        comes_again = self._comes_again(key)
        n_ahead = self._n_ahead(n_rows) if comes_again and n_rows and not is_heavy else 0
        plan, until = StepPlan(n_ahead), self._until
        vectors, targets, weights = (array.copy() for array in given)
        proba = plan_step(
            self._encoder, mixture, self._recent, vectors, samples, targets, weights, plan, awaits=awaits
        )
        carry_out(plan.followed_by(further(proba)).between(self.doubted))
        self.settle()
        others = self._first()
        if others:  # still hold, so that nothing has grown
            self._until = until
        if not plan.is_repeatable:
            self._scarce_until = n_before + 8 * n_rows
        is_worth_it = comes_again and (n_ahead or is_heavy)
        if is_worth_it and plan.is_repeatable and n_known == len(self._encoder.classes):
            held = others[0].held if others else self._held()
            self._keep(key, _Kept(plan, vectors, proba, held, targets, weights))
            self._until = max(self._until, n_before + max(n_rows, n_ahead))

    def _comes_again(self, key: Key) -> bool:
        """Return whether such a step may come again: it has come lately, or most steps do. Remember it."""
        kind = hash(key)
        is_new = kind not in self._seen
        self._n_new += is_new
        self._seen.pop(kind, None)
        self._seen[kind] = None
        if len(self._seen) > REMEMBERED:
            del self._seen[next(iter(self._seen))]
        return not is_new or self._n_new < MOST_NEW

    def _keep(self, key: Key, kept: _Kept) -> None:
        """Keep a plan of learning, and give up those that were used longest ago if there is no room for all."""
        n_votes = sum(group.n_experts for group in self._mixture.groups)
        of_rows = 2 * kept.vectors.nbytes + (2 * n_votes + 4) * kept.proba.nbytes
        kept.n_bytes = kept.plan.n_bytes + (COPIES if kept.weights.all() else COPIES_OF_SOME) * of_rows
        if kept.n_bytes > self._most_bytes:
            return
        self._learning.pop(key, None)
        self._learning[key] = kept
        n_bytes = sum(other.n_bytes for other in self._learning.values())
        for oldest in list(self._learning):
            if len(self._learning) <= MOST and n_bytes <= self._most_bytes:
                break
            n_bytes -= self._learning.pop(oldest).n_bytes

    def _n_ahead(self, n_rows: int) -> int:
        """Return for how many rows from now on a plan shall make room; 0 for those of its own step alone."""
        n_before = self._mixture.log.n_samples
        if n_before < self._scarce_until:
            return 0
        most = max(AHEAD, 2 * n_rows)
        n_ahead = self._mixture.n_rows_with_room(most, np.ones(most))
        if n_ahead >= 2 * n_rows:
            return n_ahead
        self._scarce_until = n_before + 8 * n_rows
        return 0

    def _held(self) -> list[Any]:
        """Return all that the parts of the model hold: arrays, and numbers with which a plan is made."""
        return [value for part in self._parts() for value in vars(part).values()]

    def _own(self) -> tuple[Encoder, Mixture, Recent]:
        return self._encoder, self._mixture, self._recent

    def _parts(self) -> list[Any]:
        """Return all objects that hold arrays of the model, or the numbers with which a plan is made."""
        mixture = self._mixture
        parts = [self._encoder, mixture, self._recent, mixture.router, mixture.log, mixture.log.watch]
        for group in mixture.groups:
            parts += [group] if group.pool is None else [group, group.pool]
        return parts


class _Kept:
    """A plan, with its arrays for its rows, and with all that the parts of the model held when it was made.

    Attributes
    ----------
    held
        What the parts of the model held.
    n_bytes
        About how many bytes its arrays have.
    """

    n_bytes = 0

    def __init__(
        self,
        plan: StepPlan,
        vectors: np.ndarray,
        proba: np.ndarray,
        held: list[Any],
        targets: np.ndarray = _NOTHING,
        weights: np.ndarray = _NOTHING,
    ) -> None:
        self.plan, self.vectors, self.proba, self.targets, self.weights = (
            plan,
            vectors,
            proba,
            targets,
            weights,
        )
        self.held = held
        plan.computed[:] = map(direct, plan.computed)
        plan[:] = map(direct, plan)

    def holds(self, held: list[Any]) -> bool:
        """Return whether the parts of the model hold the same objects as when the plan was made."""
        return len(held) == len(self.held) and all(map(is_, held, self.held))
