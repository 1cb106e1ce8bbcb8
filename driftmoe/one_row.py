"""The way of one sample: a plan that is made once, and carried out for one row after another.

To plan a step takes longer than to carry it out, and the plan of a row that brings nothing new is always the same: the
same kernels on the same arrays. So the plan of one row is kept, with arrays for its vector and its target. It holds
until the mini-batch of the router ends, or an array must grow. What holds for a row is what the kernels read from
arrays: how many rows were learnt, whose turn it is, who is probed.
"""

from __future__ import annotations

from operator import is_
from typing import Any

import numpy as np

from driftmoe.encoding import Encoder
from driftmoe.learning import plan_prediction, plan_step
from driftmoe.mixture import Mixture
from driftmoe.recent import Recent
from driftmoe.transaction import StepPlan, carry_out


class OneRow:
    """Predicts and learns single rows of a model that bring nothing new.

    Whoever changes the model in another way calls `doubt`.

    Parameters
    ----------
    encoder, mixture, recent
        Parts of the model. No expert may read samples as dictionaries.
    """

    def __init__(self, encoder: Encoder, mixture: Mixture, recent: Recent) -> None:
        self._encoder, self._mixture, self._recent = encoder, mixture, recent
        self._learning: _Kept | None = None
        self._ending: _Kept | None = None  # a plan of learning at the end of the router's mini-batch
        self._predicting: _Kept | None = None
        self._until = 0  # number of samples up to which the plans of learning hold
        self._is_in_use = False

    def doubt(self) -> None:
        """Check before the next row that the arrays of the plans are still those of the model."""
        self._until = 0
        if self._predicting is not None:
            self._predicting.is_certain = False

    def predict(self, vector: np.ndarray) -> np.ndarray:
        """Return the class probabilities of a row, shape (n_classes,). Changes nothing.

        The array is written again by the next call.
        """
        kept = self._predicting
        if self._is_in_use:  # by the code that a signal handler has interrupted
            return plan_prediction(self._encoder, self._mixture, vector[np.newaxis], (), StepPlan())[0]
        try:
            self._is_in_use = True
            if kept is not None and (kept.is_certain or kept.holds(_held_by(self._parts()))):
                kept.vectors[0] = vector
                for function in kept.plan.computed:
                    function()
                return kept.proba[0]
            plan, vectors = StepPlan(), vector[np.newaxis].copy()
            proba = plan_prediction(self._encoder, self._mixture, vectors, (), plan)
            self._predicting = (
                _Kept(plan, vectors, proba, _held_by(self._parts())) if plan.is_repeatable else None
            )
            return proba[0]
        finally:
            self._is_in_use = False

    def learn(self, vector: np.ndarray, target: int, weights: np.ndarray | None = None) -> None:
        """Learn a row, with the weight 1 if none is given, shape (1,)."""
        if weights is not None:
            self._learn_anew(vector, target, weights)
            return
        log = self._mixture.log
        if log.n_samples >= self._until:
            self._renew()
        kept = self._ending if self._mixture.router.room == 1 else self._learning
        if kept is None or log.n_samples >= self._until:
            self._learn_anew(vector, target, np.ones(1), is_kept=True)
            return
        kept.vectors[0] = vector
        kept.targets[0] = target
        for function in kept.plan.computed:
            function()
        carry_out(kept.plan)

    def _renew(self) -> None:
        """Find out for how many rows the plans hold: those of a mini-batch of the router, or none."""
        room, parts = self._mixture.router.room, _held_by(self._parts())
        if self._learning is not None and not self._learning.holds(parts):
            self._learning = None
        if self._ending is not None and not self._ending.holds(parts):
            self._ending = None
        self._until = 0
        if (self._learning is not None or self._ending is not None) and self._mixture.has_room(room):
            self._until = self._mixture.log.n_samples + room

    def _learn_anew(
        self, vector: np.ndarray, target: int, weights: np.ndarray, *, is_kept: bool = False
    ) -> None:
        """Learn a row by a new plan. Keep the plan, if it can be carried out again."""
        mixture = self._mixture
        self.doubt()
        n_before, n_known, room = mixture.log.n_samples, mixture.log.n_classes, mixture.router.room
        n_ahead = mixture.n_rows_with_room(room, np.ones(room)) if is_kept else 0
        plan = StepPlan(n_ahead)
        vectors, targets = vector[np.newaxis].copy(), np.array([target])
        proba = plan_step(self._encoder, mixture, self._recent, vectors, (), targets, weights, plan)
        carry_out(plan)
        if not (is_kept and plan.is_repeatable and n_known == len(self._encoder.classes)):
            return
        kept = _Kept(plan, vectors, proba, _held_by(self._parts()), targets)
        if room == 1:
            self._ending = kept
        else:
            self._learning = kept
            self._until = n_before + min(n_ahead, room - 1)

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
        targets: np.ndarray | None = None,
    ) -> None:
        self.plan, self.vectors, self.proba = plan, vectors, proba
        self.targets = np.empty(1, np.int64) if targets is None else targets
        self.is_certain = True
        self._held = held

    def holds(self, held: list[Any]) -> bool:
        """Return whether the parts of the model hold the same objects as when the plan was made."""
        self.is_certain = len(held) == len(self._held) and all(map(is_, held, self._held))
        return self.is_certain


def _held_by(parts: list[Any]) -> list[Any]:
    return [value for part in parts for value in vars(part).values()]
