"""Names of models as the command line writes them, such as `arf(n_models=100)`, and what they stand for."""

from __future__ import annotations

import ast
import inspect
import numbers
import re
from collections.abc import Callable
from typing import Any

from river import base, compose, dummy, ensemble, forest, naive_bayes, tree

from driftmoe.classifier import DriftMoEClassifier


def _driftmoe(variant: str) -> Callable[..., base.Classifier]:
    def make(**arguments: Any) -> base.Classifier:
        return DriftMoEClassifier(variant, **arguments)

    parameters = inspect.signature(DriftMoEClassifier).parameters
    make.__signature__ = inspect.Signature([p for n, p in parameters.items() if n != "variant"])  # type: ignore[attr-defined]  # as functools.wraps does
    return make


def _leveraging_bagging(
    model: base.Classifier | None = None,
    n_models: int = 10,
    w: float = 6,
    adwin_delta: float = 0.002,
    bagging_method: str = "bag",
    seed: int | None = None,
) -> base.Classifier:
    return ensemble.LeveragingBaggingClassifier(
        tree.HoeffdingTreeClassifier() if model is None else model, n_models, w, adwin_delta, bagging_method, seed
    )


def _naive_bayes() -> base.Classifier:
    return compose.SelectType(numbers.Number) | naive_bayes.GaussianNB()


MODELS: dict[str, Callable[..., base.Classifier]] = {
    "driftmoe": _driftmoe("driftmoe"),
    "moe-data": _driftmoe("moe-data"),
    "moe-task": _driftmoe("moe-task"),
    "arf": forest.ARFClassifier,
    "srp": ensemble.SRPClassifier,
    "levbag": _leveraging_bagging,
    "ht": tree.HoeffdingTreeClassifier,
    "nb": _naive_bayes,
    "nochange": dummy.NoChangeClassifier,
    "majority": dummy.PriorClassifier,
}
"""Name -> class or function. The ensembles are river's, with river's defaults (10 models)."""


def make(spec: str, *, seed: int | None = None) -> base.Classifier:
    """Return an untrained model from its name and arguments.

    Parameters
    ----------
    spec
        A name, with arguments in parentheses where wanted: `arf`, `arf(n_models=100)`,
        `moe-data(top_k=1, expert=ht(grace_period=200))`. Values are Python literals or models; nothing is executed.
    seed
        Given to models that take one, unless `spec` names a seed itself.

    Raises
    ------
    ValueError
        If the name or an argument is unknown, or a value is refused; the message lists what exists.

    Examples
    --------
    >>> from driftmoe import models
    >>> models.make("arf(n_models=3)", seed=1).n_models
    3
    """
    match = re.fullmatch(r"\s*([\w-]+)\s*(\(.*\))?\s*", spec, flags=re.DOTALL)
    if match is None:
        raise ValueError(f"model {spec!r} cannot be read; write a name, or name(argument=value, ...)")
    name, arguments = match.groups()
    try:
        call = ast.parse(f"model{arguments or '()'}", mode="eval").body
    except SyntaxError:
        call = None
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
        raise ValueError(f"arguments of model {spec!r} cannot be read; write name(argument=value, ...)")
    return _build(name, call, seed)


def _build(name: str, call: ast.Call, seed: int | None) -> base.Classifier:
    if name not in MODELS:
        raise ValueError(f"unknown model {name!r}; available: {', '.join(MODELS)}")
    parameters = inspect.signature(MODELS[name]).parameters
    known = f"it takes: {', '.join(parameters)}" if parameters else "it takes none"
    if call.args:
        raise ValueError(f"model {name!r}: arguments need their names, as in name=value; {known}")
    arguments: dict[str, Any] = {"seed": seed} if "seed" in parameters else {}
    for keyword in call.keywords:
        if keyword.arg not in parameters:
            raise ValueError(f"model {name!r} has no argument {keyword.arg!r}; {known}")
        arguments[keyword.arg] = _value(name, keyword.arg, keyword.value, seed)
    try:
        return MODELS[name](**arguments)
    except (TypeError, ValueError) as error:
        raise ValueError(f"model {name!r}: {error}") from None


def _value(name: str, argument: str, node: ast.expr, seed: int | None) -> Any:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return _build(node.func.id, node, seed)
    try:
        return ast.literal_eval(node)
    except ValueError:
        raise ValueError(
            f"model {name!r}: {argument}={ast.unparse(node)} is no literal; give a number, text, a tuple or a model"
        ) from None
