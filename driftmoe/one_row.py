"""The way of one sample: a plan that is made once, and carried out for one row after another.

To plan a step takes longer than to carry it out, and the plan of a row that brings nothing new is always the same: the
same kernels on the same arrays. So the plan of one row is kept, with arrays for its vector and its target. It holds
until an array must grow or is replaced. There is another plan for the row that ends a mini-batch of the router. What
holds for a row is what the kernels read from arrays: how many rows were learnt, whose turn it is, who is probed, who
sleeps.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import is_
from typing import Any

import numpy as np

from driftmoe.compilation import direct
from driftmoe.encoding import Encoder, Sample
from driftmoe.learning import plan_prediction, plan_step
from driftmoe.mixture import Mixture
from driftmoe.recent import Recent
from driftmoe.transaction import StepPlan, assignment, carry_out

_NOTHING, _AWAITED = np.empty(0), np.ones(1, np.bool_)

AHEAD = 128
"""Number of rows for which a plan makes room, if that takes little memory: to plan takes as long as to learn ten rows.
"""

FEW = 32
"""Number of rows below which a plan that holds for them is not worth asking how much room is left after each."""


class OneRow:
    """Predicts and learns single rows of a model that bring nothing new.

    Whoever changes the model in another way makes `doubted` the first and the last of the changes, and calls `settle`
    afterwards.

    Parameters
    ----------
    encoder, mixture, recent
        Parts of the model. No expert may read samples as dictionaries.

    Attributes
    ----------
    doubted
        A change, after which the plans are used only if the parts of the model still hold what they held. Code of a
        signal handler may predict before any change, or within one that runs Python, but not between two others.
    """

    def __init__(self, encoder: Encoder, mixture: Mixture, recent: Recent) -> None:
        self._encoder, self._mixture, self._recent = encoder, mixture, recent
        self._learning: _Kept | None = None
        self._ending: _Kept | None = None  # a plan of learning at the end of the router's mini-batch
        self._predicting: _Kept | None = None
        self._arriving: _Kept | None = None
        self._until = 0  # number of samples up to which the plans of learning hold
        self._is_certain = False  # whether the plan of predicting holds
        self._is_in_use = False  # whether its arrays are
        self.doubted = assignment(self, _until=0, _is_certain=False)

    def settle(self) -> None:
        """Drop the plans that do not hold any more, and with them the arrays that the model has replaced."""
        held = self._held()
        for name in ("_learning", "_ending", "_predicting", "_arriving"):
            kept = getattr(self, name)
            if kept is not None and not kept.holds(held):
                setattr(self, name, None)

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
        log = self._mixture.log
        weighed = self._recent.class_weights
        if weighed is not None:
            now = weighed.learnt_with(np.array([target]), np.array([weight]), self._encoder.classes)
        if weight > 1.0 or (weighed is not None and now[0] > 1.0):  # for which there may be too little room
            self._learn_anew(vector, target, weight)
            return
        if log.n_samples >= self._until:
            self._renew()
        kept = self._ending if self._mixture.router.room == 1 else self._learning
        if kept is None or log.n_samples >= self._until:
            self._learn_anew(vector, target, weight, is_kept=True)
            return
        kept.vectors[0], kept.targets[0], kept.weights[0] = vector, target, weight
        for function in kept.plan.computed:
            function()
        carry_out(kept.plan)

    def _renew(self) -> None:
        """Find out for how many rows the plans hold."""
        self.settle()
        if self._learning is not None or self._ending is not None:
            n_rows = self._mixture.n_rows_before_growth(AHEAD)
            self._until = self._mixture.log.n_samples + (n_rows if n_rows >= FEW else 0)

    def _learn_anew(self, vector: np.ndarray, target: int, weight: float, *, is_kept: bool = False) -> None:
        """Learn a row by a new plan. Keep the plan, if it can be carried out again."""
        mixture = self._mixture
        n_before, n_known, room = mixture.log.n_samples, mixture.log.n_classes, mixture.router.room
        n_ahead = mixture.n_rows_with_room(AHEAD, np.ones(AHEAD)) if is_kept else 0
        plan = StepPlan(n_ahead)
        vectors, targets, weights = vector[np.newaxis].copy(), np.array([target]), np.array([weight])
        proba = plan_step(self._encoder, mixture, self._recent, vectors, (), targets, weights, plan)
        carry_out(plan.between(self.doubted))
        self.settle()
        if not (is_kept and plan.is_repeatable and n_known == len(self._encoder.classes)):
            return
        kept = _Kept(plan, vectors, proba, self._held(), targets, weights)
        if room == 1:
            self._ending = kept
        else:
            self._learning = kept
        self._until = n_before + n_ahead

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
    """A plan, with its arrays for a row, and with all that the parts of the model held when it was made."""

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
        self._held = held
        plan.computed[:] = map(direct, plan.computed)
        plan[:] = map(direct, plan)

    def holds(self, held: list[Any]) -> bool:
        """Return whether the parts of the model hold the same objects as when the plan was made."""
        return len(held) == len(self._held) and all(map(is_, held, self._held))
