"""Vowpal Wabbit as a peer: linear models of features and their products, one for each class. Needs `driftmoe[vw]`.

The options are those of `vw --oaa K --interactions ff`. Vowpal Wabbit predicts a sample before it learns it, so that a
sample takes one call.
"""

from __future__ import annotations

import math
import re
from collections import deque
from collections.abc import Hashable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any
from urllib.parse import quote

import numpy as np
from river import base

from driftmoe.encoding import check_label, clean
from driftmoe.extras import install

__all__ = ["VowpalWabbitClassifier"]

LOSSES = ("squared", "logistic", "hinge")
"""Losses of the linear models."""

N_REPLAYED = 1000
"""Last samples that are kept, for a model of more classes to learn them again."""

LARGEST = 1e9
"""Greatest absolute value that Vowpal Wabbit gets: it multiplies up to four of them in 32 bits."""


class VowpalWabbitClassifier(base.Classifier):
    """Vowpal Wabbit's linear models of features and their products, one against all for each class.

    Parameters
    ----------
    interactions
        Products of features that are features, too: `"ff"` of all pairs, `("ff", "fff")` also of three, `None` none.
    learning_rate, l1, l2
        As of Vowpal Wabbit.
    loss
        `"squared"`, its default, `"logistic"` or `"hinge"`.
    bits
        Weights are in a table of two to this power, which all classes share.
    n_classes
        Number of classes, if it is known. `None` begins with those of the first samples and makes room for others.

    Raises
    ------
    ValueError
        If an argument is out of range, or Vowpal Wabbit is missing.

    Notes
    -----
    Vowpal Wabbit has to know the number of classes. When one more comes than there is room for, a new model takes the
    place of the old and learns the last 1000 samples again. It forgets nothing if the class comes among the first 1000
    samples. Later it has room for twice as many classes, so that this is rare.

    Text, and numbers that a stream declares nominal, are features of their own, named after feature and value; in
    dictionaries numbers are numbers. A missing value and 0 are no feature. Numbers are not scaled before, since each
    weight has a rate of its own, normalised by the scale of its feature.

    Probabilities are the sigmoid of the scores with `loss="logistic"`, else the scores from -1 to 1 as from 0 to 1; in
    both cases normalised to a sum of 1, and rough.

    A trained model cannot be copied, pickled or saved, since Vowpal Wabbit's files lack a part of what it has learnt.

    References
    ----------
    Agarwal, Chapelle, Dudik, Langford (2014). A reliable effective terascale linear learning system. JMLR 15.

    Examples
    --------
    >>> from driftmoe import models
    >>> model = models.make("vw(interactions='ff', loss='logistic')")  # doctest: +SKIP
    >>> for i in range(100):  # doctest: +SKIP
    ...     model.learn_one({"a": i % 2, "b": i // 2 % 2}, (i + i // 2) % 2)
    >>> model.predict_one({"a": 1, "b": 0})  # doctest: +SKIP
    1
    """

    block_size = 1000

    def __init__(
        self,
        interactions: str | Sequence[str] | None = "ff",
        *,
        learning_rate: float = 0.5,
        l1: float = 0.0,
        l2: float = 0.0,
        loss: str = "squared",
        bits: int = 18,
        n_classes: int | None = None,
    ) -> None:
        self.interactions = interactions
        self.learning_rate = learning_rate
        self.l1 = l1
        self.l2 = l2
        self.loss = loss
        self.bits = bits
        self.n_classes = n_classes
        self._check()
        self._kinds: dict[Hashable, str] = {}
        self._classes: dict[Hashable, int] = {}
        self._recent: deque[tuple[str, int, float]] = deque(maxlen=N_REPLAYED)
        self._n_learnt = 0
        self._room = 2 if n_classes is None else n_classes
        self._workspace = self._new_workspace()

    def _check(self) -> None:
        """Raise ValueError if an argument is out of range."""
        for name in ("learning_rate", "l1", "l2"):
            value = getattr(self, name)
            allowed = "above 0" if name == "learning_rate" else "0 or more"
            is_number = isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
            if not is_number or value < 0 or (value == 0 and name == "learning_rate"):
                raise ValueError(f"{name}={value!r}; choose a number {allowed}")
        if self.loss not in LOSSES:
            raise ValueError(f"loss={self.loss!r}; choose one of {', '.join(LOSSES)}")
        for name, lowest, most in (("bits", 1, 30), ("n_classes", 2, 100_000)):
            value = getattr(self, name)
            is_whole = isinstance(value, Integral) and not isinstance(value, bool)
            if not (is_whole and lowest <= value <= most) and not (value is None and name == "n_classes"):
                raise ValueError(f"{name}={value!r}; choose a whole number from {lowest} to {most:,}")
        for product in self._products():
            if not isinstance(product, str) or not re.fullmatch("f{2,4}", product):
                raise ValueError(
                    f"interactions={self.interactions!r}; all features are of the group f: write 'ff' for products of "
                    "two, 'fff' of three, 'ffff' of four, a list of these, or None"
                )

    def _products(self) -> Sequence[str]:
        return (self.interactions,) if isinstance(self.interactions, str) else self.interactions or ()

    def _new_workspace(self) -> Any:
        """Return an untrained model of Vowpal Wabbit."""
        options = ["--quiet", "--oaa", str(self._room), "--scores", "--loss_function", self.loss]
        options += ["--learning_rate", repr(float(self.learning_rate)), "--bit_precision", str(self.bits)]
        for name in ("l1", "l2"):
            if rate := getattr(self, name):
                options += [f"--{name}", repr(float(rate))]
        for product in self._products():
            options += ["--interactions", product]
        return _vowpalwabbit().Workspace(arg_list=options)

    @property
    def _multiclass(self) -> bool:
        return True

    @property
    def versions(self) -> dict[str, str]:
        """Version of Vowpal Wabbit, which can affect results."""
        return {"vowpalwabbit": str(_vowpalwabbit().__version__)}

    @property
    def _raw_memory_usage(self) -> int:
        """Bytes of the weights and of the samples that are kept, whose memory river's meter does not see."""
        weights = 4 * int(self._workspace.num_weights()) * int(self._workspace.get_stride())
        return weights + sum(len(text) + 100 for text, _, _ in self._recent)

    def __getstate__(self) -> dict[str, Any]:
        if self._n_learnt:
            raise TypeError(
                "a trained model of Vowpal Wabbit cannot be copied: its files lack a part of its rates of learning, so "
                "that the copy would learn otherwise; train another one on the same samples"
            )
        return {name: value for name, value in vars(self).items() if name != "_workspace"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._workspace = self._new_workspace()

    def learn_one(self, x: Mapping[Any, Any], y: Hashable, w: float = 1.0) -> None:
        """Learn a sample.

        Parameters
        ----------
        x
            Feature name -> number, boolean or text; a missing value is `None`, NaN or a missing key.
        y
            Label, anything hashable but `None` and NaN.
        w
            Weight of the sample, 0 or more; a sample of weight 0 is ignored.
        """
        sample = clean(x, self._kinds)
        self._learn(_text(sample), y, w)
        if w > 0.0:
            self._kinds |= {name: "text" if isinstance(v, str) else "number" for name, v in sample.items()}

    def predict_one(self, x: Mapping[Any, Any]) -> Any:  # type: ignore[override]  # river's signature has **kwargs, which would swallow mistakes
        """Return the label with the greatest score; `None` before any label."""
        return self._label(self._scores(_text(clean(x, self._kinds))))

    def predict_proba_one(self, x: Mapping[Any, Any]) -> dict[Any, float]:  # type: ignore[override]  # as above
        """Return the probability of each label, which is rough; empty before any label."""
        return self._proba(self._scores(_text(clean(x, self._kinds))))

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
        """Predict each row of a block, then learn it: the same as one by one, in half as many calls, but for
        numbers that are declared nominal.

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
        return [self._label(scores) for scores in self._steps(X, y, names, values, classes, w)]

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
        return [self._proba(scores) for scores in self._steps(X, y, names, values, classes, w)]

    def _steps(self, X: Any, y: Any, names: Any, values: Any, classes: Any, w: Any) -> list[list[float]]:
        """Return the scores of each row before it was learnt."""
        texts = _texts(X, names, values)
        weights = [1.0] * len(y) if w is None else [float(weight) for weight in w]
        for target, weight in zip(y.tolist(), weights, strict=True):
            _check_learnable(classes[target], weight)
        steps = zip(texts, y.tolist(), weights, strict=True)
        return [self._learn(text, classes[target], weight) for text, target, weight in steps]

    def _learn(self, text: str, y: Hashable, weight: float) -> list[float]:
        """Learn a sample; return the scores that it had before."""
        weight = float(weight)  # numpy's numbers are written in another way
        _check_learnable(y, weight)
        if weight == 0.0:
            return self._scores(text)
        n_known = len(self._classes)
        target = self._classes.setdefault(y, n_known) + 1
        before = None
        if target > self._room:
            before = self._scores(text)[:n_known]
            self._grow()
        scores = self._taught(text, target, weight)[:n_known]
        self._recent.append((text, target, weight))
        self._n_learnt += 1
        return scores if before is None else before

    def _taught(self, text: str, target: int, weight: float) -> list[float]:
        example = self._workspace.parse(f"{target} {weight!r} {text}")
        self._workspace.learn(example)
        scores = example.get_scalars()  # of the prediction, which comes first
        self._workspace.finish_example(example)
        return list(scores)

    def _scores(self, text: str) -> list[float]:
        """Return the scores of the known classes."""
        example = self._workspace.parse(text)
        self._workspace.predict(example)
        scores = example.get_scalars()
        self._workspace.finish_example(example)
        return list(scores)[: len(self._classes)]

    def _grow(self) -> None:
        """Make room for more classes: begin anew, and learn the last samples again."""
        forgets = self._n_learnt > len(self._recent)
        self._room = max(len(self._classes), 2 * self._room if forgets else 0)
        self._workspace.finish()
        self._workspace = self._new_workspace()
        for text, target, weight in self._recent:
            self._taught(text, target, weight)

    def _label(self, scores: Sequence[float]) -> Any:
        """Return the label of the greatest score; of equals the one that was learnt first."""
        if not scores:
            return None
        best = max(range(len(scores)), key=scores.__getitem__)
        return list(self._classes)[best]

    def _proba(self, scores: Sequence[float]) -> dict[Any, float]:
        if self.loss == "logistic":
            of = [1.0 / (1.0 + math.exp(-min(max(score, -50.0), 50.0))) for score in scores]
        else:
            of = [min(max((score + 1.0) / 2.0, 0.0), 1.0) for score in scores]
        total = sum(of)
        shares = [share / total for share in of] if total else [1.0 / max(len(of), 1)] * len(of)
        return dict(zip(self._classes, shares, strict=False))


def _check_learnable(y: Hashable, weight: float) -> None:
    check_label(y)
    if not 0.0 <= weight < math.inf:
        raise ValueError(f"w={weight}; choose a finite weight of 0 or more")


def _text(sample: Mapping[Hashable, Any]) -> str:
    """Return the features of a cleaned sample as Vowpal Wabbit reads them."""
    parts = ["|f"]
    for name, value in sample.items():
        if isinstance(value, str):
            parts.append(f"{_word(name)}={_word(value)}")
        elif value:
            parts.append(f"{_word(name)}:{min(max(float(value), -LARGEST), LARGEST)!r}")
    return " ".join(parts)


def _texts(X: np.ndarray, names: Sequence[Hashable], values: Sequence[Sequence[Any] | None]) -> list[str]:
    """Return `_text` of each row of a block."""
    if np.isinf(X).any():
        raise ValueError("a feature is infinite; clip it, or give NaN if it is missing")
    words = [_word(name) for name in names]
    texts = []
    for row in np.clip(X, -LARGEST, LARGEST).tolist():
        parts = ["|f"]
        for word, value, of in zip(words, row, values, strict=True):
            if value != value:
                continue
            if of is not None:
                parts.append(f"{word}={_word(of[int(value)])}")
            elif value:
                parts.append(f"{word}:{value!r}")
        texts.append(" ".join(parts))
    return texts


def _word(value: Any) -> str:
    """Return a text without the characters that mean something to Vowpal Wabbit."""
    return quote(str(value), safe="")


def _vowpalwabbit() -> Any:
    """Import Vowpal Wabbit; raise ValueError if it is missing."""
    try:
        import vowpalwabbit
    except ImportError as error:
        raise ValueError(f"vw needs Vowpal Wabbit ({error}); {install('vw')}") from None
    return vowpalwabbit
