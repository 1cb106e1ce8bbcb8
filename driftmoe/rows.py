"""Rows of dictionaries in one call: as fast as blocks, for callers who have no frame."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence, Sized
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
        _check_sized("X", X)
        _check_sized("y", y)
        if w is not None:
            _check_sized("w", w)
        labels = list(y)
        weights = np.ones(len(labels)) if w is None else checked_weights(w)
        if not len(X) == len(labels) == len(weights):
            raise ValueError(
                f"X has {len(X)} samples, y has {len(labels)} labels and w has {len(weights)} weights; give one of "
                "each a sample"
            )
        for label in labels:
            check_label(label)
        encoder, reads_samples = self._encoder, self._mixture.reads_samples
        vectors = [None if reads_samples else encoder.known_vector(x) for x in X]
        uncommon = [i for i, vector in enumerate(vectors) if vector is None]
        samples = list(X)
        if uncommon:  # any sample may bring features: with it, all are checked in order
            cleaned = cleaned_rows(X, encoder, labels, weights)
            for i in uncommon:
                samples[i] = cleaned[i]
        proba: list[np.ndarray] = [_NOTHING] * len(labels)
        self._learn_rows(RawRows(encoder, samples, vectors, labels), weights, proba=proba)
        classes = encoder.classes  # classes only ever come at the end
        return [dict(zip(classes, row.tolist(), strict=False)) for row in proba]

    def _predict(self, vectors: np.ndarray, samples: Sequence[Sample]) -> np.ndarray:
        raise NotImplementedError

    def _learn_rows(
        self,
        rows: Any,
        weights: np.ndarray,
        answers: np.ndarray | None = None,
        proba: list[np.ndarray] | None = None,
    ) -> None:
        raise NotImplementedError


_NOTHING = np.empty(0)


def _check_sized(name: str, values: Any) -> None:
    """Raise TypeError for what is no list of things: an iterator, a single sample or a text."""
    if (
        not isinstance(values, Sized)
        or not isinstance(values, Iterable)
        or isinstance(values, Mapping | str | bytes)
    ):
        what = {"X": "samples", "y": "labels", "w": "weights"}[name]
        raise TypeError(f"{name} is of type {type(values).__name__}; give a list of {what}")


def _cleaned(encoder: Encoder, x: Mapping[Any, Any], i: int, n_rows: int) -> Sample:
    try:
        return encoder.clean(x)
    except (TypeError, ValueError) as error:
        raise type(error)(f"row {i} of {n_rows}: {error}") from None
