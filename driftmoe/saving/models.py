"""Models as documents, and back: ours by the states of their parts, river's transformers by a table.

The document of a model has its `class`, the `arguments` of its constructor, and what it has learnt: `parts` (name ->
digest and state) of ours, `state` of a transformer, `steps` of a pipeline.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from river import compose, preprocessing

from driftmoe.classifier import DriftMoEClassifier
from driftmoe.experts import name_of, prior_of
from driftmoe.mixture.adaptive_arguments import check_prior
from driftmoe.models import POLICIES
from driftmoe.nn.classifier import NeuralMoEClassifier
from driftmoe.parts import OfParts, parameters_of
from driftmoe.saving.codec import Encoded, Json, Repeated, as_json, decoded, encoded
from driftmoe.saving.files import arrays_of, digest_of
from driftmoe.saving.room import check_room, room_of
from driftmoe.state import State, check_names, misfit, restored
from driftmoe.trees import HoeffdingTreeClassifier

Arrays = dict[str, np.ndarray]

MAY_BE_INFINITE = ("class_stats", "last_attempt")
"""Last parts of the names of arrays that have infinite numbers in a sound model."""


class Transformer(NamedTuple):
    """A transformer of river that can be described.

    Attributes
    ----------
    type
        The class. Its arguments are attributes of the same names.
    state
        Returns what a transformer has learnt, as plain values.
    restore
        Gives it to a new transformer.
    check
        Takes the name and the value of an entry of the state, and the transformer's name; raises an error if that is
        nothing which such a transformer learns.
    """

    type: type
    state: Callable[[Any], State]
    restore: Callable[[Any, State], None]
    check: Callable[[str, Any, str], None]


def _each(is_allowed: Callable[[Any], bool], allowed: str) -> Callable[[str, Any, str], None]:
    """Return a check for a dict with such values."""

    def check(name: str, values: Any, owner: str) -> None:
        if type(values) is not dict:
            raise misfit(owner, name, f"is of type {type(values).__name__}", "it must be a dict")
        for feature, value in values.items():
            if not is_allowed(value):
                raise misfit(owner, name, f"has {value!r:.40} for {feature!r:.40}", f"it must be {allowed}")

    return check


_check_number = _each(lambda value: type(value) in (int, float), "a number")


def _check_moments(name: str, values: Any, owner: str) -> None:
    _check_number(name, values, owner)
    if name == "counts":
        _each(lambda value: type(value) is int and value >= 0, "0 or more")(name, values, owner)


def _check_categories(name: str, values: Any, owner: str) -> None:
    if name == "values":
        _each(lambda value: type(value) is set, "a set")(name, values, owner)
    else:
        _each(lambda value: type(value) is int and value == 0, "0")(name, values, owner)


def _learnt(
    **containers: Callable[[Mapping[Any, Any]], Any],
) -> tuple[Callable[[Any], State], Callable[[Any, State], None]]:
    """Return how attributes that are dicts of plain values are kept: name -> what makes the container again."""

    def state(transformer: Any) -> State:
        return {name: _plain(getattr(transformer, name)) for name in containers}

    def restore(transformer: Any, state: State) -> None:
        check_names(state, containers, transformer)
        for name, container in containers.items():
            setattr(transformer, name, container(state[name]))

    return state, restore


def _plain(values: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return Python's own values, in an order that depends on the names alone: they came in the order of a set."""
    return {name: _own(values[name]) for name in sorted(values, key=repr)}


def _extremes(transformer: preprocessing.MinMaxScaler) -> State:
    least, most = transformer.min, transformer.max
    return {
        "min": _plain({f: one.min for f, one in least.items()}),
        "max": _plain({f: one.max for f, one in most.items()}),
    }


def _restore_extremes(transformer: preprocessing.MinMaxScaler, state: State) -> None:
    check_names(state, ("min", "max"), transformer)
    for name in ("min", "max"):
        for feature, value in state[name].items():
            setattr(getattr(transformer, name)[feature], name, value)


TRANSFORMERS: dict[str, Transformer] = {
    "StandardScaler": Transformer(
        preprocessing.StandardScaler,
        *_learnt(
            counts=Counter,
            means=lambda kept: defaultdict(float, kept),
            vars=lambda kept: defaultdict(float, kept),
        ),
        check=_check_moments,
    ),
    "MinMaxScaler": Transformer(preprocessing.MinMaxScaler, _extremes, _restore_extremes, _check_number),
    "OneHotEncoder": Transformer(
        preprocessing.OneHotEncoder,
        *_learnt(values=lambda kept: defaultdict(set, kept), _zero_dict=dict),
        check=_check_categories,
    ),
    "Select": Transformer(compose.Select, *_learnt(), check=_check_number),
    "Discard": Transformer(compose.Discard, *_learnt(), check=_check_number),
}
"""Name -> transformer. Scalers of a window (`window_size`) keep Python objects, and are refused."""

CLASSIFIERS: dict[str, type[OfParts]] = {
    kind.__name__: kind for kind in (DriftMoEClassifier, NeuralMoEClassifier, HoeffdingTreeClassifier)
}
"""Name -> class of our models."""

ARGUMENTS: dict[str, Any] = {**POLICIES, "HoeffdingTreeClassifier": HoeffdingTreeClassifier}
"""Name -> class of the objects that arguments may be."""


def described(
    model: Any, arrays: Arrays, prefix: str = "", *, pickling: bool = False, repeated: Repeated | None = None
) -> dict[str, Any]:
    """Return the document of a model, and add its arrays to `arrays`.

    Raises
    ------
    TypeError
        If the model, or something in it, cannot be described without code. The message names it.
    """
    name, repeated = type(model).__name__, repeated or Repeated()
    if type(model) is compose.Pipeline:
        _check_steps([type(step).__name__ for step in model.steps.values()])
        return {
            "class": name,
            "steps": [
                [key, described(step, arrays, f"{prefix}{i}.", pickling=pickling, repeated=repeated)]
                for i, (key, step) in enumerate(model.steps.items())
            ],
        }

    def kept(value: Any, part: str) -> Encoded:
        return encoded(value, prefix + part, objects=ARGUMENTS, pickling=pickling, repeated=repeated)

    def without_arrays(value: Any, part: str) -> Any:
        document, found = kept(value, part)
        if found:
            raise TypeError(f"{name}: {min(found)} is an array; give a list of its numbers")
        return document

    if CLASSIFIERS.get(name) is type(model):
        model.check_unchanged("saved")
        n_before = sum(array.nbytes for array in arrays.values())
        document = {"class": name, "arguments": without_arrays(_arguments(model), "own"), "parts": {}}
        learnt = model.state()
        for part, of_part in learnt.items():
            encoded_part = kept(of_part, part)
            arrays.update(encoded_part.arrays)
            if part in model.PARTS and _may_have_overflowed(encoded_part.arrays):
                _check_restorable(model, part, of_part)
            text = Json(as_json(encoded_part.document))  # written once, for the digest and the file
            document["parts"][part] = {"digest": digest_of(text, encoded_part.arrays), "state": text}
        n_bytes = sum(array.nbytes for array in arrays.values()) - n_before
        check_room(_room(type(model), vars(model)), n_bytes, "the model cannot be saved")
        return document
    if name in TRANSFORMERS and TRANSFORMERS[name].type is type(model):
        _check_window(model)
        learnt = TRANSFORMERS[name].state(model)
        for entry, value in learnt.items():
            TRANSFORMERS[name].check(entry, value, name)
        state = without_arrays(learnt, "state")
        return {"class": name, "arguments": without_arrays(_arguments(model), "own"), "state": state}
    known = [*CLASSIFIERS.values(), *(one.type for one in TRANSFORMERS.values()), compose.Pipeline]
    of = [kind.__name__ for kind in known if isinstance(model, kind)]
    raise TypeError(
        f"a {type(model).__module__}.{name}{', a subclass of ' + of[0] + ',' if of else ''} cannot be described "
        f"without code; what can be: {', '.join([*CLASSIFIERS, *TRANSFORMERS])}, themselves and not subclasses, and "
        "pipelines of these"
    )


def rebuilt(
    document: Any,
    arrays: Mapping[str, np.ndarray],
    prefix: str = "",
    *,
    unpickling: bool = False,
    repeated: Repeated | None = None,
    prior: Any = None,
) -> Any:
    """Return the model of a document and arrays, whose digests have been checked.

    `prior` is the model that the one of the document reads, if it reads one.

    Raises
    ------
    ValueError
        If the document describes no model, or parts of it do not belong together.
    """
    if not isinstance(document, dict) or not isinstance(document.get("class"), str):
        raise ValueError("the file describes no model")
    name, repeated = document["class"], repeated or Repeated()
    check_prior("prior", prior)
    try:
        if name == "Pipeline":
            check_names(document, ("class", "steps"), "the document of a pipeline")
            _check_steps([step["class"] for _, step in document["steps"]])
            last = len(document["steps"]) - 1
            steps = []
            for i, (key, step) in enumerate(document["steps"]):
                others = {"repeated": repeated, "prior": prior if i == last else None}
                steps.append((key, rebuilt(step, arrays, f"{prefix}{i}.", unpickling=unpickling, **others)))
            return compose.Pipeline(*steps)

        def read(value: Any, part: str) -> Any:
            own = arrays_of(prefix + part, arrays)
            return decoded(
                value, own, prefix + part, objects=ARGUMENTS, unpickling=unpickling, repeated=repeated
            )

        if name in CLASSIFIERS:
            check_names(document, ("class", "arguments", "parts"), "the document of a model")
            arguments = _with_prior(read(document["arguments"], "own"), prior)
            n_bytes = sum(array.nbytes for array in arrays.values())
            check_room(_room(CLASSIFIERS[name], arguments), n_bytes, "the file is damaged")
            model = CLASSIFIERS[name](**arguments)
            model.restore({part: read(kept["state"], part) for part, kept in document["parts"].items()})
            return model
        if prior is not None:
            raise ValueError(f"the file holds a {name}, which reads no prior; leave prior out")
        if name in TRANSFORMERS:
            check_names(document, ("class", "arguments", "state"), "the document of a transformer")
            return _transformer(name, read(document["arguments"], "own"), read(document["state"], "state"))
    except (TypeError, KeyError, IndexError, AttributeError, OverflowError) as error:
        raise ValueError(f"the file describes no {name}: {error}") from None
    except MemoryError:
        raise ValueError(f"the file describes a {name} for which there is not memory enough") from None
    raise ValueError(
        f"the file holds a {name}, which this version does not know; was it written by a newer one?"
    )


def _transformer(name: str, arguments: dict[str, Any], learnt: State) -> Any:
    """Return a transformer of river with what it has learnt."""
    positional = arguments.pop("keys", ())
    transformer = TRANSFORMERS[name].type(*positional, **arguments)
    _check_window(transformer)
    for entry, value in learnt.items():
        TRANSFORMERS[name].check(entry, value, name)
    TRANSFORMERS[name].restore(transformer, learnt)
    return transformer


def _may_have_overflowed(arrays: Arrays) -> bool:
    """Whether an array has NaN or infinite numbers where models usually have none."""
    return any(
        np.count_nonzero(np.isfinite(array)) < array.size
        and (np.isnan(array).any() or not name.endswith(MAY_BE_INFINITE))
        for name, array in arrays.items()
        if array.dtype.kind == "f"
    )


def _check_restorable(model: Any, part: str, state: State) -> None:
    """Raise ValueError if a part could not be restored to its own state."""
    try:
        restored(getattr(model, f"_{part}"), state)
    except ValueError as error:
        raise ValueError(f"the model cannot be saved, because it could not be loaded: {error}") from None


def _check_window(transformer: Any) -> None:
    if (window := getattr(transformer, "window_size", None)) is not None:
        name = type(transformer).__name__
        raise TypeError(f"{name}(window_size={window}) cannot be described without code; leave it out")


def _check_steps(kinds: list[str]) -> None:
    """Raise ValueError if a classifier or a pipeline is a step of a pipeline, but not the last."""
    for kind in kinds[:-1]:
        if kind == "Pipeline" or kind in CLASSIFIERS:
            raise ValueError(
                f"a pipeline with a {kind} before its last step; what can be there: {', '.join(TRANSFORMERS)}"
            )


def _room(kind: type[OfParts], arguments: Mapping[str, Any]) -> int:
    """Return the bytes that a model of these arguments takes before it has learnt anything."""
    if not issubclass(kind, DriftMoEClassifier):
        return 0
    unbuilt: Any = object.__new__(kind)
    parameters = {**parameters_of(DriftMoEClassifier), **parameters_of(kind)}
    vars(unbuilt).update({name: arguments.get(name, one.default) for name, one in parameters.items()})
    return room_of(unbuilt._settings())


def _arguments(model: Any) -> dict[str, Any]:
    added = getattr(model, "ADDED", ())
    values = {name: _own(getattr(model, name)) for name in parameters_of(type(model)) if name != "prior"}
    if (prior := getattr(model, "prior", None)) is not None:
        values["prior"] = {"class": type(prior).__name__, "digest": prior_of(prior).digest}
    return {name: value for name, value in values.items() if value is not None or name not in added}


def _with_prior(arguments: dict[str, Any], prior: Any) -> dict[str, Any]:
    """Return the arguments of a model with the prior that they name.

    Raises
    ------
    ValueError
        If the prior is missing, or another one, or the model reads none.
    """
    named = arguments.get("prior")
    if named is None:
        if prior is not None:
            raise ValueError("the model in the file reads no prior; leave prior out")
        return arguments
    what = f"{named['class']} with the digest {named['digest']}"
    if prior is None:
        raise ValueError(
            f"the model in the file reads a prior, which is not in the file: a {what}; give it as prior="
        )
    if (own := name_of(prior)) != f"{named['class']} {named['digest']}":
        raise ValueError(
            f"the model in the file reads a {what}, and prior is a {own}; give the one that it had"
        )
    return arguments | {"prior": prior}


def _own(argument: Any) -> Any:
    """Return an argument with Python's own numbers in the place of numpy's, and tuples in that of lists and arrays.

    The entries of a dict are sorted, so that equal ones are alike in the file.
    """
    if isinstance(argument, np.generic):
        return argument.item()
    if isinstance(argument, np.ndarray):
        argument = argument.tolist()
    if type(argument) in (list, tuple):  # which a constructor takes for one another
        return tuple(map(_own, argument))
    if type(argument) is dict:
        own = {_own(name): _own(value) for name, value in argument.items()}
        return {name: own[name] for name in sorted(own, key=repr)}
    return argument
