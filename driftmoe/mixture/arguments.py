"""How the arguments of `driftmoe.DriftMoEClassifier` are declared: default, allowed values, and when they apply.

Each mixture declares the arguments that it takes in a table of `Argument`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from river import base

from driftmoe.experts import Kind, Prototype, kind_of
from driftmoe.experts.river import takes_weights

HEAD = "head"
"""Name of the extra expert that consists of the router's own class probabilities."""


class Argument:
    """An argument that a mixture takes.

    Parameters
    ----------
    default
        Its value if it is left out.
    check
        Raises an error if a value is not allowed. `None` if the value is checked when the mixture is built.
    needs
        Conditions under which the argument has an effect; without any it always has one.
    """

    def __init__(self, default: Any, check: Check | None, *needs: Need) -> None:
        self.default, self.check, self.needs = default, check, needs


Arguments = Mapping[str, Argument]


@dataclass(frozen=True)
class Context:
    """The settings that decide which other arguments have an effect. Each is the given value or its default.

    Attributes
    ----------
    variant, policy, gate, hidden, learning_rate, prior, max_bytes
        As in `driftmoe.DriftMoEClassifier`; `gate` is `None` in a variant that does not take it.
    arguments
        The arguments that the variant takes.
    reasons
        Why it does not take another argument; see `Mixture.REASONS`.
    expert
        What the main experts are copied from.
    extras
        The extra experts: names and river classifiers.
    """

    variant: str
    arguments: Arguments
    reasons: Mapping[str, str]
    expert: Prototype
    policy: Any
    extras: Sequence[str | base.Classifier]
    gate: str | None
    hidden: Sequence[int]
    learning_rate: float
    prior: Any = None
    max_bytes: int | None = None

    @property
    def has_head(self) -> bool:
        """Whether the router's own class probabilities count as an expert."""
        return HEAD in self.extras

    @property
    def has_memory(self) -> bool:
        """Whether an extra expert remembers samples."""
        return any(kind.remembers for kind in self._kinds())

    @property
    def has_costly(self) -> bool:
        """Whether an extra expert may be skipped on some samples while its weight is low."""
        return self.prior is not None or any(kind.experts.is_costly for kind in self._kinds())

    @property
    def has_samples(self) -> bool:
        """Whether an extra expert is a river classifier, which reads samples."""
        return any(kind.experts.reads == "samples" for kind in self._kinds())

    @property
    def extra_names(self) -> tuple[str, ...]:
        """Names of the extra experts; for river classifiers the class name."""
        return tuple(extra if isinstance(extra, str) else type(extra).__name__ for extra in self.extras)

    @property
    def weightless(self) -> tuple[str, ...]:
        """Names of the classes of river classifiers among the extras that take no weights of samples."""
        return tuple(
            type(one).__name__ for one in self.extras if not isinstance(one, str) and not takes_weights(one)
        )

    def _kinds(self) -> list[Kind]:
        return [kind_of(extra) for extra in self.extras if extra != HEAD]


class Need(NamedTuple):
    """A condition under which an argument has an effect, and the message if it is not met."""

    holds: Callable[[Context], bool]
    otherwise: str


Check = Callable[[str, Any], None]
"""Takes the name and the value of an argument; raises an error if the value is not allowed."""


def integer(least: int) -> Check:
    """Return a check for an integer of at least `least`."""

    def check(name: str, value: Any) -> None:
        if not isinstance(value, int | np.integer) or isinstance(value, bool):
            raise TypeError(f"{name}={value!r} is of type {type(value).__name__}; give an integer")
        if value < least:
            raise ValueError(f"{name}={value}; choose {name} >= {least}")

    return check


def number(is_allowed: Callable[[float], bool], allowed: str) -> Check:
    """Return a check for a number. `allowed` describes the allowed numbers in the error message."""

    def check(name: str, value: Any) -> None:
        if not isinstance(value, int | float | np.number) or isinstance(value, bool):
            raise TypeError(f"{name}={value!r} is of type {type(value).__name__}; give a number")
        if not is_allowed(float(value)):
            raise ValueError(f"{name}={value}; choose {allowed}")

    return check


def check_flag(name: str, value: Any) -> None:
    """Raise unless `value` is a boolean."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name}={value!r}; choose True or False")


def choice(names: Iterable[str]) -> Check:
    """Return a check for one of several names."""
    available = tuple(names)

    def check(name: str, value: Any) -> None:
        if value not in available:
            raise ValueError(f"{name}={value!r}; available: {', '.join(available)}")

    return check


def check_widths(name: str, value: Any) -> None:
    """Raise unless `value` is a tuple or list of layer widths."""
    if not isinstance(value, tuple | list):
        raise TypeError(f"{name}={value!r}; give the width of each hidden layer, such as (256, 128)")
    if not all(isinstance(one, int | np.integer) and not isinstance(one, bool) and one >= 1 for one in value):
        raise ValueError(f"{name}={value!r}; choose widths of at least 1, such as (256, 128)")


check_rate = number(lambda value: 0.0 <= value < math.inf, "0 or more, such as 0.002")
"""Raise unless a step size is a number of at least 0."""

PAPER: Arguments = {
    "hidden": Argument((256, 128), check_widths),
    "learning_rate": Argument(2e-3, check_rate),
    "batch_size": Argument(256, integer(1)),
    "dropout": Argument(
        0.0,
        number(lambda value: 0.0 <= value < 1.0, "0 <= dropout < 1"),
        Need(lambda c: c.learning_rate > 0.0, "with learning_rate=0, where the router takes no step"),
        Need(lambda c: len(c.hidden) > 0, "with hidden={c.hidden!r}: there are no hidden units"),
    ),
}
"""Arguments of the paper's router, with the paper's defaults."""
