"""Rows of dictionaries in one call: as fast as blocks, for callers who have no frame."""

from __future__ import annotations

import reprlib
from collections.abc import Hashable, Iterable, Mapping, Sequence, Sized
from itertools import compress
from typing import TYPE_CHECKING, Any

import numpy as np

from driftmoe.encoding import Sample, check_label
from driftmoe.encoding.frames import checked_weights, cleaned_rows
from driftmoe.encoding.raw_rows import RawRows
from driftmoe.transaction import learning

if TYPE_CHECKING:
    from threading import RLock

    from driftmoe.encoding import Encoder
    from driftmoe.mixture import Mixture


class InRows:
    """Methods of a mixture that take a list of samples."""

    _encoder: Encoder
    _mixture: Mixture
    _lock: RLock

    def predict_proba_rows(self, X: Sequence[Mapping[Any, Any]]) -> list[dict[Any, float]]:
        """Return what `predict_proba_one` returns for each sample. Does not change the model.

        Parameters
        ----------
        X
            Samples, as described in the class docstring.

        Returns
        -------
        proba
            {label: probability} for each sample; empty before the first `learn_one`.

        Raises
        ------
        TypeError, ValueError
            If a sample cannot be read. The message has its number.

        Examples
        --------
        >>> from driftmoe import DriftMoEClassifier
        >>> model = DriftMoEClassifier(seed=1)
        >>> model.learn_one({"x": 1.0}, "yes")
        >>> model.predict_proba_rows([{"x": 1.0}, {"x": 2.0}])
        [{'yes': 1.0}, {'yes': 1.0}]
        """
        _check_sized("X", X)
        with self._lock:
            encoder, vectors, samples = self._encoder, [], []
            for i, x in enumerate(X):
                vector = None if self._mixture.reads_samples else encoder.known_vector(x)
                if vector is None:
                    sample = _cleaned(encoder, x, i, len(X))
                    vector = encoder.vector(sample)
                    if self._mixture.reads_samples:
                        samples.append(encoder.order(sample))
                vectors.append(vector)
            if not encoder.classes or not vectors:
                return [{} for _ in vectors]
            proba = self._predict(np.array(vectors), samples)
            return [dict(zip(encoder.classes, row, strict=True)) for row in proba.tolist()]

    @learning
    def step_rows(
        self,
        X: Sequence[Mapping[Any, Any]],
        y: Sequence[Hashable],
        w: Sequence[float] | np.ndarray | None = None,
    ) -> list[dict[Any, float]]:
        """Predict and learn each sample in turn, like `predict_proba_one` followed by `learn_one`.

        Parameters
        ----------
        X
            Samples, as described in the class docstring.
        y
            One label a sample.
        w
            One weight a sample, as in `learn_one`; default 1. A sample of weight 0 is predicted but not learnt.

        Returns
        -------
        proba
            {label: probability} for each sample before it was learnt; empty while no class was known.

        Raises
        ------
        TypeError, ValueError
            If a sample, a label or a weight cannot be read, or their numbers differ. Then no sample is learnt.

        Examples
        --------
        >>> from driftmoe import DriftMoEClassifier
        >>> model = DriftMoEClassifier(seed=1)
        >>> model.step_rows([{"x": 1.0}, {"x": 2.0}], ["yes", "yes"])
        [{}, {'yes': 1.0}]
        """
        _check_sized("y", y)
        labels = list(y)
        for label in labels:
            check_label(label)
        rows, weights = self._read_rows(X, labels, w)
        proba: list[np.ndarray] = [_NOTHING] * len(labels)
        self._learn_rows(rows, weights, proba=proba)
        return by_label(proba, self._encoder.classes)

    @learning
    def run_rows(
        self,
        X: Sequence[Mapping[Any, Any]],
        y: Sequence[Hashable | None],
        w: Sequence[float] | np.ndarray | None = None,
        *,
        asked: Sequence[bool] | np.ndarray | None = None,
        awaits: bool | Sequence[bool] = False,
    ) -> list[dict[Any, float] | None]:
        """Predict, learn, or predict and then learn each sample in turn: for labels that come late.

        Put a sample in twice: without a label where it is predicted, and later with its label where that has come. The
        answers and the model are those of `predict_proba_one` (with `awaits`, of `arrive_one`) and `learn_one` in the
        same order.

        Parameters
        ----------
        X
            Samples, as described in the class docstring.
        y
            The label of each sample; `None` for a sample that is only predicted.
        w
            One weight a sample, as in `learn_one`; default 1. A sample of weight 0 is not learnt.
        asked
            Whether each sample is predicted, before it is learnt; default all. A sample that is not predicted needs a
            label.
        awaits
            Whether the samples without a label are predicted as by `arrive_one`, since their labels will come; for all
            samples, or for each.

        Returns
        -------
        proba
            For each sample that is predicted {label: probability}, empty while no class is known; `None` for the
            others.

        Raises
        ------
        TypeError, ValueError
            If a sample, a label or a weight cannot be read, or their numbers differ. Then no sample is learnt.

        Examples
        --------
        The label of each sample comes when the next one has been predicted:

        >>> from driftmoe import DriftMoEClassifier
        >>> model = DriftMoEClassifier(seed=1)
        >>> first, second, third = {"x": 1.0}, {"x": 2.0}, {"x": 3.0}
        >>> X, y = [first, second, first, third, second], [None, None, "no", None, "yes"]
        >>> model.run_rows(X, y, asked=[True, True, False, True, False])
        [{}, {}, None, {'no': 1.0}, None]
        """
        _check_sized("y", y)
        labels = list(y)
        for label in labels:
            if label is not None:
                check_label(label)
        is_asked = [True] * len(labels) if asked is None else _flags(asked, len(labels), "asked")
        for i, (label, wants) in enumerate(zip(labels, is_asked, strict=True)):
            if label is None and not wants:
                raise ValueError(
                    f"row {i} of {len(labels)} has no label and is not asked; give a label to learn it, or ask for it"
                )
        rows, weights = self._read_rows(X, labels, w)
        proba: list[np.ndarray] = [_NOTHING] * len(labels)
        is_flag = isinstance(awaits, bool | np.bool_)
        is_late = [bool(awaits)] * len(labels) if is_flag else _flags(awaits, len(labels), "awaits")
        has_no_label = np.array([label is None for label in labels], np.bool_) & np.array(is_late, np.bool_)
        self._learn_rows(rows, weights, proba=proba, awaits=has_no_label)
        answers = iter(by_label(list(compress(proba, is_asked)), self._encoder.classes))
        return [next(answers) if wants else None for wants in is_asked]

    def _read_rows(
        self,
        X: Sequence[Mapping[Any, Any]],
        labels: list[Any],
        w: Sequence[float] | np.ndarray | None,
    ) -> tuple[RawRows, np.ndarray]:
        """Return the samples for a `Learner`, and their weights: 0 for one without a label."""
        _check_sized("X", X)
        if w is not None:
            _check_sized("w", w)
        weights = np.ones(len(labels)) if w is None else checked_weights(w)
        if not len(X) == len(labels) == len(weights):
            raise ValueError(
                f"X has {len(X)} samples, y has {len(labels)} labels and w has {len(weights)} weights; give one of "
                "each a sample"
            )
        weights[[label is None for label in labels]] = 0.0
        encoder, reads_samples = self._encoder, self._mixture.reads_samples
        vectors = [None if reads_samples else encoder.known_vector(x) for x in X]
        uncommon = [i for i, vector in enumerate(vectors) if vector is None]
        samples = list(X)
        if uncommon:  # any sample may bring features: with it, all are checked in order
            cleaned = cleaned_rows(X, encoder, labels, weights)
            for i in uncommon:
                samples[i] = cleaned[i]
        return RawRows(encoder, samples, vectors, labels), weights

    def _predict(self, vectors: np.ndarray, samples: Sequence[Sample]) -> np.ndarray:
        raise NotImplementedError

    def _learn_rows(
        self,
        rows: Any,
        weights: np.ndarray,
        answers: np.ndarray | None = None,
        proba: list[np.ndarray] | None = None,
        *,
        awaits: np.ndarray | None = None,
    ) -> None:
        raise NotImplementedError


_NOTHING = np.empty(0)


def by_label(proba: Iterable[np.ndarray], classes: Sequence[Hashable]) -> list[dict[Any, float]]:
    """Return the probabilities of rows by label. Classes only ever come at the end, so that early rows are shorter."""
    return [dict(zip(classes, row.tolist(), strict=False)) for row in proba]


def _check_sized(name: str, values: Any) -> None:
    """Raise TypeError for what is no list of things: an iterator, a single sample or a text."""
    if (
        not isinstance(values, Sized)
        or not isinstance(values, Iterable)
        or isinstance(values, Mapping | str | bytes)
    ):
        what = {
            "X": "samples",
            "y": "labels",
            "w": "weights",
            "asked": "True or False",
            "awaits": "True or False",
        }[name]
        raise TypeError(f"{name} is of type {type(values).__name__}; give a list of {what}")


def _flags(given: Any, n_rows: int, name: str) -> list[bool]:
    """Return whether each row is asked, or awaits its label, of what a user gave."""
    _check_sized(name, given)
    flags = list(given)
    if len(flags) != n_rows or not all(isinstance(one, bool | np.bool_) for one in flags):
        raise ValueError(f"{name}={reprlib.repr(flags)} for {n_rows} samples; give True or False for each")
    return [bool(one) for one in flags]


def _cleaned(encoder: Encoder, x: Mapping[Any, Any], i: int, n_rows: int) -> Sample:
    try:
        return encoder.clean(x)
    except (TypeError, ValueError) as error:
        raise type(error)(f"row {i} of {n_rows}: {error}") from None
