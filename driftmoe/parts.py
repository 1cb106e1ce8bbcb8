"""A model made of parts that give and take their state: by it the model is restored and pickled."""

from __future__ import annotations

import re
from collections.abc import Sequence
from inspect import signature
from typing import Any, ClassVar

import numpy as np
from river import base

from driftmoe.memory import n_bytes
from driftmoe.state import State, check_names, restored, value_of
from driftmoe.transaction import OneAtATime, learning


class OfParts(OneAtATime):
    """A model of parts. A subclass names them in `PARTS`, and its `_new_parts` builds them from its arguments.

    The part called `name` is the attribute `_name`. Only the state of the parts is pickled, and the other attributes.
    """

    PARTS: ClassVar[tuple[str, ...]]

    def __init__(self) -> None:
        super().__init__()
        self._built_with = self._arguments()
        self._adopt(self._new_parts())

    def _new_parts(self) -> Sequence[Any]:
        """Return parts that have learnt nothing, in the order of `PARTS`."""
        raise NotImplementedError

    @property
    def _raw_memory_usage(self) -> int:
        """Bytes of the whole model: Python objects, arrays and tensors, each once. river's memory meter reads it.

        It does not count the bytes of `state()`, which has no spare capacity, while the model in memory has some.
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
        check_names(state, ("arguments", *self.PARTS), self)
        self._check_same(value_of(state, "arguments", dict, self), "the state")
        parts = [restored(getattr(self, f"_{name}"), state[name]) for name in self.PARTS]
        self._check_fit(parts)
        self._adopt(parts)

    def clone(self, new_params: dict[str, Any] | None = None, include_attributes: bool = False) -> Any:
        """Return a model with the same arguments, or with `new_params`.

        Only `include_attributes` brings the state along: without it river means a model that has learnt nothing.
        """
        new = super().clone(new_params)  # type: ignore[misc]  # river's, of the other base class
        if include_attributes:
            new.restore(self.state())
        return new

    def _arguments(self) -> dict[str, str]:
        """Return the arguments that a state hangs on, as text."""
        names = [name for name in signature(type(self)).parameters if hasattr(self, name)]
        return {name: as_text(getattr(self, name)) for name in names}

    def _check_same(self, given: dict[str, str], what: str) -> None:
        """Raise ValueError unless arguments are those with which the model was built."""
        own = self._built_with
        for name in [*own, *given]:
            if own.get(name) != given.get(name):
                raise ValueError(
                    f"{what} is of a {type(self).__name__} with {name}={given.get(name)}, and this one was built with "
                    f"{name}={own.get(name)}; build a model with the same arguments"
                )

    def _check_fit(self, parts: Sequence[Any]) -> None:
        """Raise ValueError if restored parts do not belong together."""

    def _adopt(self, parts: Sequence[Any]) -> None:
        """Take over parts, all at once."""
        vars(self).update({f"_{name}": part for name, part in zip(self.PARTS, parts, strict=True)})

    def _packed(self) -> dict[str, Any]:
        self._check_same(self._arguments(), "an attribute has changed: what is pickled")
        parts = {f"_{name}" for name in self.PARTS}
        others = {name: value for name, value in self._state().items() if name not in parts}
        return others | {"state": self.state()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__({name: value for name, value in state.items() if name != "state"})
        if "state" in state:  # a copy brings its parts along instead
            self._adopt(self._new_parts())
            self.restore(state["state"])


def as_text(value: Any) -> str:
    """Return an argument as text: the same for equal arguments, also of river's estimators, and different otherwise."""
    if isinstance(value, base.Base):
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
