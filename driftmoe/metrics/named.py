"""Metrics by name, as `--metric` takes them: river's for classification, and those of this package.

A name is that of the class in words (`log_loss`, `weighted_f1`) or the class itself (`WeightedF1`), perhaps with
arguments (`f_beta(beta=2)`). A metric of one class takes the class after a colon (`recall:yes`).
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable, Hashable, Iterable, Sequence
from contextlib import suppress
from functools import cache
from typing import Any, NamedTuple

from river import metrics
from river.metrics.base import BinaryMetric

from driftmoe.metrics.areas import ROCAUC, AveragePrecision, RollingPRAUC, RollingROCAUC
from driftmoe.metrics.probability import Brier, ExpectedCalibrationError
from driftmoe.metrics.scores import Scores
from driftmoe.suggestions import meant

STANDARD = tuple(Scores().get())
"""Figures that every run has."""

ROLLING = (RollingPRAUC, RollingROCAUC)
"""Metrics of the last samples only."""

SYMMETRIC = (ROCAUC, RollingROCAUC, metrics.MCC)
"""Metrics of two classes whose value is the same, whichever of the two is the positive one."""

NAMED: dict[str, type[Any]] = {
    "average_precision": AveragePrecision,
    "balanced_accuracy": metrics.BalancedAccuracy,
    "brier": Brier,
    "ece": ExpectedCalibrationError,
    "f1": metrics.F1,
    "f_beta": metrics.FBeta,
    "geometric_mean": metrics.GeometricMean,
    "jaccard": metrics.Jaccard,
    "log_loss": metrics.CrossEntropy,  # that of two classes, which takes any number of them, and any labels
    "macro_f_beta": metrics.MacroFBeta,
    "macro_jaccard": metrics.MacroJaccard,
    "macro_precision": metrics.MacroPrecision,
    "macro_recall": metrics.MacroRecall,
    "mcc": metrics.MCC,
    "micro_f1": metrics.MicroF1,
    "micro_f_beta": metrics.MicroFBeta,
    "micro_jaccard": metrics.MicroJaccard,
    "micro_precision": metrics.MicroPrecision,
    "micro_recall": metrics.MicroRecall,
    "multi_f_beta": metrics.MultiFBeta,
    "pr_auc": RollingPRAUC,
    "precision": metrics.Precision,
    "recall": metrics.Recall,
    "roc_auc": ROCAUC,
    "rolling_roc_auc": RollingROCAUC,
    "weighted_f1": metrics.WeightedF1,
    "weighted_f_beta": metrics.WeightedFBeta,
    "weighted_jaccard": metrics.WeightedJaccard,
    "weighted_precision": metrics.WeightedPrecision,
    "weighted_recall": metrics.WeightedRecall,
}
"""Name -> class of a metric that a run computes if it is asked for."""

ALIKE = {
    "cohenkappa": "kappa",
    "macrof1": "f1_macro",
    "auc": "roc_auc",
    "crossentropy": "log_loss",
    "logloss": "log_loss",
    "rollingprauc": "pr_auc",
    "ap": "average_precision",
    "expectedcalibrationerror": "ece",
}
"""Other name, without its underscores -> the name that is meant."""

DEFAULTS: dict[str, dict[str, Any]] = {"roc_auc": {"n_thresholds": 100}}
"""Arguments that differ from river's own defaults: its 10 thresholds miss the truth by whole points."""

LEAST_ROLLING = 1000
"""Samples over which `ROLLING` are computed at least, so that their last value is no accident."""

MOST_CLASSES = 20
"""Classes of which each can have a column of its own."""

_TEXT = re.compile(r"\s*([A-Za-z]\w*)\s*(\(.*?\))?\s*(?::(.*))?", re.DOTALL)


class Asked(NamedTuple):
    """A metric that is asked for by its name.

    Attributes
    ----------
    name
        Its name in `NAMED` or `STANDARD`.
    arguments
        Those of the class that were written.
    label
        The text of the class that it is about; `None` if there is none.
    """

    name: str
    arguments: dict[str, Any]
    label: str | None

    @property
    def cls(self) -> Any:
        """Class of the metric; `None` for a standard figure."""
        return NAMED.get(self.name)

    def __str__(self) -> str:
        written = ", ".join(f"{name}={value!r}" for name, value in self.arguments.items())
        return (
            self.name + (f"({written})" if written else "") + ("" if self.label is None else f":{self.label}")
        )

    def metric(self, pos_val: Any, window: int) -> Any:
        """Return the metric, whose positive label is `pos_val` if it is about one class."""
        given = {**DEFAULTS.get(self.name, {}), **self.arguments}
        if self.cls in ROLLING:
            given = {"window_size": max(window, LEAST_ROLLING)} | given
        try:
            metric = self.cls(**given)
            _try_out(metric)
        except (TypeError, ValueError, ArithmeticError, AttributeError) as error:
            raise ValueError(f"metric {str(self)!r}: {error}") from None
        if issubclass(self.cls, BinaryMetric):
            metric.pos_val = pos_val  # some take no text in their constructors
        return metric


def _try_out(metric: Any) -> None:
    """Let a copy of a metric take a sample, as some look at their arguments only then."""
    tried = metric.clone()
    tried.update(True, True if metric.requires_labels else {True: 1.0})
    with suppress(LookupError):  # arguments by label, and True is none of them
        tried.get()


@cache
def asked(text: str) -> Asked:
    """Return what a text asks for.

    Raises
    ------
    ValueError
        If it cannot be read, or there is no such metric.

    Examples
    --------
    >>> from driftmoe.metrics import asked
    >>> str(asked("FBeta(beta=2):yes")), asked("LogLoss").name
    ('f_beta(beta=2):yes', 'log_loss')
    """
    match = _TEXT.fullmatch(text)
    if match is None:
        raise ValueError(
            f"metric {text!r} cannot be read; write a name, as in log_loss, f_beta(beta=2) or recall:yes"
        )
    written, in_brackets, label = match.groups()
    plain = {name.replace("_", ""): name for name in (*STANDARD, *NAMED)} | ALIKE
    name = plain.get(written.replace("_", "").lower())
    if name is None:
        raise ValueError(
            f"no metric {written!r}; {meant(written.lower(), [*STANDARD, *NAMED], 'see --help')}"
        )
    if label is not None and not issubclass(NAMED.get(name, object), BinaryMetric):
        raise ValueError(f"metric {text!r}: {name} is one figure for all classes; leave out {f':{label}'!r}")
    return Asked(name, _arguments(text, name, in_brackets or "()"), label)


def _arguments(text: str, name: str, in_brackets: str) -> dict[str, Any]:
    try:
        node = ast.parse(f"_{in_brackets}", mode="eval").body
        assert isinstance(node, ast.Call)
        arguments = {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in node.keywords}
    except (SyntaxError, ValueError, AssertionError, RecursionError, MemoryError):
        raise ValueError(
            f"metric {text!r} cannot be read; write its arguments as in f_beta(beta=2)"
        ) from None
    known = [] if name in STANDARD else [
        one for one in inspect.signature(NAMED[name]).parameters if one not in ("cm", "pos_val")
    ]  # fmt: skip
    wrong = ["without a name"] * len(node.args) + [one for one in arguments if one not in known]
    if wrong:
        raise ValueError(f"metric {text!r}: {name} has no argument {wrong[0]!r}; {meant(wrong[0], known)}")
    return arguments


def names_of(texts: Iterable[str], labels: Callable[[], Sequence[Hashable]]) -> list[str]:
    """Return the names of the figures that texts ask for, without repetitions.

    A metric of one class without its class is one figure for each class, unless it is the same for both of two.

    Parameters
    ----------
    texts
        As `asked` reads them.
    labels
        Returns the labels that occur in the stream; called if a metric is about one class.

    Raises
    ------
    ValueError
        As `asked` does. If there is no such class, or a metric would need one.

    Examples
    --------
    >>> from driftmoe.metrics import names_of
    >>> names_of(["recall", "roc_auc", "g_mean"], lambda: ["no", "yes"])
    ['recall:no', 'recall:yes', 'roc_auc', 'g_mean']
    """
    found: dict[str, None] = {}
    for text in texts:
        one = asked(text)
        if one.cls is None or not issubclass(one.cls, BinaryMetric):
            names = [one]
        else:
            known = list(map(str, labels()))
            if len(set(known)) < len(known):
                twice = next(name for name in known if known.count(name) > 1)
                raise ValueError(
                    f"metric {text!r}: several labels are written {twice!r}; give them different texts"
                )
            if one.label is not None and one.label not in known:
                raise ValueError(f"metric {text!r}: no class {one.label!r}; {meant(one.label, known)}")
            if one.label is not None or (one.cls in SYMMETRIC and len(known) == 2):
                names = [one]
            elif one.cls in SYMMETRIC or len(known) > MOST_CLASSES:
                why = "is of two classes" if one.cls in SYMMETRIC else "would be a column for each"
                raise ValueError(
                    f"metric {text!r} {why}, and there are {len(known)}; name the class that counts against all "
                    f"others, as in {one._replace(label=known[-1])}"
                )
            else:
                names = [one._replace(label=label) for label in known]
        for name in names:
            if name.cls is not None:
                name.metric(True, 1)  # refuses wrong arguments
        found |= dict.fromkeys(map(str, names))
    return list(found)


def metrics_of(names: Iterable[str], labels: Callable[[], Sequence[Hashable]], window: int) -> dict[str, Any]:
    """Return the metrics of these names, of those that `names_of` returns but for the standard figures.

    Parameters
    ----------
    names
        Names of figures.
    labels
        As in `names_of`.
    window
        Samples in a window of the run, over which a metric of the last samples is computed at least.

    Examples
    --------
    >>> from driftmoe.metrics import metrics_of
    >>> metrics_of(["f1:yes"], lambda: ["no", "yes"], window=100)["f1:yes"].pos_val
    'yes'
    """
    found = {}
    for name in names:
        one, positive = asked(name), None
        if issubclass(one.cls, BinaryMetric):
            of_text = {str(label): label for label in labels()}
            positive = list(of_text.values())[-1] if one.label is None else of_text[one.label]
        found[name] = one.metric(positive, window)
    return found


class Shown(NamedTuple):
    """How a figure is shown.

    Attributes
    ----------
    words
        Its name for people.
    factor, form, unit
        The value times the factor, in this format, is in this unit.
    is_larger_better
        Whether a larger value is better.
    note
        What must be known to read it, or nothing.

    Examples
    --------
    >>> from driftmoe.metrics import Shown
    >>> mine = Shown("cost", 1.0, "{:.3f}", "", is_larger_better=False, note="")
    >>> mine.form.format(mine.factor * 0.5)
    '0.500'
    """

    words: str
    factor: float
    form: str
    unit: str
    is_larger_better: bool
    note: str


_WORDS = {
    "roc_auc": "ROC-AUC",
    "rolling_roc_auc": "rolling ROC-AUC",
    "pr_auc": "PR-AUC",
    "mcc": "MCC",
    "ece": "calibration error",
    "brier": "Brier score",
}


def shown(name: str) -> Shown:
    """Return how a figure of `NAMED` is shown.

    Examples
    --------
    >>> from driftmoe.metrics import shown
    >>> shown("recall:yes")[:4], shown("log_loss").is_larger_better
    (('recall of yes', 100.0, '{:.2f}', '%'), False)
    """
    one = asked(name)
    words = _WORDS.get(one.name) or one.name.replace("_", " ").replace("f beta", "F-beta").replace("f1", "F1")
    words += str(one._replace(name="", label=None)) + ("" if one.label is None else f" of {one.label}")
    metric: Any = one.metric(True, 1)
    is_share = "%" in metric._fmt
    note = ""
    if isinstance(metric, ROCAUC):
        note = f"{words}: river's approximation by {metric.n_thresholds} thresholds"
    elif isinstance(metric, ROLLING):
        size = one.arguments.get("window_size")
        note = f"{words}: of the last " + (
            f"{size:,} samples"
            if size
            else f"{LEAST_ROLLING:,} samples, or of the last window if that is longer"
        )
    return Shown(
        words, 100.0 if is_share else 1.0, "{:.2f}" if is_share else "{:.4f}", "%" if is_share else "",
        metric.bigger_is_better, note,
    )  # fmt: skip
