"""Experts that are river classifiers, copied from one that the user passes."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from inspect import signature
from typing import TYPE_CHECKING, Any

import numpy as np
from river import base

from driftmoe.encoding import Sample
from driftmoe.experts.protocol import Unmonitored
from driftmoe.state import State, check_names, generator_of, value_of
from driftmoe.transaction import Changes, assignment, chained

if TYPE_CHECKING:
    from driftmoe.experts.batch import Batch, Rows


def spawn(prototype: base.Classifier, rng: np.random.Generator) -> base.Classifier:
    """Return an untrained copy of a prototype, with a new seed for the copy and each of its parts that take one."""
    return prototype.clone(_seeds(prototype._get_params(), rng))


def _seeds(parameters: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """Return new values for each `seed` in river's nested parameters.

    River gives a nested model as (class, parameters), and a step of a pipeline as its parameters.
    """
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
    """Return class probabilities. If the classifier has none, put probability 1 on its prediction."""
    try:
        return expert.predict_proba_one(sample)
    except NotImplementedError:
        answer = expert.predict_one(sample)
        return {} if answer is None else {answer: 1.0}


class RiverPrototype:
    """Copies of a river classifier; see `Prototype`.

    Parameters
    ----------
    classifier
        Is copied, and not changed.
    """

    nominal = ()

    def __init__(self, classifier: base.Classifier) -> None:
        self.kind = type(classifier).__name__
        self._classifier = classifier

    @property
    def arguments(self) -> frozenset[str]:
        """Arguments that have an effect; see `Prototype.arguments`."""
        return frozenset({"class_weight"} if takes_weights(self._classifier) else ())

    def multiclass(
        self, n_experts: int, rng: np.random.Generator, *, n_threads: int, detectors: Mapping[str, float]
    ) -> MulticlassExperts:
        """Return untrained copies; see `Prototype.multiclass`."""
        if not self._classifier._multiclass:
            raise ValueError(
                f"expert={self.kind} distinguishes only two classes; wrap it in river.multiclass.OneVsRestClassifier, "
                "or choose variant='moe-task'"
            )
        return MulticlassExperts(self._classifier, n_experts, rng)

    def one_vs_rest(self, rng: np.random.Generator, *, n_threads: int) -> OneVsRestExperts:
        """Return a group that is still empty; see `Prototype.one_vs_rest`."""
        return OneVsRestExperts(self._classifier, rng)


class MulticlassExperts(Unmonitored):
    """A fixed number of multiclass river classifiers.

    Parameters
    ----------
    prototype
        River classifier that is copied; it is not changed.
    n_experts
        Number of copies.
    rng
        Private generator of the experts' seeds.
    """

    reads = "samples"
    is_costly = True
    may_rest = False

    def __init__(self, prototype: base.Classifier, n_experts: int, rng: np.random.Generator) -> None:
        self.kind = type(prototype).__name__
        self._experts = [spawn(prototype, rng) for _ in range(n_experts)]

    @property
    def n_experts(self) -> int:  # type: ignore[override]  # counted anew
        """Number of classifiers."""
        return len(self._experts)

    def predict_proba(self, batch: Batch, asked: np.ndarray | None = None) -> np.ndarray:
        """Return the class probabilities of each expert, zeros for experts that are not asked."""
        expert_proba = np.zeros((len(batch.samples), len(self._experts), batch.n_classes))
        for row, sample in enumerate(batch.samples):
            for e in range(len(self._experts)):
                if asked is None or asked[row, e]:
                    expert_proba[row, e] = self._proba(sample, e, batch.n_classes)
        return expert_proba

    def plan(self, batch: Batch, taught: Rows = None, asked: Rows = None, *, changes: Changes) -> np.ndarray:
        """Plan, for each sample in order, that all experts predict if asked, then learn it; see `Experts.plan`."""
        samples, targets, n_classes = batch.samples, batch.targets, batch.n_classes
        weights = np.repeat(batch.weights[:, np.newaxis], self.n_experts, 1) if taught is None else taught
        _check_weights(self._experts, weights)
        expert_proba = np.zeros((len(samples), self.n_experts, n_classes))

        def predict_and_learn(row: int, e: int) -> None:
            if asked is None or asked[row]:
                expert_proba[row, e] = self._proba(samples[row], e, n_classes)
            _teach(self._experts[e], samples[row], int(targets[row]), weights[row, e])

        changes.append(_Calls(predict_and_learn, len(samples), self.n_experts))
        return expert_proba

    def sizes(self) -> dict[str, int]:
        """Return nothing: these experts read dictionaries. See `Group.sizes`."""
        return {}

    def state(self) -> State:
        """Return copies of the classifiers; see `driftmoe.state`. They are Python objects, not arrays."""
        return {"classifiers": copy.deepcopy(self._experts)}

    def restore(self, state: State) -> None:
        """Restore the state of experts that were built with the same arguments; see `driftmoe.state`."""
        check_names(state, ("classifiers",), self)
        classifiers = value_of(state, "classifiers", list, self)
        if len(classifiers) != self.n_experts:
            raise ValueError(
                f"the state has {len(classifiers)} classifiers and there are {self.n_experts} experts; build them with "
                "the arguments that they had"
            )
        self._experts = copy.deepcopy(classifiers)

    def _proba(self, sample: Sample, e: int, n_classes: int) -> np.ndarray:
        """Return the class probabilities of an expert, shape (n_classes,), or zeros if they are not valid."""
        proba = np.zeros(n_classes)
        for target, probability in _vote(self._experts[e], sample).items():
            proba[int(target)] = probability
        total = sum(proba.tolist())  # in order, for the same result on every machine
        return proba / total if math.isfinite(total) and total > 0.0 else np.zeros(n_classes)


class OneVsRestExperts(Unmonitored):
    """One river classifier per class, which separates its class from all others; see `OneVsRest`.

    Parameters
    ----------
    prototype
        River classifier that is copied; it is not changed. The copies learn the labels `True` and `False`.
    rng
        Private generator of the experts' seeds.
    """

    reads = "samples"

    def __init__(self, prototype: base.Classifier, rng: np.random.Generator) -> None:
        self.kind = type(prototype).__name__
        self._prototype = prototype
        self._rng = rng
        self._experts: list[base.Classifier] = []

    @property
    def n_experts(self) -> int:  # type: ignore[override]  # counted anew
        """Number of classifiers, one per class learnt."""
        return len(self._experts)

    def predict_proba(self, batch: Batch) -> np.ndarray:
        """Return each expert's probability that the sample belongs to its class, shape (n_rows, n_classes)."""
        own_proba = np.zeros((len(batch.samples), batch.n_classes))
        for row, sample in enumerate(batch.samples):
            for e, expert in enumerate(self._experts):
                own_proba[row, e] = _own_proba(expert, sample)
        return own_proba

    def plan(self, batch: Batch, *, changes: Changes) -> np.ndarray:
        """Plan, for each sample in order, that all experts predict and then learn it with its weight."""
        samples, targets, n_classes = batch.samples, batch.targets, batch.n_classes
        rng = copy.deepcopy(self._rng) if n_classes > len(self._experts) else self._rng
        new = [spawn(self._prototype, rng) for _ in range(n_classes - len(self._experts))]
        experts = [*self._experts, *new]
        _check_weights(experts[:1], batch.weights)
        own_proba = np.zeros((len(samples), n_classes))

        def predict_and_learn(row: int, e: int) -> None:
            own_proba[row, e] = _own_proba(experts[e], samples[row])
            _teach(experts[e], samples[row], bool(e == targets[row]), batch.weights[row])

        changes.append(assignment(self, _experts=experts, _rng=rng))
        changes.append(_Calls(predict_and_learn, len(samples), n_classes))
        return own_proba

    def sizes(self) -> dict[str, int]:
        """Return how many classes are known; see `Group.sizes`."""
        return {"n_classes": self.n_experts}

    def state(self) -> State:
        """Return copies of the classifiers; see `driftmoe.state`. They are Python objects, not arrays."""
        return {"classifiers": copy.deepcopy(self._experts), "rng": self._rng.bit_generator.state}

    def restore(self, state: State) -> None:
        """Restore the state of experts that were built with the same arguments; see `driftmoe.state`."""
        check_names(state, ("classifiers", "rng"), self)
        classifiers, rng = value_of(state, "classifiers", list, self), generator_of(state, "rng", self)
        self._experts, self._rng = copy.deepcopy(classifiers), rng


class _Calls:
    """A change that lets users' own classifiers predict and learn. Each call is made once, even if one raises.

    Such classifiers run Python code. An interrupt or an error may leave one of them with a half-learnt sample. All
    other calls are still made, and the error is raised after the last one. A second call of the change does nothing.

    Parameters
    ----------
    call
        Takes a row and the index of an expert.
    n_rows, n_experts
        It is called for each expert on each row, in order.
    """

    def __init__(self, call: Callable[[int, int], None], n_rows: int, n_experts: int) -> None:
        self._call, self._left = call, iter([(row, e) for row in range(n_rows) for e in range(n_experts)])

    def __call__(self) -> None:
        raised: list[BaseException] = []
        while True:
            try:
                for row, e in self._left:
                    self._call(row, e)
                break
            except BaseException as error:  # raised after all calls are made
                raised.append(error)
        if raised:
            raise chained(raised)


def _teach(expert: base.Classifier, sample: Sample, target: Any, weight: float) -> None:
    """Let an expert learn a sample with a weight. If it is a whole number, the sample is learnt that many times."""
    if weight == int(weight):
        for _ in range(int(weight)):
            expert.learn_one(sample, target)
    else:
        expert.learn_one(sample, target, w=weight)  # type: ignore[call-arg]  # as `_check_weights` ensures


def takes_weights(expert: base.Classifier) -> bool:
    """Return whether a river classifier can learn a sample with a weight that is no whole number."""
    return "w" in signature(expert.learn_one).parameters


def _check_weights(experts: Sequence[base.Classifier], weights: np.ndarray) -> None:
    """Raise ValueError unless all experts can learn with these weights."""
    if (weights == np.floor(weights)).all():
        return
    for expert in experts:
        if not takes_weights(expert):
            raise ValueError(
                f"{type(expert).__name__}.learn_one takes no weight; give whole numbers as w: the number of times "
                "that it learns a sample"
            )


def _own_proba(expert: base.Classifier, sample: Sample) -> float:
    """Return an expert's probability that the sample belongs to its class, or 0 if its vote is not valid."""
    proba = _vote(expert, sample)
    total = sum(proba.values())
    return proba.get(True, 0.0) / total if math.isfinite(total) and total > 0.0 else 0.0
