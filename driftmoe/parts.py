"""A model made of parts that give and take their state: by it the model is restored and pickled."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from functools import cache
from inspect import Parameter, signature
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from river import base

import driftmoe
from driftmoe.memory import n_bytes
from driftmoe.state import State, check_names, restored, value_of
from driftmoe.transaction import OneAtATime, learning


class OfParts(OneAtATime):
    """A model of parts. A subclass names them in `PARTS`, and its `_new_parts` builds them from its arguments.

    The part called `name` is the attribute `_name`. Only the state of the parts is pickled, and the other attributes.
    `driftmoe.saving` knows all models, and is imported when a model is saved.
    """

    PARTS: ClassVar[tuple[str, ...]]
    LATER: ClassVar[tuple[str, ...]] = ()
    """Parts that a state of an earlier version lacks. `part.fresh()` takes their place."""
    ADDED: ClassVar[tuple[str, ...]] = ()
    """Arguments of later versions. A file holds them only if they were given, so that other files stay the same."""
    SHARED: ClassVar[tuple[str, ...]] = ()
    """Arguments that are models. Copies have the same ones, not copies of them."""

    def __init__(self) -> None:
        super().__init__()
        self._built_with = self._arguments()
        self._given = self._as_given()
        self._adopt(self._new_parts())

    def _new_parts(self) -> Sequence[Any]:
        """Return parts that have learnt nothing, in the order of `PARTS`."""
        raise NotImplementedError

    @property
    def _raw_memory_usage(self) -> int:
        """Bytes of the whole model: Python objects, arrays and tensors, each once. river's memory meter reads it.

        The parts are measured as they lie in memory. Their states are smaller, because they have no spare capacity.
        """
        return n_bytes(self)

    def state(self) -> State:
        """Return all that the model has learnt, as named arrays and numbers; see `driftmoe.state`.

        Labels and nominal values are Python's own, and so are river classifiers among the experts.

        Examples
        --------
        >>> from driftmoe import DriftMoEClassifier
        >>> model, other = (DriftMoEClassifier(seed=seed) for seed in (1, 2))
        >>> for i in range(100):
        ...     model.learn_one({"x": i % 7}, i % 7 > 3)
        >>> other.restore(model.state())
        >>> other.predict_proba_one({"x": 5}) == model.predict_proba_one({"x": 5})
        True
        """
        with self._lock:
            self._check_whole("asked for its state")
            parts = {name: getattr(self, f"_{name}").state() for name in self.PARTS}
            return {"arguments": dict(self._built_with), **parts}

    @learning
    def restore(self, state: State) -> None:
        """Bring a model that was built with the same arguments to a state that `state` returned.

        From then on both models predict and learn alike, bit for bit.

        Raises
        ------
        TypeError, ValueError
            If the state is not that of such a model. The model is left unchanged.
        """
        lacking = [name for name in self.LATER if isinstance(state, dict) and name not in state]
        check_names(state, [name for name in ("arguments", *self.PARTS) if name not in lacking], self)
        self._check_same(value_of(state, "arguments", dict, self), "the state")
        own = {name: getattr(self, f"_{name}") for name in self.PARTS}
        parts = [
            part.fresh() if name in lacking else restored(part, state[name]) for name, part in own.items()
        ]
        self._check_fit(parts)
        self._adopt(parts)

    def clone(self, new_params: dict[str, Any] | None = None, include_attributes: bool = False) -> Any:
        """Return an untrained model with the same arguments, or with `new_params`, as river does.

        With `include_attributes` the new model also gets the state of this one.
        """
        if new_params is not None:
            new_params = new_params | {
                n: Same(new_params[n]) for n in self.SHARED if new_params.get(n) is not None
            }
        new = super().clone(new_params)  # type: ignore[misc]  # river's, of the other base class
        if include_attributes:
            new.restore(self.state())
        return new

    def _get_params(self) -> dict[str, Any]:
        params: dict[str, Any] = super()._get_params()  # type: ignore[misc]  # as above
        return params | {
            name: Same(getattr(self, name)) for name in self.SHARED if params.get(name) is not None
        }

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        memo |= {id(one): one for one in (getattr(self, name) for name in self.SHARED) if one is not None}
        return super().__deepcopy__(memo)

    def save(
        self, path: str | os.PathLike[str], *, compress: bool = False, pickle_experts: bool = False
    ) -> Path:
        """Save the model to one file; see `driftmoe.save`."""
        return driftmoe.save(self, path, compress=compress, pickle_experts=pickle_experts)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, prior: Any = None, trust_pickle: bool = False) -> Self:
        """Load a model of this class from a file; see `driftmoe.load`."""
        model = driftmoe.load(path, prior=prior, trust_pickle=trust_pickle)
        return cls._checked_class(model, os.fspath(path))

    def to_bytes(self, *, compress: bool = False, pickle_experts: bool = False) -> bytes:
        """Return the model as the bytes of its file; see `driftmoe.save`."""
        return driftmoe.saving.to_bytes(self, compress=compress, pickle_experts=pickle_experts)

    @classmethod
    def from_bytes(cls, content: bytes, *, prior: Any = None, trust_pickle: bool = False) -> Self:
        """Return the model of the bytes of a file; see `driftmoe.load`."""
        model = driftmoe.saving.from_bytes(content, prior=prior, trust_pickle=trust_pickle)
        return cls._checked_class(model, "the file")

    @classmethod
    def _checked_class(cls, model: Any, where: str) -> Self:
        if type(model) is not cls:
            raise ValueError(
                f"{where}: holds a {type(model).__name__}, not a {cls.__name__}; use driftmoe.load"
            )
        return model

    def digest(self) -> str:
        """Return the SHA-256 of the model: its class, its arguments and all that it has learnt, as hexadecimal text.

        Equal models have equal digests, in every process and on every processor, if nothing in them has to be pickled.
        """
        return driftmoe.saving.digest(self)

    def _arguments(self) -> dict[str, str]:
        """Return the arguments that a state depends on, as text."""
        names = [name for name in parameters_of(type(self)) if hasattr(self, name)]
        return {name: as_text(getattr(self, name)) for name in names}

    def _as_given(self) -> dict[str, str]:
        """Return all arguments as they were given, as text, except those that change no result."""
        names = [name for name in parameters_of(type(self)) if name != "n_threads" and hasattr(self, name)]
        return {name: as_text(getattr(self, name)) for name in names}

    def check_unchanged(self, done: str) -> None:
        """Raise ValueError if an argument was changed after the model was built; `done` is what was to be done."""
        given, what = self._as_given(), f"an attribute has changed: what is {done}"
        if given != self._given:
            self._check_same(self._arguments(), what)
            self._check_same(given, what, self._given)

    def _check_same(self, given: dict[str, str], what: str, own: dict[str, str] | None = None) -> None:
        """Raise ValueError unless arguments are those with which the model was built."""
        own = self._built_with if own is None else own
        if own == given:
            return
        for name in [*own, *given]:
            if own.get(name) != given.get(name):
                raise ValueError(
                    f"{what} is of a {type(self).__name__} with {name}={given.get(name)}, and this one was built with "
                    f"{name}={own.get(name)}; build a model with the same arguments"
                )

    def _check_fit(self, parts: Sequence[Any]) -> None:
        """Raise ValueError if restored parts do not belong together."""

    def _adopt(self, parts: Sequence[Any], **others: Any) -> None:
        """Take over parts, and other attributes that belong to them, all at once."""
        vars(self).update({f"_{name}": part for name, part in zip(self.PARTS, parts, strict=True)} | others)

    def _packed(self) -> dict[str, Any]:
        self.check_unchanged("pickled")
        parts = {f"_{name}" for name in self.PARTS}
        others = {name: value for name, value in self._state().items() if name not in parts}
        return others | {"state": self.state()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__({name: value for name, value in state.items() if name != "state"})
        if "state" in state:  # a copy brings its parts along instead
            self._adopt(self._new_parts())
            self.restore(state["state"])


class Same:
    """Stands for a model where river copies arguments: the copy is the model itself."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def __repr__(self) -> str:
        return f"{type(self._model).__name__} {self._model.digest()}"

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return self._model


def parameters_of(kind: type) -> Mapping[str, Parameter]:
    """Return the arguments of a constructor. `inspect.signature` takes 40 µs."""
    hashable: Any = kind  # which mypy doubts of a class
    return _parameters_of(hashable)


@cache
def has_plain_parameters(kind: Any) -> bool:
    """Return whether a constructor takes each argument by a name of its own."""
    variable = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
    return not any(one.kind in variable for one in parameters_of(kind).values())


def _of_parameter(value: Any) -> str:
    """Return an argument of an estimator as text; river gives estimators as pairs of class and arguments."""
    return as_text((type(value), value._get_params()) if isinstance(value, base.Base) else value)


@cache
def _parameters_of(kind: Any) -> Mapping[str, Parameter]:
    return signature(kind).parameters


def as_text(value: Any) -> str:
    """Return an argument as text: the same for equal arguments, also of river's estimators, and different otherwise."""
    if value is None or type(value) in (bool, int, float, str):
        return repr(value)
    if isinstance(value, base.Base):
        kind: Any = type(value)
        if kind._get_params is base.Base._get_params and has_plain_parameters(kind):  # which is 60 µs faster
            parameters = ", ".join(
                f"{name}={_of_parameter(getattr(value, name))}" for name in parameters_of(kind)
            )
            return f"{kind.__name__}({parameters})"
        parameters = ", ".join(f"{name}={as_text(one)}" for name, one in value._get_params().items())
        return f"{type(value).__name__}({parameters})"
    if isinstance(value, set | frozenset):
        return f"{{{', '.join(sorted(map(as_text, value)))}}}"
    if isinstance(value, list | tuple):
        return f"({', '.join(map(as_text, value))})"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{as_text(name)}: {as_text(one)}' for name, one in value.items())}}}"
    if isinstance(value, np.generic):
        value = value.item()
    name = getattr(value, "__qualname__", None)  # of functions and classes
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value)) if name is None else f"{value.__module__}.{name}"
