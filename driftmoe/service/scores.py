"""How well a model did lately: figures over a sliding window of the samples whose label has come."""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from struct import pack, unpack
from typing import Any, Self

import numpy as np

from driftmoe.markov import Succession

WINDOW = 1_000
"""Number of samples in the window."""

N_BINS = 15
"""Bins of the expected calibration error (Guo et al. 2017)."""

N_MISTAKES = 20
"""Number of the last wrong predictions that are kept."""

N_PROBABILITIES = 20
"""Number of the most probable classes that are kept of an answer."""


MOST_LABELS = 10_000
"""Number of labels, and of pairs of labels, that are counted. Of an endless stream of new ones, the first are."""

FIGURES = (
    "accuracy", "no_change", "majority", "markov", "kappa_m", "kappa_t", "kappa_o", "ece", "log_loss",
)  # fmt: skip
"""Figures over the window. `markov` and `kappa_o` are over the samples of which the third baseline said something."""


@dataclass(slots=True)
class Answer:
    """What was said when the features of a sample came.

    Attributes
    ----------
    label
        The model's prediction; `None` if it knew no class.
    proba
        Probability of the most probable classes, at most `N_PROBABILITIES` of them.
    no_change, majority, markov
        What the baselines would have said at that moment: the last label, the most frequent one, and the one that most
        often followed the last. The third is `None` before any label, and in answers of an older version.
    """

    label: Any
    proba: Mapping[Any, float]
    no_change: Any = None
    majority: Any = None
    markov: Any = None

    @classmethod
    def of(
        cls, proba: Mapping[Any, float], scores: Scores, decide: Callable[[Any], Any] | None = None
    ) -> Self:
        """Return the answer of a model with these class probabilities, and of the baselines at this moment.

        `decide` chooses the label by the probabilities; by default it is the most probable one.
        """
        label = (decide or _most_probable)(proba)
        if len(proba) > N_PROBABILITIES:
            proba = dict(sorted(proba.items(), key=lambda item: -item[1])[:N_PROBABILITIES])
        return cls(label, proba, scores.last_label, scores.most_frequent, scores.succession.predict())

    def to_json(self) -> str:
        """Return the answer as JSON, from which `from_json` makes an equal one.

        The probabilities are the hexadecimal digits of their float64 bytes, little-endian: writing them as decimal
        numbers took longer than all else.
        """
        labels = _labels_json(*self.proba)
        proba = pack(f"<{len(self.proba)}d", *self.proba.values()).hex()
        label, *said = map(label_json, (self.label, self.no_change, self.majority, self.markov))
        return f'[{label},{labels},"{proba}",{",".join(said)}]'

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return the answer of a JSON text."""
        label, labels, proba, *said = json.loads(text)  # older answers lack what the third baseline said
        if isinstance(proba, str):  # else a list of numbers, as stores of format 1 have it
            proba = unpack(f"<{len(labels)}d", bytes.fromhex(proba))
        return cls(label, dict(zip(labels, proba, strict=True)), *said)

    def public(self) -> dict[str, Any]:
        """Return what a client is told: label, and probabilities by the text of the labels."""
        texts = list(map(as_text, self.proba))
        if len(set(texts)) < len(texts):  # 1 and "1"
            texts = list(map(label_json, self.proba))
        return {"label": self.label, "probabilities": dict(zip(texts, self.proba.values(), strict=True))}


@lru_cache(maxsize=4_096, typed=True)
def label_json(label: Any) -> str:
    """Return a label, or `None`, as JSON."""
    return json.dumps(label, ensure_ascii=False)


@lru_cache(maxsize=256, typed=True)  # 1, 1.0 and true are equal
def _labels_json(*labels: Any) -> str:
    """Return labels as JSON."""
    return f"[{','.join(map(label_json, labels))}]"


def as_text(label: Any) -> str:
    """Return a label as JSON writes it, without quotation marks for text."""
    return label if isinstance(label, str) else label_json(label)


@dataclass
class Scores:
    """Sums and a window over the samples of one model whose label has come.

    The window holds per sample: label, prediction, whether no change and the majority were right, the probability of
    the true class and that of the prediction, and whether the label that most often followed the last one was right,
    `None` if nobody knew it: before any label, and in stores of an older version. `wrong` holds the last wrong
    predictions: id, label, prediction, probabilities and event.
    """

    n_learnt: int = 0
    n_scored: int = 0
    last_label: Any = None
    most_frequent: Any = None
    counts: dict[Any, int] = field(default_factory=dict)
    succession: Succession = field(default_factory=lambda: Succession(max_pairs=MOST_LABELS))
    window: deque[tuple[Any, Any, bool, bool, float, float, bool | None]] = field(
        default_factory=lambda: deque(maxlen=WINDOW)
    )
    wrong: deque[tuple[str | None, Any, Any, Mapping[Any, float], str]] = field(
        default_factory=lambda: deque(maxlen=N_MISTAKES)
    )

    def add(self, name: str | None, event: str, label: Any, answer: Answer | None, weight: float) -> None:
        """Add a sample that is about to be learnt, with what was answered when its features came."""
        if answer is not None and answer.label is not None:
            predicted, proba = answer.label, answer.proba
            self.n_scored += 1
            self.window.append((
                label, predicted, answer.no_change == label, answer.majority == label, proba.get(label, 0.0),
                proba.get(predicted, 0.0), None if answer.markov is None else answer.markov == label,
            ))  # fmt: skip
            if predicted != label:
                self.wrong.append((name, label, predicted, proba, event))
        if weight > 0.0:
            self.n_learnt += 1
            self.last_label = label
            self.succession.learn(label)
            n = self.counts.get(label, 0) + 1
            if n > 1 or len(self.counts) < MOST_LABELS:
                self.counts[label] = n
            if n > self.counts.get(self.most_frequent, 0):
                self.most_frequent = label

    @property
    def mistakes(self) -> list[dict[str, Any]]:
        """The last wrong predictions, as a client is told of them. For any thread."""
        return [
            {
                "id": name,
                **Answer(predicted, proba).public(),
                "label": label,
                "predicted": predicted,
                "event": event,
            }
            for name, label, predicted, proba, event in self.wrong.copy()
        ]

    def figures(self) -> dict[str, Any]:
        """Return the figures over the window; `None` where there is nothing to say."""
        n = len(self.window)
        figures: dict[str, Any] = {"n_learnt": self.n_learnt, "n_scored": self.n_scored, "window": n}
        if not n:
            return figures | dict.fromkeys(FIGURES)
        labels, predicted, no_change, majority, p_true, p_top, markov = zip(*self.window, strict=True)
        right = np.array([one == other for one, other in zip(labels, predicted, strict=True)])
        accuracy, of_no_change, of_majority = map(
            float, (right.mean(), np.mean(no_change), np.mean(majority))
        )
        is_known = np.array([hit is not None for hit in markov])
        of_markov = (
            float(np.mean([bool(hit) for hit in markov if hit is not None])) if is_known.any() else None
        )
        losses = [-math.log(max(p, 1e-15)) for p in p_true]
        return figures | {
            "accuracy": accuracy,
            "no_change": of_no_change,
            "majority": of_majority,
            "markov": of_markov,
            "kappa_m": _kappa(accuracy, of_majority),
            "kappa_t": _kappa(accuracy, of_no_change),
            "kappa_o": None if of_markov is None else _kappa(float(right[is_known].mean()), of_markov),
            "ece": calibration_error(np.array(p_top), right),
            "log_loss": math.fsum(losses) / n,
        }

    def to_json(self) -> str:
        """Return the scores as JSON, from which `from_json` makes equal ones."""
        return json.dumps(
            {
                "n_learnt": self.n_learnt,
                "n_scored": self.n_scored,
                "last_label": self.last_label,
                "most_frequent": self.most_frequent,
                "counts": [list(self.counts), list(self.counts.values())],
                "succession": self.succession.state(),
                "window": list(self.window),
                "mistakes": self.mistakes,
            }
        )

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return the scores of a JSON text."""
        state = json.loads(text)
        state["counts"] = dict(zip(*state["counts"], strict=True))
        succession = Succession(max_pairs=MOST_LABELS)
        if "succession" in state:  # older versions counted none
            succession.restore(state.pop("succession"))
        window = deque(((*one, None)[:7] for one in state.pop("window")), maxlen=WINDOW)
        names = ("id", "label", "predicted", "probabilities", "event")
        wrong = deque(
            (tuple(one[name] for name in names) for one in state.pop("mistakes")), maxlen=N_MISTAKES
        )
        return cls(**state, succession=succession, window=window, wrong=wrong)


def _most_probable(proba: Mapping[Any, float]) -> Any:
    return max(proba, key=proba.__getitem__) if proba else None


def calibration_error(confidence: np.ndarray, right: np.ndarray) -> float:
    """Return the expected calibration error: the mean over bins of |accuracy - confidence|, weighted by their size.

    Parameters
    ----------
    confidence
        Probability of the predicted class, shape (n_samples,).
    right
        Whether the prediction was right, shape (n_samples,).

    References
    ----------
    Guo, Pleiss, Sun, Weinberger (2017). On calibration of modern neural networks. ICML, equation 5.
    """
    bins = np.minimum((confidence * N_BINS).astype(np.int64), N_BINS - 1)
    gaps = np.bincount(bins, weights=right - confidence, minlength=N_BINS)
    return float(np.abs(gaps).sum() / len(confidence))


def _kappa(accuracy: float, of_baseline: float) -> float | None:
    """Return how much of what a baseline leaves the accuracy gains: 1 at best, 0 for the baseline's accuracy."""
    return None if of_baseline >= 1.0 else float((accuracy - of_baseline) / (1.0 - of_baseline))
