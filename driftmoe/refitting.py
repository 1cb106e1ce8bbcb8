"""Batch classifiers of scikit-learn, trained anew at intervals on a window of samples. Needs `driftmoe[batch]`.

The oldest way to follow a drift, and on many streams a strong one. Between two trainings the model is constant, so that
blocks of rows are predicted in one call.
"""

from __future__ import annotations

import copy
import pickle
from collections import deque
from collections.abc import Hashable, Mapping, Sequence
from contextlib import ExitStack
from functools import cache
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np
from river import base

from driftmoe.encoding import Encoder, Sample, check_label
from driftmoe.extras import install

__all__ = ["ExtraTreesOnWindow", "HistGradientBoostingOnWindow"]

MOST_CATEGORIES = 255
"""Greatest number of values of a feature that gradient boosting takes as categories; it has as many bins."""

LARGEST = 1e30
"""Greatest absolute value that scikit-learn's trees get: they hold numbers, and add them up, in 32 bits."""


class _Row(NamedTuple):
    """A sample of the window: its vector, with the features known when it came, its target and its weight."""

    vector: np.ndarray
    target: int
    weight: float


class _Trained(NamedTuple):
    """A trained classifier.

    Attributes
    ----------
    classifier
        Of scikit-learn; `None` if there was one class or no feature.
    shares
        {label: share} of the window, in the order of the classifier's classes.
    encoder
        What was known then.
    """

    classifier: Any
    shares: dict[Hashable, float]
    encoder: Encoder


class _OnWindow(base.Classifier):
    """A batch classifier that is trained anew on the last `window` samples, whenever `every` labels have come."""

    block_size = 1000

    def __init__(self, window: int, every: int, seed: int | None) -> None:
        for name, value in (("window", window), ("every", every)):
            if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
                raise ValueError(f"{name}={value!r}; choose a whole number of samples, at least 1")
        if every > window:
            raise ValueError(
                f"every={every} is above window={window}, so that some samples would never be learnt; choose every <= "
                "window"
            )
        self.window, self.every, self.seed = window, every, seed
        self._new_classifier(0, Encoder())  # refuses wrong arguments now
        self._encoder = Encoder()
        self._rows: deque[_Row] = deque(maxlen=window)
        self._n_learnt = 0
        self._trained: _Trained | None = None
        self._rng = np.random.default_rng(seed)

    def _new_classifier(self, random_state: int, encoder: Encoder) -> Any:
        """Return an untrained classifier of scikit-learn for vectors of an encoder."""
        raise NotImplementedError

    @property
    def _multiclass(self) -> bool:
        return True

    @property
    def versions(self) -> dict[str, str]:
        """Version of scikit-learn, which can affect results."""
        return {"scikit-learn": str(_sklearn("sklearn").__version__)}

    @property
    def _raw_memory_usage(self) -> int:
        """Bytes of the window and of the trained classifier, whose memory river's meter does not see."""
        trained = 0 if self._trained is None else len(pickle.dumps(self._trained.classifier))
        return trained + sum(row.vector.nbytes + 64 for row in self._rows)

    def learn_one(self, x: Mapping[Any, Any], y: Hashable, w: float = 1.0) -> None:
        """Add a sample to the window, and train anew if that is due.

        Parameters
        ----------
        x
            Feature name -> number, boolean or text; a missing value is `None`, NaN or a missing key.
        y
            Label, anything hashable but `None` and NaN.
        w
            Weight of the sample, 0 or more; a sample of weight 0 is ignored.
        """
        self._learn(self._encoder.clean(x), y, w)

    def predict_one(self, x: Mapping[Any, Any]) -> Any:  # type: ignore[override]  # river's signature has **kwargs, which would swallow mistakes
        """Return the most probable label; `None` before any label."""
        (label,) = self._labels(self._proba([self._encoder.clean(x)]))
        return label

    def predict_proba_one(self, x: Mapping[Any, Any]) -> dict[Any, float]:  # type: ignore[override]  # as above
        """Return the probability of each label that the window of the last training held; empty before any label."""
        (proba,) = self._proba([self._encoder.clean(x)])
        return proba

    def step_many(
        self,
        X: np.ndarray,
        y: np.ndarray,
        *,
        names: Sequence[Hashable],
        values: Sequence[Sequence[Any] | None],
        classes: Sequence[Hashable],
        w: Sequence[float] | np.ndarray | None = None,
    ) -> list[Any]:
        """Predict each row of a block, then learn it: the same as one by one, with a call for each training in between.

        Parameters
        ----------
        X, y
            Features, float64, NaN for a missing value, and indices into `classes`; shape (n_rows, n_features) and
            (n_rows,).
        names, values
            Name of each column; its values, into which `X` has indices, or `None` for numbers.
        classes
            Labels.
        w
            Weight of each row; one of weight 0 is only predicted. Default: 1.

        Returns
        -------
        labels
            Label predicted for each row; `None` before any label.
        """
        return self._labels(self.step_proba_many(X, y, names=names, values=values, classes=classes, w=w))

    def step_proba_many(
        self,
        X: np.ndarray,
        y: np.ndarray,
        *,
        names: Sequence[Hashable],
        values: Sequence[Sequence[Any] | None],
        classes: Sequence[Hashable],
        w: Sequence[float] | np.ndarray | None = None,
    ) -> list[dict[Any, float]]:
        """Do as `step_many`, but return {label: probability} for each row."""
        before = copy.copy(vars(self)) | {"_rows": self._rows.copy(), "_rng": copy.deepcopy(self._rng)}
        weights = np.ones(len(y)) if w is None else w
        answers: list[dict[Any, float]] = []
        waiting: list[Sample] = []
        with ExitStack() as undoing:  # all or nothing
            undoing.callback(vars(self).update, before)
            for row, target, weight in zip(X.tolist(), y.tolist(), weights, strict=True):
                x = {
                    name: value if of is None else of[int(value)]
                    for name, value, of in zip(names, row, values, strict=True)
                    if value == value
                }
                sample = self._encoder.clean(x)
                waiting.append(sample)
                if self._trained is None or self._is_due(weight):
                    answers += self._proba(waiting)  # what is learnt next changes the answers
                    waiting = []
                self._learn(sample, classes[target], weight)
            answers += self._proba(waiting)
            undoing.pop_all()
        return answers

    def _is_due(self, weight: float) -> bool:
        """Whether to train after the next sample."""
        return weight > 0.0 and (self._n_learnt + 1) % self.every == 0

    def _learn(self, sample: Sample, y: Hashable, weight: float) -> None:
        """Add a cleaned sample to the window, and train if that is due."""
        check_label(y)
        if not 0.0 <= weight < np.inf:
            raise ValueError(f"w={weight}; choose a finite weight of 0 or more")
        if weight == 0.0:
            return
        is_due = self._is_due(weight)
        if self._encoder.target(y) is None or self._encoder.is_new(sample):
            self._encoder = self._encoder.entered(sample, y)
        target = self._encoder.target(y)
        assert target is not None
        self._rows.append(_Row(self._encoder.vector(sample), target, float(weight)))
        self._n_learnt += 1
        if is_due:
            self._train()

    def _train(self) -> None:
        """Train a new classifier on the window."""
        encoder, rows = self._encoder, self._rows
        X = np.full((len(rows), len(encoder.features)), np.nan)
        for i, row in enumerate(rows):
            X[i, : len(row.vector)] = row.vector
        X[:, np.isnan(X).all(axis=0)] = 0.0  # bins need a value, and a constant decides nothing
        targets, weights = [row.target for row in rows], np.array([row.weight for row in rows])
        random_state, classifier = int(self._rng.integers(2**31)), None
        if X.shape[1] and len(set(targets)) > 1:
            classifier = self._new_classifier(random_state, encoder)
            with _one_thread():
                classifier.fit(_within(X), targets, sample_weight=None if (weights == 1.0).all() else weights)
        self._trained = _Trained(classifier, self._shares(), encoder)

    def _shares(self) -> dict[Hashable, float]:
        """Return {label: share} of the window, in the order in which labels were first learnt."""
        of = np.bincount([row.target for row in self._rows], [row.weight for row in self._rows])
        return {self._encoder.classes[t]: of[t] / of.sum() for t in np.flatnonzero(of).tolist()}

    def _proba(self, samples: Sequence[Sample]) -> list[dict[Any, float]]:
        """Return the class probabilities of cleaned samples."""
        if not samples:
            return []
        trained = self._trained
        if trained is None or trained.classifier is None:
            shares = (self._shares() if self._rows else {}) if trained is None else trained.shares
            return [dict(shares) for _ in samples]
        X = np.array([trained.encoder.vector(sample) for sample in samples])
        for column, of in enumerate(trained.encoder.values):
            if of is not None:  # a value that the window has not shown is missing
                X[X[:, column] >= len(of), column] = np.nan
        with _one_thread():
            proba = trained.classifier.predict_proba(_within(X))
        return [dict(zip(trained.shares, row, strict=True)) for row in proba.tolist()]

    def _labels(self, proba: Sequence[Mapping[Any, float]]) -> list[Any]:
        """Return the most probable label of each; of equals the one that was learnt first."""
        return [max(of, key=of.__getitem__) if of else None for of in proba]


class ExtraTreesOnWindow(_OnWindow):
    """Extremely randomised trees, trained anew on the last samples at intervals.

    Parameters
    ----------
    window
        Number of last samples that it is trained on.
    every
        Number of labels between two trainings, at most `window`. Until the first it says the most frequent label.
    n_estimators, max_features, max_depth, min_samples_leaf
        As in `sklearn.ensemble.ExtraTreesClassifier`.
    seed
        Seed of all trainings.

    Raises
    ------
    ValueError
        If an argument is out of range, or scikit-learn is missing.

    Notes
    -----
    Text, and numbers declared nominal by a stream, are read as numbers: the code of the value in the order of
    appearance. A missing value stays missing. Labels that come late are learnt when they come.

    References
    ----------
    Geurts, Ernst, Wehenkel (2006). Extremely randomized trees. Machine Learning 63.

    Examples
    --------
    >>> from river import datasets, metrics
    >>> from driftmoe.refitting import ExtraTreesOnWindow
    >>> model, metric = ExtraTreesOnWindow(window=300, every=100, n_estimators=10, seed=1), metrics.Accuracy()
    >>> for x, y in datasets.Phishing().take(300):
    ...     metric.update(y, model.predict_one(x))
    ...     model.learn_one(x, y)
    >>> metric.get() > 0.6
    True
    """

    def __init__(
        self,
        window: int = 2000,
        every: int = 250,
        *,
        n_estimators: int = 100,
        max_features: str | float | None = "sqrt",
        max_depth: int | None = None,
        min_samples_leaf: int = 1,
        seed: int | None = None,
    ) -> None:
        self.n_estimators = n_estimators
        self.max_features = max_features
        self.max_depth = max_depth
        self.min_samples_leaf = min_samples_leaf
        super().__init__(window, every, seed)

    def _new_classifier(self, random_state: int, encoder: Encoder) -> Any:
        classifier = _sklearn("sklearn.ensemble").ExtraTreesClassifier(
            n_estimators=self.n_estimators,
            max_features=self.max_features,
            max_depth=self.max_depth,
            min_samples_leaf=self.min_samples_leaf,
            random_state=random_state,
        )
        classifier._validate_params()
        return classifier


class HistGradientBoostingOnWindow(_OnWindow):
    """Gradient boosting of trees over binned features, trained anew on the last samples at intervals.

    Parameters
    ----------
    window
        Number of last samples that it is trained on.
    every
        Number of labels between two trainings, at most `window`. Until the first it says the most frequent label.
    learning_rate, max_iter, max_leaf_nodes, min_samples_leaf, l2_regularization
        As in `sklearn.ensemble.HistGradientBoostingClassifier`. It does not stop early.
    seed
        Seed of all trainings.

    Raises
    ------
    ValueError
        If an argument is out of range, or scikit-learn is missing.

    Notes
    -----
    Text, and numbers declared nominal by a stream, are categories, of which a feature may have 255; with more, their
    codes are read as numbers. A missing value stays missing, and so is one that the window had not shown. Labels that
    come late are learnt when they come. A training takes a tree for each class and iteration.

    References
    ----------
    Ke et al. (2017). LightGBM: a highly efficient gradient boosting decision tree. NeurIPS.

    Examples
    --------
    >>> from driftmoe.refitting import HistGradientBoostingOnWindow
    >>> model = HistGradientBoostingOnWindow(window=60, every=60, max_iter=5, seed=1)
    >>> for i in range(60):
    ...     model.learn_one({"colour": "red" if i % 2 else "blue"}, i % 2)
    >>> model.predict_one({"colour": "red"})
    1
    """

    def __init__(
        self,
        window: int = 2000,
        every: int = 250,
        *,
        learning_rate: float = 0.1,
        max_iter: int = 100,
        max_leaf_nodes: int | None = 31,
        min_samples_leaf: int = 20,
        l2_regularization: float = 0.0,
        seed: int | None = None,
    ) -> None:
        self.learning_rate = learning_rate
        self.max_iter = max_iter
        self.max_leaf_nodes = max_leaf_nodes
        self.min_samples_leaf = min_samples_leaf
        self.l2_regularization = l2_regularization
        super().__init__(window, every, seed)

    def _new_classifier(self, random_state: int, encoder: Encoder) -> Any:
        is_category = [of is not None and len(of) <= MOST_CATEGORIES for of in encoder.values]
        classifier = _sklearn("sklearn.ensemble").HistGradientBoostingClassifier(
            learning_rate=self.learning_rate,
            max_iter=self.max_iter,
            max_leaf_nodes=self.max_leaf_nodes,
            min_samples_leaf=self.min_samples_leaf,
            l2_regularization=self.l2_regularization,
            categorical_features=is_category if any(is_category) else None,
            early_stopping=False,
            random_state=random_state,
        )
        classifier._validate_params()
        return classifier


def _within(X: np.ndarray) -> np.ndarray:
    """Return features that scikit-learn's trees can hold."""
    return np.clip(X, -LARGEST, LARGEST)


@cache
def _sklearn(module: str) -> Any:
    """Import a module of scikit-learn; raise ValueError if it is missing."""
    try:
        import sklearn.ensemble
    except ImportError:
        raise ValueError(
            f"models that are trained on a window need scikit-learn; {install('batch')}"
        ) from None
    return sklearn if module == "sklearn" else sklearn.ensemble


@cache
def _threads() -> Any:
    from threadpoolctl import ThreadpoolController

    _sklearn("sklearn")  # its pool of threads must be there
    return ThreadpoolController()


def _one_thread() -> Any:
    """Return a context in which scikit-learn takes one thread, so that times compare programs."""
    return _threads().limit(limits=1)
