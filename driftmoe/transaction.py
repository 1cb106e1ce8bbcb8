"""Atomic changes: no interrupt and no error leaves a model half changed.

A step is planned first. Everything is checked, computed and allocated, parts grow on a copy (a *draft*), and the model
does not change. The result is a list of *changes*: calls without arguments to compiled kernels, `dict.update` or
`__setitem__`, which put a draft or a value in place. `carry_out` runs them in order from C code. CPython runs signal
handlers (Ctrl-C, SIGTERM, SIGALRM) in the main thread, between two instructions of Python code. There are none between
the first change and the last, so an interrupt comes before all changes or after all of them.
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

from driftmoe.ahead import compile_wanted, is_wanted, want

P = ParamSpec("P")
T = TypeVar("T")

Changes = list[Callable[[], Any]]

TRIES = 100
"""Maximum number of attempts to carry out changes. After an interrupt, the second attempt usually succeeds."""

NO_TARGETS, NO_WEIGHTS = np.empty(0, np.int64), np.empty(0)
"""Arguments with which a kernel that can learn only predicts."""


def carry_out(changes: Changes) -> None:
    """Run all changes in order. An exception that interrupts them is raised after the last one.

    A change that runs Python code can be interrupted, and then runs again. There are two such kinds. Work that threads
    share continues where it stopped, and a decision on who sleeps, if it was already made, does nothing.

    Raises
    ------
    RuntimeError
        If a change fails, which it reports by a true return value.
    """
    if isinstance(changes, StepPlan) and changes.planners:
        planners, changes = changes.planners, [*changes]
        for plan_more in planners:
            plan_more(changes)
    compile_planned()
    steps = [*changes, bool]  # the last step has no effect: once it is taken, all changes are done
    start, left = 0, iter(steps)
    put_off: list[BaseException | None] = [None] * TRIES
    n_tries = 0
    while True:
        try:  # an interrupt before the first step must not count that step as begun
            start = max(start, len(steps) - length_hint(left) - 1)
            left = iter(steps[start:])
            failed = any(map(call, left))
            break
        except BaseException as error:  # delayed, not swallowed
            put_off[n_tries] = error  # no function call here, after which another interrupt could come
            n_tries += 1
            if n_tries == TRIES:
                raise
    if failed:
        raise RuntimeError(
            "a kernel ran out of reserved memory; this is a bug, please report it with your data"
        )
    if put_off[0] is not None:
        raise chained(put_off)


def chained(errors: Iterable[BaseException | None]) -> BaseException:
    """Return the last error, with the others as its context, as if each was raised while handling the previous one."""
    before: BaseException | None = None
    seen: set[int] = set()  # several errors may have been raised while handling the same one
    for error in errors:
        if error is None or id(error) in seen:
            continue
        first = error
        seen.add(id(first))
        while first.__context__ is not None and id(first.__context__) not in seen:
            first = first.__context__
            seen.add(id(first))
        first.__context__ = before
        before = error
    if before is None:
        raise ValueError("there is no error to raise")
    return before


def is_ready(kernel: Callable[..., Any]) -> bool:
    """Return whether a kernel is compiled, for some types of arguments."""
    return bool(getattr(kernel, "overloads", True))


def planned(kernel: Callable[..., Any], *arguments: Any) -> Callable[[], Any]:
    """Return the call of a kernel as a change. A kernel that is not yet compiled is compiled before any change."""
    if not is_ready(kernel):
        want(kernel, arguments)
    return partial(kernel, *arguments)


def compile_planned() -> None:
    """Compile the kernels of all calls planned so far."""
    if is_wanted():
        compile_wanted()


class StepPlan(list[Callable[[], Any]]):
    """The changes of a step, in order, and what was computed while they were planned.

    A plan whose calls read all that differs from one row to the next from arrays can be carried out again: other
    contents are written into the arrays of the batch, `computed` is called, and then the changes. See
    `driftmoe.kept_plans`.

    Attributes
    ----------
    computed
        Calls that were made to plan. They change no model, only arrays of the plan.
    planners
        Functions that plan the last changes, anew each time. They add them to the list that they are given.
    is_repeatable
        Whether the plan can be carried out again as long as no part of the model grows, and until the mini-batch of a
        network ends.
    n_ahead
        Number of rows for which trees make room, those of the plan included.
    n_bytes
        Bytes of the work space that its calls share with none, beside arrays with an entry for each row.
    """

    def __init__(self, n_ahead: int = 0) -> None:
        super().__init__()
        self.computed: list[Callable[[], Any]] = []
        self.planners: list[Callable[[Changes], None]] = []
        self.is_repeatable = True
        self.n_ahead = n_ahead
        self.n_bytes = 0

    def followed_by(self, changes: Changes) -> StepPlan:
        """Return the plan with more changes after its own."""
        new = copy.copy(self)
        new[:] = [*self, *changes]
        return new

    def between(self, change: Callable[[], Any]) -> StepPlan:
        """Return the plan with another change as its first and its last one."""
        new = copy.copy(self)
        new[:] = [change, *self, change]
        return new

    def compute(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Call a function now, and whenever the plan is carried out again."""
        call = planned(function, *arguments)
        compile_planned()
        call()
        self.computed.append(call)


def publication(part: Any, draft: Any) -> Callable[[], Any]:
    """Return the change that gives a part all attributes of its draft."""
    return partial(vars(part).update, vars(draft))


def assignment(part: Any, **values: Any) -> Callable[[], Any]:
    """Return the change that sets attributes of a part."""
    return partial(vars(part).update, values)


def copying(source: np.ndarray, target: np.ndarray) -> Callable[[], Any]:
    """Return the call that copies an array into another, as a change: a third of numpy's time where both are short.

    Numpy's assignment takes longer than a copy of bytes, since it may have to convert or to broadcast.
    """
    is_plain = source.shape == target.shape and source.dtype == target.dtype and source.size > 0
    if is_plain and source.flags.c_contiguous and target.flags.c_contiguous:
        return partial(target.data.cast("B").__setitem__, slice(None), source.data.cast("B"))
    return partial(target.__setitem__, ..., source)


class OneAtATime:
    """A model that only one thread uses at a time. Predicting and learning wait for each other.

    Copies and pickles hold a consistent state of the model and share nothing with it. A process forks only while no
    model is within a step.
    """

    _shared: Any = None
    """What others read this model by. A model that others read does not learn."""

    def __init__(self) -> None:
        self._stand_alone()

    def _stand_alone(self) -> None:
        self._lock = RLock()  # re-entrant: a signal handler or an expert may predict while its thread learns
        self._is_learning = [False]
        _MODELS.add(self)

    def __reduce_ex__(self, protocol: Any) -> Any:
        with self._lock:  # pickled within the lock: another thread could learn in the meantime
            self._check_whole("pickled")
            return _restored, (type(self), pickle.dumps(self._packed(), protocol))

    def _packed(self) -> dict[str, Any]:
        """Return the object to pickle, from which `__setstate__` rebuilds the model."""
        return self._state()

    def _state(self) -> dict[str, Any]:
        own = ("_lock", "_is_learning", "_shared")
        return {name: value for name, value in vars(self).items() if name not in own}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._stand_alone()

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        new: Any = object.__new__(type(self))
        memo[id(self)] = new
        with self._lock:
            self._check_whole("copied")
            new.__setstate__(copy.deepcopy(self._state(), memo))
        return new

    def _check_whole(self, done: str) -> None:
        """Raise RuntimeError within a step: some of the user's own experts may have learnt the sample, others not."""
        if self._is_learning[0]:
            raise RuntimeError(
                f"the model was {done} while it is learning, by a signal handler or by one of its own experts; do it "
                "afterwards"
            )


def _restored(kind: Any, state: bytes) -> Any:
    """Return a model from its pickle."""
    model = kind.__new__(kind)
    model.__setstate__(pickle.loads(state))
    return model


_MODELS: WeakSet[OneAtATime] = WeakSet()
_held: list[Any] = []


def _hold_all() -> None:
    """Wait until no model is within a step, so that a forked process has consistent models."""
    for model in list(_MODELS):
        model._lock.acquire()
        _held.append(model._lock)


def _let_go() -> None:
    while _held:
        _held.pop().release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_hold_all, after_in_parent=_let_go, after_in_child=_let_go)


def learning(method: Callable[P, T]) -> Callable[P, T]:
    """Decorate a method of `OneAtATime` that learns, so that it runs alone.

    Other threads wait. A signal handler or a user's own expert may call the method within the same thread while the
    model is already learning. That raises RuntimeError, since the planned changes would not fit the changed model. So
    does a model that others read as their prior.
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
            if model._shared is not None:
                raise RuntimeError(
                    f"{method.__name__}: this model is the prior of others, which read it, so that it learns no more; "
                    "teach a copy of it, copy.deepcopy(model), and give that to new models"
                )
            try:  # interrupts come only when a call returns, so the flag is always reset
                is_learning[0] = True
                return method(*arguments, **others)
            finally:
                is_learning[0] = False

    return alone
