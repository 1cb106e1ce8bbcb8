"""Answers from class probabilities: the class of least expected cost, and sets of labels with a coverage."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from threading import RLock
from typing import TYPE_CHECKING, Any

import numpy as np

from driftmoe.conformal import check_coverage, least_probability, members
from driftmoe.costs import DecisionCosts
from driftmoe.encoding import Encoder
from driftmoe.encoding.frames import Frame, as_frame, frame_of_classes
from driftmoe.mixture.mixing import most_gain
from driftmoe.recent import Recent

if TYPE_CHECKING:
    from narwhals.stable.v2.typing import IntoDataFrame


class Decisions:
    """A classifier that chooses classes, and sets of them, by its probabilities."""

    _lock: RLock
    _encoder: Encoder
    _recent: Recent
    _costs: DecisionCosts | None = None
    """Costs by which a class is chosen; `None` for the most probable one."""

    def predict_proba_one(self, x: Mapping[Any, Any]) -> dict[Any, float]:
        """Return the probability of each class learnt so far."""
        raise NotImplementedError

    def _proba_of_one(self, x: Mapping[Any, Any]) -> tuple[list[Hashable], np.ndarray]:
        """Return the classes learnt so far, and their probabilities, shape (n_classes,)."""
        raise NotImplementedError

    def _predict_frame(self, frame: Frame) -> tuple[list[Hashable], np.ndarray]:
        """Return the classes, and their probabilities for each row of a frame, shape (n_samples, n_classes)."""
        raise NotImplementedError

    def predict_one(self, x: Mapping[Any, Any]) -> Any:
        """Return the most probable class, or with `decision_costs` that of least expected cost.

        Ties go to the class learnt first. Before the first `learn_one` the answer is `None`.
        """
        with self._lock:
            classes, proba = self._proba_of_one(x)
            if not classes:
                return None
            if self._costs is None:  # as `_chosen`, in half the time
                return classes[proba.argmax()]
            return classes[int(self._chosen(proba[np.newaxis], classes)[0])]

    def decide_one(self, proba: Mapping[Any, float]) -> Any:
        """Return what `predict_one` answers if these are the probabilities of the classes.

        Parameters
        ----------
        proba
            {label: probability}, as `predict_proba_one` and `step_rows` return them.
        """
        if not proba or self._costs is None:
            return max(proba, key=proba.__getitem__) if proba else None
        classes = list(proba)
        return classes[self._chosen(np.array([list(proba.values())]), classes)[0]]

    @property
    def class_weights(self) -> dict[Any, float]:
        """Weight of each class learnt so far, by `class_weight`; 1 without it.

        A probability divided by the square root of the weight of its class, and by their sum, is that of the mixture
        itself.

        Examples
        --------
        >>> from driftmoe import DriftMoEClassifier
        >>> model = DriftMoEClassifier(class_weight="balanced", seed=1)
        >>> for i in range(99):
        ...     model.learn_one({"x": i}, "rare" if i % 10 == 9 else "often")
        >>> {label: round(weight, 2) for label, weight in model.class_weights.items()}
        {'often': 0.56, 'rare': 5.04}
        """
        with self._lock:
            classes, weighed = list(self._encoder.classes), self._recent.class_weights
            return dict(
                zip(classes, [1.0] * len(classes) if weighed is None else weighed.of(classes), strict=True)
            )

    def predict_set_one(self, x: Mapping[Any, Any], coverage: float = 0.9) -> dict[Any, float]:
        """Return the labels that are probable enough for the set to hold the true one with a given frequency.

        The sets adapt to the stream: their size follows how sure, and how right, the model was on the last 1024 samples
        that it learnt. After a drift they grow, and shrink again as the model recovers.

        Parameters
        ----------
        x
            A sample, as described in the class docstring.
        coverage
            Share of the samples whose set should hold the true label, in (0, 1). It may differ from call to call.

        Returns
        -------
        labels
            {label: probability}, the most probable first; `label in labels` and `len(labels)` are those of a set. It
            always holds the most probable label, so that the true one is in it more often than asked if the model is
            right more often than that. It is empty only before the first `learn_one`. It holds all labels until
            coverage / (1 - coverage) samples have been learnt (nine for 0.9), and always if `coverage` is above 0.999.

        Raises
        ------
        TypeError, ValueError
            If the sample cannot be read, or `coverage` is not a number in (0, 1).

        Notes
        -----
        Adaptive conformal inference over the last 1024 samples; see `driftmoe.conformal`. No frequency is guaranteed
        for each sample, or for the samples of one class, but for many in a row. `benchmarks.calibration` measures the
        worst thousand. A label that has not been learnt yet is in no set. If labels are delayed, so is what the sets
        adapt to. `decision_costs` do not change them.

        References
        ----------
        Gibbs, Candès (2021). Adaptive conformal inference under distribution shift. NeurIPS.

        Examples
        --------
        >>> from river import datasets
        >>> from driftmoe import DriftMoEClassifier
        >>> model, n_sets, n_right = DriftMoEClassifier(seed=1), 0, 0
        >>> for x, y in datasets.ImageSegments().take(1000):
        ...     labels = model.predict_set_one(x, coverage=0.9)
        ...     n_sets, n_right = n_sets + 1, n_right + (y in labels)
        ...     model.learn_one(x, y)
        >>> n_right / n_sets > 0.88
        True
        """
        check_coverage(coverage)
        with self._lock:
            proba = self.predict_proba_one(x)
            if not proba:
                return {}
            threshold = self._threshold(coverage)
        are_members = members(np.array([list(proba.values())]), threshold)[0]
        chosen = [label for label, is_member in zip(proba, are_members.tolist(), strict=True) if is_member]
        return {label: proba[label] for label in sorted(chosen, key=proba.__getitem__, reverse=True)}

    def set_threshold(self, coverage: float = 0.9) -> float:
        """Return the probability from which on a label is in the sets of `predict_set_one`.

        Parameters
        ----------
        coverage
            As in `predict_set_one`.

        Raises
        ------
        TypeError, ValueError
            If `coverage` is not a number in (0, 1).
        """
        check_coverage(coverage)
        with self._lock:
            return self._threshold(coverage)

    def predict_set_many(self, X: IntoDataFrame, coverage: float = 0.9) -> IntoDataFrame:
        """Return which labels are in the set of each row, as in `predict_set_one`.

        Parameters
        ----------
        X
            Any eager frame (pandas, polars, pyarrow, ...), shape (n_samples, n_features). Nulls and NaN are missing.
        coverage
            As in `predict_set_one`.

        Returns
        -------
        are_members
            A frame of the same library, with a column of booleans per class, as `predict_proba_many` names them.

        Raises
        ------
        TypeError, ValueError
            As in `predict_set_one`. Also if two labels have the same text, or one is not valid Unicode; not for pandas.
        """
        check_coverage(coverage)
        frame = as_frame(X)
        with self._lock:
            classes, proba = self._predict_frame(frame)
            threshold = self._threshold(coverage)
        are_members = members(proba, threshold) if proba.size else proba.astype(np.bool_)
        return frame_of_classes(classes, are_members, like=frame)

    def _threshold(self, coverage: float) -> float:
        """Return the probability from which on a label is in a set."""
        self._recent.check_kept("a set of labels")
        scores = self._recent.scores()
        return least_probability(scores.true_proba, scores.was_right, float(coverage))

    def _chosen(self, proba: np.ndarray, classes: Sequence[Hashable]) -> np.ndarray:
        """Return the index of the class chosen for each row, by probabilities of shape (n_rows, n_classes)."""
        if self._costs is None:
            return proba.argmax(axis=1)
        gains, chosen = self._costs.gains(classes), np.empty(len(proba), np.int64)
        if proba.shape[1] != len(classes) or gains.shape not in ((1, len(classes)), (len(classes),) * 2):
            raise ValueError(
                f"probabilities of {proba.shape[1]} classes and gains of shape {gains.shape} for {len(classes)} labels"
            )
        most_gain(proba, gains, chosen)
        return chosen
