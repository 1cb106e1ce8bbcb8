"""All or nothing: how a model changes, so that no interrupt and no error ever leaves it half changed.

A step is planned first. Everything is checked, computed and allocated; what must grow grows on a copy, a *draft*; and
the model stays as it is. What remains is a list of *changes*: calls without arguments, of compiled kernels, and of
`dict.update` or `__setitem__`, which put a draft or a number in its place. `carry_out` makes them in order from C code.
CPython runs the handlers of signals (Ctrl-C, SIGTERM, SIGALRM) in the main thread, between two instructions of Python
code: with none between the first change and the last, an interrupt comes before all of them or after all of them.
"""

from __future__ import annotations

import copy
import os
import pickle
from collections.abc import Callable, Iterable
from functools import partial, wraps
from operator import call, length_hint
from threading import RLock
from typing import Any, ParamSpec, TypeVar
from weakref import WeakSet

import numpy as np
from numba import typeof

P = ParamSpec("P")
T = TypeVar("T")

Changes = list[Callable[[], Any]]

TRIES = 100
"""How often a change is tried that cannot be made; one that is interrupted is made at once when it is tried again."""

NO_TARGETS, NO_WEIGHTS = np.empty(0, np.int64), np.empty(0)
"""What a kernel that can learn is handed to learn nothing."""


def carry_out(changes: Changes) -> None:
    """Make all changes in order, whatever comes between; an exception that came between is raised after the last.

    A change that runs Python code can be interrupted, and is made again. That is right for the one kind there is: trees
    that threads share go on where they stopped.

    Raises
    ------
    RuntimeError
        If a change reports, by a true result, that it could not be made.
    """
    steps = [*changes, bool]  # the last has no effect: with none left, all changes have been made
    start, left = 0, iter(steps)
    put_off: list[BaseException | None] = [None] * TRIES
    n_tries = 0
    while True:
        try:  # an interrupt before the first step leaves all of them, and must not count it as begun
            start = max(start, len(steps) - length_hint(left) - 1)
            left = iter(steps[start:])
            failed = any(map(call, left))
            break
        except BaseException as error:  # put off, not swallowed
            put_off[n_tries] = error  # no call is made here, behind which another interrupt could come
            n_tries += 1
            if n_tries == TRIES:
                raise
    if failed:
        raise RuntimeError("a kernel had no room although room was made: please report this with your data")
    if put_off[0] is not None:
        raise chained(put_off)


def chained(errors: Iterable[BaseException | None]) -> BaseException:
    """Return the last of some errors. Its traceback shows the others, as if each had come while handling the last."""
    before: BaseException | None = None
    for error in errors:
        if error is None or error is before:
            continue
        first = error
        while first.__context__ is not None and first.__context__ is not before:
            first = first.__context__
        if first is not before:
            first.__context__ = before
        before = error
    if before is None:
        raise ValueError("there is no error to raise")
    return before


def planned(kernel: Callable[..., Any], *arguments: Any) -> Callable[[], Any]:
    """Return the call of a kernel as a change; if it has not been compiled yet it is compiled now, not when called."""
    if not getattr(kernel, "overloads", True):
        kernel.compile(tuple(map(typeof, arguments)))  # type: ignore[attr-defined]  # numba's dispatcher
    return partial(kernel, *arguments)


def publication(part: Any, draft: Any) -> Callable[[], Any]:
    """Return the change that makes a part what its draft is; both share what the draft has not replaced."""
    return partial(vars(part).update, vars(draft))


def assignment(part: Any, **values: Any) -> Callable[[], Any]:
    """Return the change that gives a part's attributes these values."""
    return partial(vars(part).update, values)


class OneAtATime:
    """A model that one thread uses at a time: predictions and learners wait for each other, and each meets it whole.

    A copy, and what is pickled or sent to another process, is a whole state of the model and shares nothing with it. A
    process is forked between two steps of all models.
    """

    def __init__(self) -> None:
        self._stand_alone()

    def _stand_alone(self) -> None:
        self._lock = RLock()  # the thread that learns may ask the model: from a signal handler, or an expert
        self._is_learning = [False]
        _MODELS.add(self)

    def __reduce_ex__(self, protocol: Any) -> Any:
        with self._lock:  # what pickle asks for piece by piece, a learner might change meanwhile
            return _restored, (type(self), pickle.dumps(self._packed(), protocol))

    def _packed(self) -> dict[str, Any]:
        """Return what is pickled, from which `__setstate__` makes the model."""
        return self._state()

    def _state(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("_lock", "_is_learning")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._stand_alone()

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        new: Any = object.__new__(type(self))
        memo[id(self)] = new
        with self._lock:
            new.__setstate__(copy.deepcopy(self._state(), memo))
        return new


def _restored(kind: Any, state: bytes) -> Any:
    """Return the model that was pickled."""
    model = kind.__new__(kind)
    model.__setstate__(pickle.loads(state))
    return model


_MODELS: WeakSet[OneAtATime] = WeakSet()
_held: list[Any] = []


def _hold_all() -> None:
    """Wait until no model is within a step, so that a process that is forked now has each of them whole."""
    for model in list(_MODELS):
        model._lock.acquire()
        _held.append(model._lock)


def _let_go() -> None:
    while _held:
        _held.pop().release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_hold_all, after_in_parent=_let_go, after_in_child=_let_go)


def learning(method: Callable[P, T]) -> Callable[P, T]:
    """Let a method of a `OneAtATime` that learns run alone.

    Other threads wait. The same thread comes back where a signal handler, or an expert of the user's own, lets a model
    learn that is learning already: what was planned would be carried out on another state. That is refused.
    """

    @wraps(method)
    def alone(*arguments: P.args, **others: P.kwargs) -> T:
        model: Any = arguments[0]
        with model._lock:
            is_learning = model._is_learning
            if is_learning[0]:
                raise RuntimeError(
                    f"{method.__name__} was called while the model is learning, by a signal handler or by one of its "
                    "own experts; note the sample and learn it afterwards"
                )
            try:  # interrupts come where a call returns, so that none keeps the flag from being put back
                is_learning[0] = True
                return method(*arguments, **others)
            finally:
                is_learning[0] = False

    return alone
