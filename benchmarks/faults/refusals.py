"""Calls at random, most of which no model may take: each must raise TypeError or ValueError, and change nothing.

A fuzzer lets a model learn and predict samples, rows and blocks of all types of values and labels, clones it, and saves
and loads it in between. Six of ten calls are wrong. Its twin gets only the right calls that teach something. Now and
then the digests of both are compared: they differ if a refused call, a prediction, a clone, or saving and loading has
changed anything.
"""

from __future__ import annotations

import copy
import datetime as dt
import math
import random
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import torch

from driftmoe import saving
from driftmoe.trees import HoeffdingTreeClassifier

REFUSED = 0.6
"""Share of wrong calls."""

LIFE = 1500
"""Calls after which a new model takes the place of an old one, so that all ages are tried and none is slow."""

NUMBERS = ("a", "b", 5, ("t", 1), b"raw")
TEXTS = ("w", "v", ("t", None))
"""Names of features that are numbers, and of those that are text."""

GOOD_NUMBERS = (
    0, 1, -7, 2.5, -0.0, 1e-300, 1e100, -1e100, True, False, math.nan, None, np.float32(0.5), np.int64(3),
    np.bool_(True), np.uint8(200), np.float16(1.5), Decimal("1.25"), Decimal("nan"), Fraction(1, 3), pd.NA,
    pd.NaT, 10**50,
)  # fmt: skip
GOOD_TEXTS = ("red", "blue", "green", "", "\0", "é", np.str_("red"), None, math.nan)
GOOD_LABELS = (
    "x", "y", 3, True, ("u", 2), 2.5, b"c", Decimal("1.5"), frozenset({1, "z"}), dt.date(2024, 2, 29), np.int64(3),
    np.str_("x"),
)  # fmt: skip


class WillNotBe:
    """A value of the user's own that raises wherever it is looked at closely."""

    def __float__(self) -> float:
        raise TypeError("no number")

    def __hash__(self) -> int:
        raise TypeError("no hash")

    def __eq__(self, other: object) -> bool:
        raise TypeError("no comparison")


class Odd:
    """A value that is hashable, but whose comparison is neither true nor false."""

    def __eq__(self, other: object) -> Any:
        return np.array([True, False])

    def __hash__(self) -> int:
        return 1


class Ending(Mapping[Any, Any]):
    """A sample that raises when it is read for a while."""

    def __getitem__(self, name: Any) -> Any:
        return 1.0

    def __iter__(self) -> Iterator[Any]:
        yield "a"
        yield "brand new"
        raise ValueError("no more")

    def __len__(self) -> int:
        return 2


BAD_VALUES = (
    math.inf, -math.inf, 1e101, -1e101, 10**400, -(10**400), [1], {}, {1}, (1, 2), 1j, b"x", object(), len, np.inf,
    np.array(1.0), np.array([1.0]), torch.tensor(1.0), np.complex64(1j), np.datetime64(1, "ns"), np.timedelta64(1, "s"),
    dt.date(2024, 2, 29), dt.timedelta(1), Decimal("Infinity"), Fraction(10**400), WillNotBe(), Odd(), range(2),
    bytearray(b"x"), np.float32(np.inf), pd.Timestamp("2024-01-01"), np.longdouble("1e200"),
)  # fmt: skip
"""Values of no feature."""

BAD_NAMES = (Decimal(7), math.nan, ("a", math.nan), np.datetime64("NaT"), Odd(), (1, Odd()), complex("nan"))
"""Names of no feature."""

BAD_SAMPLES = (
    None, 3, 2.5, "text", b"raw", [("a", 1.0)], (("a", 1.0),), {"a"}, np.zeros(2), torch.zeros(2), object(), dict,
    pd.Series({"a": 1.0}), iter([("a", 1.0)]), Ending(),
)  # fmt: skip
BAD_LABELS = (
    None, math.nan, np.float64("nan"), Decimal("nan"), [1], {}, {1}, (1, [2]), (1, math.nan), (1, (2, math.nan)),
    np.datetime64("NaT"), pd.NA, pd.NaT, torch.tensor(1), np.array(1), np.array([1, 2]), complex("nan"), WillNotBe(),
    Odd(),
)  # fmt: skip
BAD_WEIGHTS = (-1.0, math.nan, math.inf, -math.inf, "1", None, [1.0], 1j, b"1")
BAD_COLUMNS = (
    None, 3, "xyx", b"xyx", {"x": 1}, {"x", "y"}, iter("xyx"), np.eye(3), np.array("x"), [None, "x", "y"], ["x"],
    ["x", "y"], ["x", math.nan, "y"], ["x", [1], "y"], ["x"] * 4, [], pd.DataFrame(np.eye(3)), torch.ones(3, 3),
    [(1, math.nan), "x", "y"],
)  # fmt: skip
"""Values that are not three labels."""

BAD_FRAMES = (
    None, 3, "abc", [[1.0]] * 3, {"a": [1.0, 2.0, 3.0]}, np.ones((3, 1)), torch.ones(3, 1), pd.Series([1.0, 2.0, 3.0]),
    pl.DataFrame({"a": [1.0, 2.0, 3.0]}).lazy(), pd.DataFrame(np.ones((3, 2)), columns=["a", "a"]),
    pd.DataFrame({"a": [1.0, math.inf, 2.0]}), pd.DataFrame({"brand new": [1.0, 2.0, -1e101]}),
    pd.DataFrame({"w": ["new", "red", "blue"], "a": [1.0, 2.0, "text"]}), pd.DataFrame({"w": [1.0, 2.0, 3.0]}),
    pd.DataFrame({"a": ["1", "2", "3"]}), pd.DataFrame({"a": [1.0, 2.0, 1j]}), pd.DataFrame({"a": [[1], [2], [3]]}),
    pd.DataFrame({"w": ["red", "new", b"blue"]}),
    pl.DataFrame({"a": [1.0, math.inf, 2.0]}), pl.DataFrame({"a": [[1.0], [2.0], [3.0]]}),
    pd.DataFrame({"a": pd.date_range("2024", periods=3)}),
)  # fmt: skip
"""Values that are not three rows, of a model that knows 'a' as a number and 'w' as text."""

BAD_TO_LEARN = (*BAD_FRAMES, pd.DataFrame({"brand new": [1.0, 2.0, "text"]}))
"""Predicting ignores features that no sample had before."""


class Fuzzer:
    """A model, its twin, and calls.

    Parameters
    ----------
    make
        Makes a new model.
    seed
        Of the calls.

    Attributes
    ----------
    n_refused
        Wrong calls so far.
    problems
        Texts on what went wrong so far.
    """

    def __init__(self, make: Callable[[], Any], seed: int) -> None:
        self._make, self._rng = make, random.Random(seed)
        self.n_refused, self.problems = 0, list[str]()
        self._is_tree = isinstance(make(), HoeffdingTreeClassifier)
        self._wrong: list[Callable[[], tuple[str, Callable[[], Any]]]] = [
            self._bad_sample, self._bad_sample, self._bad_label, self._bad_file, self._bad_state, self._bad_weight,
        ]  # fmt: skip
        self._wrong += [] if self._is_tree else [self._bad_frame, self._bad_block, self._bad_clone]
        self._begin()

    def _begin(self) -> None:
        self.model, self._n_calls = self._make(), 0
        first = ({"a": 1.0, "b": 2.0, "w": "red", "v": "blue"}, "x")
        self.model.learn_one(*first)
        self._twin = copy.deepcopy(self.model)
        self._told: list[str] = []

    def call(self) -> bool:
        """Make one call; return whether it was a wrong one."""
        self._n_calls += 1
        if self._rng.random() < REFUSED:
            self.refuse()
            return True
        self._take()
        return False

    def check(self) -> None:
        """Compare the model with its twin."""
        if self.model.digest() != self._twin.digest():
            self.problems.append(f"the model has changed within these calls: {'; '.join(self._told[-40:])}")
            self._begin()
        elif self._n_calls > LIFE:
            self._begin()
        self._told = []

    def refuse(self) -> None:
        """Make a wrong call."""
        told, call = self._rng.choice(self._wrong)()
        self.n_refused += 1
        self._told.append(told)
        try:
            call()
        except (TypeError, ValueError):
            return
        except Exception as error:  # whatever it is, it is wrong
            self.problems.append(f"{told} raised {error!r:.200}")
        else:
            self.problems.append(f"{told} was taken")
            self._begin()

    # ----------------------------------------------------------------------------------------------
    # Right calls
    # ----------------------------------------------------------------------------------------------

    def _take(self) -> None:
        kind = self._rng.random()
        if kind < 0.55:
            x, y = self._sample(), self._rng.choice(GOOD_LABELS)
            for model in (self.model, self._twin):
                model.learn_one(x, y)
        elif kind < 0.8:
            x = self._sample()
            proba = self.model.predict_proba_one(x)
            if proba and not (abs(sum(proba.values()) - 1.0) < 1e-9 and min(proba.values()) >= 0.0):
                self.problems.append(f"probabilities {proba}")
            self.model.predict_one(x)
        elif kind < 0.9 and not self._is_tree:
            self._take_rows()
        elif kind < 0.94:
            content = self.model.to_bytes(compress=self._rng.random() < 0.5)
            self.model = saving.from_bytes(content)
        elif kind < 0.97:
            self.model.clone().learn_one(self._sample(), self._rng.choice(GOOD_LABELS))
        else:
            self.model = copy.deepcopy(self.model)

    def _take_rows(self) -> None:
        rng = self._rng
        frame, labels = self._frame(), [rng.choice(GOOD_LABELS) for _ in range(3)]
        if rng.random() < 0.5:
            for model in (self.model, self._twin):
                model.learn_many(frame, labels)
        else:
            known = frame.to_pandas() if isinstance(frame, pl.DataFrame) else frame  # it holds any labels
            self.model.predict_many(known)
            self.model.predict_proba_many(known)
        if rng.random() < 0.5:
            X = np.array([[rng.gauss(0.0, 1.0), rng.randrange(2)] for _ in range(3)])
            block = {"names": ["a", "w"], "values": [None, ["red", "blue"]], "classes": ["x", 3]}
            y = np.array([rng.randrange(2) for _ in range(3)])
            said = [model.step_many(X, y, **block) for model in (self.model, self._twin)]
            if said[0] != said[1]:
                self.problems.append(f"step_many said {said[0]}, and the twin {said[1]}")

    def _sample(self) -> dict[Any, Any]:
        rng = self._rng
        x: dict[Any, Any] = {
            name: rng.gauss(0.0, 1.0) if rng.random() < 0.8 else rng.choice(GOOD_NUMBERS)
            for name in NUMBERS
            if rng.random() < 0.7
        }
        x.update({name: rng.choice(GOOD_TEXTS) for name in TEXTS if rng.random() < 0.5})
        return x

    def _frame(self) -> Any:
        rng = self._rng
        numbers = [rng.gauss(0.0, 1.0) if rng.random() < 0.9 else math.nan for _ in range(3)]
        words = [rng.choice(("red", "blue", "green", None)) for _ in range(3)]
        kind = rng.choice((pd.DataFrame, pl.DataFrame))
        return kind({"a": numbers, "w": words} if rng.random() < 0.7 else {"a": numbers, "b": numbers})

    # ----------------------------------------------------------------------------------------------
    # Wrong calls: what they are, and the call
    # ----------------------------------------------------------------------------------------------

    def _bad_sample(self) -> tuple[str, Callable[[], Any]]:
        rng = self._rng
        x: Any
        if (kind := rng.random()) < 0.15:
            x = rng.choice(BAD_SAMPLES)
        else:
            x = self._sample()
            if rng.random() < 0.5:
                x["brand new"], x["w"] = rng.choice((1.0, "text")), "a new value"
            if kind < 0.7:
                x[rng.choice([*NUMBERS, *TEXTS, "another"])] = rng.choice(BAD_VALUES)
            elif kind < 0.85:
                x[rng.choice(BAD_NAMES)] = 1.0
            elif kind < 0.93:
                x[rng.choice(("a", "b"))] = rng.choice(("text", "1", ""))
            else:
                x[rng.choice(("w", "v"))] = rng.choice((1, 2.5, True))
        y = rng.choice((*GOOD_LABELS, "a new class"))
        method = rng.choice(("learn_one", "learn_one", "predict_one", "predict_proba_one"))
        arguments = (x, y) if method == "learn_one" else (x,)
        return f"{method}{arguments!r:.200}", lambda: getattr(self.model, method)(*arguments)

    def _bad_label(self) -> tuple[str, Callable[[], Any]]:
        x, y = self._sample() | {"brand new": 1.0}, self._rng.choice(BAD_LABELS)
        return f"learn_one({x!r:.200}, {_text(y)})", lambda: self.model.learn_one(x, y)

    def _bad_weight(self) -> tuple[str, Callable[[], Any]]:
        x, w = self._sample() | {"brand new": 1.0}, self._rng.choice(BAD_WEIGHTS)
        return f"learn_one(..., w={w!r})", lambda: self.model.learn_one(x, "a new class", w=w)

    def _bad_frame(self) -> tuple[str, Callable[[], Any]]:
        rng = self._rng
        kind = rng.randrange(4)
        if kind == 0:
            y = rng.choice(BAD_COLUMNS)
            return f"learn_many(..., {_text(y)})", lambda: self.model.learn_many(self._frame(), y)
        X = rng.choice(BAD_FRAMES if kind == 1 else BAD_TO_LEARN)
        if kind == 1:
            return f"predict_many({_text(X)})", lambda: self.model.predict_many(X)
        if kind == 2:
            w = rng.choice([[1.0, -1.0, 1.0], [1.0], [1.0, math.nan, 2.0], "abc", [1.0, "x", 2.0]])
            labels = ["x", "y", "a new class"]
            return f"learn_many(..., w={w!r})", lambda: self.model.learn_many(self._frame(), labels, w=w)
        return f"learn_many({_text(X)}, ...)", lambda: self.model.learn_many(X, ["x", 3, "a new class"])

    def _bad_block(self) -> tuple[str, Callable[[], Any]]:
        X, y = np.ones((3, 2)), np.array([0, 1, 2])
        given: dict[str, Any] = {
            "X": X, "y": y, "names": ["a", "w"], "values": [None, ["red", "a new value"]],
            "classes": ["x", 3, "a new class"],
        }  # fmt: skip
        name, value = self._rng.choice([
            ("X", np.array([[1.0, 0.0], [math.inf, 0.0], [1.0, 0.0]])), ("X", np.full((3, 2), 2.0)), ("X", X[:2]),
            ("X", X.astype(object)), ("X", X[:, :1]),
            ("X", np.array([[1.0, 0.0], [1.0, -1.0], [1.0, 0.0]])), ("X", np.array([[1.0, 0.5]] * 3)),
            ("X", X[0]), ("X", None), ("X", "text"),
            ("X", X * 1j), ("y", np.array([0, 1, 3])), ("y", np.array([0, 1, -1])), ("y", y[:2]), ("y", None),
            ("y", np.array([0.5, 1.0, 2.0])), ("y", np.array(["x", "y", "z"])), ("y", y.reshape(3, 1)),
            ("names", ["a"]), ("names", ["a", "a"]), ("names", ["a", [1]]), ("names", ["a", math.nan]), ("names", None),
            ("names", ["w", "a"]), ("values", [None]), ("values", [None, None]), ("values", [["red", "blue"], None]),
            ("values", [None, [1, 2]]), ("values", [None, ["red", [1]]]), ("classes", ["x", 3]),
            ("classes", ["x", None, "y"]), ("classes", ["x", [1], "y"]), ("classes", ["x", math.nan, "y"]),
            ("w", [1.0, -1.0, 1.0]), ("w", [1.0]), ("w", "abc"),
        ])  # fmt: skip
        given |= {name: value}
        return f"step_many(..., {name}={_text(value)})", lambda: self.model.step_many(
            given.pop("X"), given.pop("y"), **given
        )

    def _bad_file(self) -> tuple[str, Callable[[], Any]]:
        content, rng = bytearray(self.model.to_bytes()), self._rng
        if rng.random() < 0.5:
            return "from_bytes(a part)", lambda: saving.from_bytes(
                bytes(content[: rng.randrange(len(content))])
            )
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        same = self.model.digest()

        def read() -> None:
            if saving.from_bytes(bytes(content)).digest() == same:
                raise ValueError("a byte that says nothing about the model")

        return "from_bytes(a flipped bit)", read

    def _bad_state(self) -> tuple[str, Callable[[], Any]]:
        state: Any = self.model.state()
        part = self._rng.choice([name for name in state if name != "arguments"])
        change = self._rng.randrange(4)
        if change == 0 and part not in self.model.LATER:  # a state of an earlier version lacks those
            del state[part]
        elif change <= 1:
            state["more"] = {}
        elif change == 2:
            state[part] = self._rng.choice((None, [], {}, 3))
        else:
            name = self._rng.choice(list(state[part]))
            state[part][name] = object()
        return f"restore(a state with a wrong {part})", lambda: self.model.restore(state)

    def _bad_clone(self) -> tuple[str, Callable[[], Any]]:
        changed = self._rng.choice(
            [{"n_experts": 0}, {"n_experts": "two"}, {"seed": "x"}, {"batch_size": -1}]
        )
        return f"clone({changed!r})", lambda: self.model.clone(changed)


def _text(value: Any) -> str:
    try:
        return " ".join(repr(value).split())[:200]
    except Exception:  # of a test's own values
        return type(value).__name__


def refused(
    make: Callable[[], Any], n_refused: int, *, seed: int = 1, every: int = 100
) -> tuple[int, int, list[str]]:
    """Make calls until so many were wrong; return how many, how many did harm, and what they were.

    Parameters
    ----------
    make
        Makes a new model.
    n_refused
        Wrong calls to make.
    seed
        Of the calls.
    every
        Wrong calls between two looks at the digests.
    """
    fuzzer = Fuzzer(make, seed)
    while fuzzer.n_refused < n_refused:
        if fuzzer.call() and fuzzer.n_refused % every == 0:
            fuzzer.check()
    fuzzer.check()
    return fuzzer.n_refused, len(fuzzer.problems), fuzzer.problems
