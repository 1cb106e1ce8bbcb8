"""Learning under interrupts, failing allocations and use by several threads.

Each model learns a stream on which new features, text values and classes keep appearing. After each fault the model
must be as it was before the sample or as it is after it. In the end it must give exactly the probabilities of an
undisturbed model.
"""

from __future__ import annotations

import copy
import hashlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import FrameType
from typing import Any
from unittest import mock

import numpy as np

import driftmoe
from driftmoe import DriftMoEClassifier
from driftmoe.nn.classifier import NeuralMoEClassifier
from driftmoe.trees import HoeffdingTreeClassifier

SIZES: dict[str, Any] = {"hidden": (16, 8), "batch_size": 8, "seed": 1}

MODELS: dict[str, Callable[..., Any]] = {
    "driftmoe": lambda **others: DriftMoEClassifier(n_experts=4, memory=256, **SIZES, **others),
    "driftmoe, products": lambda **others: DriftMoEClassifier(
        n_experts=2, extras=("products", "sequence"), **SIZES, **others
    ),
    "moe-vote": lambda **others: DriftMoEClassifier("moe-vote", n_experts=4, **SIZES, **others),
    "moe-data": lambda **others: DriftMoEClassifier("moe-data", n_experts=4, **SIZES, **others),
    "moe-data, corrected": lambda **others: DriftMoEClassifier(
        "moe-data", n_experts=4, correction=0.05, dropout=0.3, **SIZES, **others
    ),
    "moe-task": lambda **others: DriftMoEClassifier("moe-task", **SIZES, **others),
    "neural": lambda: NeuralMoEClassifier(n_experts=3, expert_hidden=(8,), **SIZES),
    "tree": lambda: HoeffdingTreeClassifier(grace_period=20, delta=0.5),
}

ALLOCATING = (
    "array", "zeros", "empty", "ones", "full", "arange", "append", "concatenate", "hstack", "pad", "repeat",
    "empty_like", "zeros_like", "ones_like", "ascontiguousarray",
)  # fmt: skip
"""Functions of numpy that ask for memory."""


PACKAGE = os.path.dirname(driftmoe.__file__)


class AlarmError(Exception):
    """What the alarm raises, as Ctrl-C raises KeyboardInterrupt."""


class Alarm:
    """An alarm that raises AlarmError once, and only while it is set.

    A signal may reach a process just before its timer is stopped, and its handler run some lines later: another thread
    may take it. Such a late alarm raises nothing.
    """

    def __init__(self) -> None:
        self._is_set = False

    def __enter__(self) -> Alarm:
        self._before = signal.signal(signal.SIGALRM, self._ring)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        signal.signal(signal.SIGALRM, self._before)

    def set(self, seconds: float) -> None:
        """Ring after some seconds."""
        self._is_set = True
        signal.setitimer(signal.ITIMER_REAL, seconds)

    def stop(self) -> None:
        """Ring no more. An alarm that goes off before this returns still raises."""
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        self._is_set = False

    def _ring(self, *_: object) -> None:
        if self._is_set:
            self._is_set = False
            raise AlarmError


def growing(n_samples: int, *, seed: int = 1, every: int = 50) -> list[tuple[dict[str, Any], str]]:
    """Return labelled samples, every fiftieth of which brings a new feature, text value or class."""
    rng = np.random.default_rng(seed)
    samples = []
    for i in range(n_samples):
        n_new = i // every
        x: dict[str, Any] = {f"number {f}": float(rng.normal()) for f in range(2 + n_new // 3)}
        x["text"] = f"value {rng.integers(2 + n_new // 3)}"
        y = int(x["number 0"] > 0.0) + (2 + i % (1 + n_new // 3) if x["number 1"] > 1.0 else 0)
        samples.append((x, f"class {y}"))
    return samples


def digest(model: Any, samples: list[tuple[dict[str, Any], str]]) -> str:
    """Return the SHA-256 of what a model says of some samples."""
    said = hashlib.sha256()
    for x, _ in samples:
        for label, probability in model.predict_proba_one(x).items():
            said.update(f"{label}={probability.hex()};".encode())
    return said.hexdigest()


def interrupted(make: Callable[..., Any], n_interrupts: int, seed: int = 1) -> tuple[int, int]:
    """Let a model learn while alarms go off at random; return alarms that came through, and corrupted models.

    Whether a sample was learnt is known from a copy made before: a model that is neither as it was nor has learnt the
    sample is corrupted.
    """
    rng, samples, model, alone = np.random.default_rng(seed), growing(10 * n_interrupts), make(), make()
    probes = samples[:: max(1, len(samples) // 40)]
    n_raised = i = 0
    with Alarm() as alarm:
        for x, y in samples[:5]:  # compiles
            model.learn_one(x, y)
            alone.learn_one(x, y)
        i, took = 5, 1e-4
        while n_raised < n_interrupts and i < len(samples):
            x, y = samples[i]
            started = time.perf_counter()
            try:
                alarm.set(rng.uniform(1e-6, 1.5 * took))
                model.learn_one(x, y)
                alarm.stop()
            except AlarmError:
                n_raised += 1
                if n_raised % 10 == 0 or not _has_counter(model):  # every tenth is looked at closely
                    said = digest(model, probes)
                    if said == digest(alone, probes) and not _has_learnt(model, alone):
                        continue
                elif not _has_learnt(model, alone):
                    continue
            else:
                took = 0.9 * took + 0.1 * (time.perf_counter() - started)
            alone.learn_one(x, y)
            i += 1
            if n_raised % 10 == 0 and digest(model, probes[:5]) != digest(alone, probes[:5]):
                return n_raised, 1
    return n_raised, int(digest(model, probes) != digest(alone, probes))


def interrupted_blocks(make: Callable[..., Any], n_interrupts: int, seed: int = 1) -> tuple[int, int]:
    """As `interrupted`, of blocks: an interrupt is put off until the last row, so that each block is learnt whole."""
    import pandas as pd

    rng, model, alone = np.random.default_rng(seed), make(), make()
    n_raised, took = 0, 5e-3
    frames = []
    for start in range(0, 40 * 40, 40):
        rows = growing(40, seed=start, every=4)
        frames.append((pd.DataFrame([x for x, _ in rows]), [y for _, y in rows]))
    with Alarm() as alarm:
        for i in range(3 * n_interrupts):
            X, y = frames[i % len(frames)]
            started = time.perf_counter()
            try:
                if i:
                    alarm.set(rng.uniform(1e-3, took))
                model.learn_many(X, y)
                alarm.stop()
            except AlarmError:
                n_raised += 1
                if not _has_counter(model) or model.routing_report().cumulative.n_samples == 40 * i:
                    model.learn_many(X, y)  # it came before the first row
            else:
                took = 0.9 * took + 0.1 * (time.perf_counter() - started) if i else took
            alone.learn_many(X, y)
            if n_raised == n_interrupts:
                break
    probes = growing(40)
    return n_raised, int(digest(model, probes) != digest(alone, probes))


def starved(
    make: Callable[..., Any], sample: tuple[dict[str, Any], str], learnt: int = 200
) -> tuple[int, int]:
    """Let each allocation of learning one sample fail in turn; return failures, and corrupted models."""
    return _broken_off(make, lambda model: model.learn_one(*sample), learnt, _failing, MemoryError)


def stopped(
    make: Callable[..., Any], sample: tuple[dict[str, Any], str], learnt: int = 200
) -> tuple[int, int]:
    """Let an interrupt come before each line of Python code in turn; return interrupts, and corrupted models."""
    return _broken_off(make, lambda model: model.learn_one(*sample), learnt, _stopping, AlarmError)


def stopped_block(make: Callable[..., Any], n_rows: int = 10, learnt: int = 200) -> tuple[int, int]:
    """As `stopped`, of a block whose rows bring new things."""
    import pandas as pd

    rows = growing(n_rows, seed=3, every=3)
    X, y = pd.DataFrame([x for x, _ in rows]), [y for _, y in rows]
    return _broken_off(make, lambda model: model.learn_many(X, y), learnt, _stopping, AlarmError)


def _broken_off(
    make: Callable[..., Any],
    learn: Callable[[Any], None],
    learnt: int,
    breaking: Callable[[int], AbstractContextManager[None]],
    kind: type[BaseException],
) -> tuple[int, int]:
    samples = growing(learnt)
    probes = samples[:: max(1, learnt // 20)]
    model = make()
    for x, y in samples:
        model.learn_one(x, y)
    was = digest(model, probes)
    once = copy.deepcopy(model)
    learn(once)
    becomes = digest(once, probes)
    n_broken = n_corrupted = 0
    while True:
        broken = copy.deepcopy(model)
        try:
            with breaking(n_broken):
                learn(broken)
        except kind:
            n_broken += 1
            said = digest(broken, probes)
            if said == was and not _has_learnt(broken, model):
                learn(broken)
                said = digest(broken, probes)
            elif not _has_learnt(broken, model):
                n_corrupted += 1
            n_corrupted += said != becomes
        else:
            return n_broken, n_corrupted


def shared(make: Callable[..., Any], seconds: float, n_threads: int = 8) -> tuple[int, int]:
    """Let threads predict, learn, copy and report beside each other; return calls, and calls that were wrong."""
    model, samples = make(), growing(5000)
    until, wrong = time.monotonic() + seconds, []
    calls = [0] * n_threads

    def work(number: int) -> None:
        rng = np.random.default_rng(number)
        i = number
        while time.monotonic() < until:
            x, y = samples[i % len(samples)]
            i += n_threads
            try:
                if number < 2:
                    model.learn_one(x, y)
                elif number == 2 and rng.random() < 0.05:
                    copy.deepcopy(model).learn_one(x, y)
                else:
                    proba = model.predict_proba_one(x)
                    total = sum(proba.values())
                    if proba and not (abs(total - 1.0) < 1e-9 and min(proba.values()) >= 0.0) and total:
                        wrong.append(f"probabilities {proba}")
            except Exception as error:  # whatever it is, the table counts it
                wrong.append(repr(error))
            calls[number] += 1

    threads = [threading.Thread(target=work, args=(number,)) for number in range(n_threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for problem in wrong[:3]:
        print("   ", problem)
    return sum(calls), len(wrong)


def _has_counter(model: Any) -> bool:
    return hasattr(model, "routing_report")


def _has_learnt(model: Any, alone: Any) -> bool:
    """Whether a model has learnt more than another."""
    if _has_counter(model):
        n, m = (each.routing_report().cumulative.n_samples for each in (model, alone))
        return bool(n > m)
    return model._pool.n_nodes.tolist() != alone._pool.n_nodes.tolist() or float(
        model._pool._storage.class_stats[:, 0].sum()
    ) > float(alone._pool._storage.class_stats[:, 0].sum())


@contextmanager
def _failing(number: int) -> Iterator[None]:
    """Let the allocation with this number fail, counted from 0."""
    left = [number]

    def failing(function: Callable[..., Any]) -> Callable[..., Any]:
        def allocate(*arguments: Any, **others: Any) -> Any:
            left[0] -= 1
            if left[0] == -1:
                raise MemoryError
            return function(*arguments, **others)

        return allocate

    with mock.patch.multiple(np, **{name: failing(getattr(np, name)) for name in ALLOCATING}):
        yield


@contextmanager
def _stopping(number: int) -> Iterator[None]:
    """Interrupt before the line with this number, counted from 0, of all the lines of this project's own code."""
    left = [number]

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        if PACKAGE not in frame.f_code.co_filename or frame.f_code.co_name == "alone":
            return None  # no signal comes between the plain statements of `driftmoe.transaction.learning`
        if event == "line":
            left[0] -= 1
            if left[0] == -1:
                raise AlarmError
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)
