"""Models and streams of a user's own by name, as `module:Class(argument=...)` on the command line.

To name a module is to run it: the texts come from the user's command line, never from files of data, results or models.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import inspect
import re
import sys
from pathlib import Path
from typing import Any

from river import base

from driftmoe import moa, models
from driftmoe.evaluation.checks import check_model, last_step
from driftmoe.suggestions import meant

_NAME = re.compile(r"\s*([A-Za-z_][\w.]*):([A-Za-z_][\w.]*)\s*(\(.*\))?\s*", re.DOTALL)


def is_own(spec: str) -> bool:
    """Return whether a text names something of the user's own: `module:Class`, perhaps with arguments.

    `moa:` begins the name of a classifier of MOA.
    """
    return _NAME.fullmatch(spec) is not None and not spec.strip().startswith(moa.JAVA)


def make(spec: str, *, seed: int | None = None) -> Any:
    """Return an untrained model: one of `driftmoe.models`, or of the user's own.

    Parameters
    ----------
    spec
        As in `driftmoe.models.make`; or `module:Class` or `module:function` with named arguments, such as
        `my_models:Cautious(threshold=0.9)`. The module is imported; it may lie in the current folder.
    seed
        Value of the argument `seed`, if there is one, unless `spec` sets it.

    Raises
    ------
    ValueError
        If the module or the name cannot be found, its import or its call fails, or the result is no classifier of
        river. Also as in `driftmoe.models.make`.

    Examples
    --------
    >>> from driftmoe import own
    >>> own.make("river.naive_bayes:BernoulliNB(alpha=2)").alpha
    2
    """
    if not is_own(spec):
        return models.make(spec, seed=seed)
    model = built(spec, seed=seed)
    if not isinstance(last_step(model), base.Classifier):
        raise ValueError(
            f"model {spec!r} is a {type(model).__name__}, no classifier of river; inherit from "
            "river.base.Classifier, with learn_one(x, y) and predict_proba_one(x) or predict_one(x)"
        )
    check_model(model)
    try:
        model._get_params()
    except AttributeError as error:
        raise ValueError(
            f"model {spec!r}: {error}; river needs each argument of the constructor as an attribute of its name"
        ) from None
    return model


def built(spec: str, **given: Any) -> Any:
    """Import what a text names, and call it with the arguments of the text and those of `given` that it takes.

    Raises
    ------
    ValueError
        If this fails; the message says why.
    """
    models.check_length("model or stream", spec)
    factory, text = imported(spec)
    try:
        node = ast.parse(f"_{text}", mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ValueError(
            f"{spec!r} cannot be read; write module:Class, or module:Class(argument=value, ...)"
        ) from None
    models.check_size(node)
    try:
        taken = inspect.signature(factory).parameters
    except (TypeError, ValueError):
        taken = {}  # type: ignore[assignment]  # of a compiled class
    written = {keyword.arg for keyword in node.keywords} if isinstance(node, ast.Call) else set()
    rest = {name: value for name, value in given.items() if name in taken and name not in written | {"seed"}}

    def with_given(**arguments: Any) -> Any:
        return factory(**rest | arguments)

    if taken:
        with_given.__signature__ = inspect.Signature(list(taken.values()))  # type: ignore[attr-defined]  # as in models
    return models.built(repr(spec), with_given, node, given.get("seed"))


def imported(spec: str) -> tuple[Any, str]:
    """Return the class or function that a text names, and the text of its arguments in their parentheses.

    Raises
    ------
    ValueError
        If the module cannot be imported, or has no such name.
    """
    match = _NAME.fullmatch(spec)
    if match is None:
        raise ValueError(f"{spec!r} cannot be read; write module:Class, or module:Class(argument=value, ...)")
    module_name, name, text = match.groups()
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)  # last, so that a file here hides no package that is installed
    try:
        found = module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        missing = error.name == module_name or module_name.startswith(f"{error.name}.")
        reason = (
            f"there is no module {error.name!r} in {here} or among those installed" if missing else str(error)
        )
        raise ValueError(f"{spec!r}: {reason}") from None
    except Exception as error:  # the module is the user's, and may raise an error of any class
        raise ValueError(
            f"{spec!r}: importing {module_name} failed: {type(error).__name__}: {error}"
        ) from error
    for part in name.split("."):
        if not hasattr(found, part):
            own = Path(here, *module_name.split(".")).with_suffix(".py")
            hidden = own.exists() and own.resolve() != Path(str(getattr(module, "__file__", ""))).resolve()
            raise ValueError(
                f"{spec!r}: {module_name} ({getattr(module, '__file__', 'built in')}) has no {part!r}; "
                + (
                    f"it hides your {own.name}, which needs another name"
                    if hidden
                    else meant(part, [one for one in dir(found) if not one.startswith("_")])
                )
            )
        found = getattr(found, part)
    if not callable(found):
        raise ValueError(
            f"{spec!r} is an object of {type(found).__name__}; name a class or a function that makes it"
        )
    return found, text or ""


def code_of(spec: str) -> dict[str, str]:
    """Return the SHA-256 of the module that a text names, so that runs with other code differ; empty for our models."""
    if not is_own(spec):
        return {}
    module = sys.modules[imported(spec)[0].__module__]
    file = getattr(module, "__file__", None)
    return {"code_sha256": hashlib.sha256(Path(file).read_bytes()).hexdigest()} if file else {}
