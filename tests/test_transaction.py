"""All or nothing, and one at a time: interrupts, failing allocations, threads, processes."""

from __future__ import annotations

import copy
import multiprocessing
import os
import pickle
import select
import signal
import subprocess
import sys
from contextlib import suppress
from functools import partial
from threading import Thread
from unittest.mock import MagicMock

import numpy as np
import pandas as pd
import pytest
from places import ROOT
from river import naive_bayes

from benchmarks import faults
from driftmoe import DriftMoEClassifier, transaction
from driftmoe.transaction import TRIES, OneAtATime, carry_out, chained

NEW = (
    {"number 0": 1.0, "a new number": 2.0, "a new text": "value", "text": "a new value"},
    "a new class",
)
needs_alarms = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no alarms on this system")
# A tool that looks on while garbage is collected may be what an alarm interrupts; Python passes over it then.
within_callbacks = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
MODELS = pytest.mark.parametrize("name", faults.MODELS)


def learnt(name, n_samples=150):
    model = faults.MODELS[name]()
    for x, y in faults.growing(n_samples):
        model.learn_one(x, y)
    return model


def test_changes_are_made_in_order():
    done = []
    carry_out([partial(done.append, i) for i in range(5)])
    assert done == [0, 1, 2, 3, 4]


def test_an_exception_in_between_is_raised_after_the_last_change():
    done, raises = [], iter([KeyboardInterrupt("now"), None])

    def interrupted():
        if (error := next(raises)) is not None:
            raise error
        done.append("in the end")

    with pytest.raises(KeyboardInterrupt, match="now"):
        carry_out([partial(done.append, "first"), interrupted, partial(done.append, "last")])
    assert done == ["first", "in the end", "last"]


def test_of_several_exceptions_the_last_shows_those_before():
    errors = [ValueError("one"), KeyError("two"), KeyboardInterrupt("three")]
    raises = iter([*errors, None])

    def interrupted():
        if (error := next(raises)) is not None:
            raise error

    with pytest.raises(KeyboardInterrupt, match="three") as raised:
        carry_out([interrupted])
    assert [raised.value.__context__, raised.value.__context__.__context__] == errors[1::-1]


def test_exceptions_with_contexts_of_their_own_lose_none_of_those_before():
    raises = iter([ValueError("one"), KeyError("two"), ValueError("three")])

    def raise_within_a_handler():
        if (error := next(raises, None)) is not None:
            try:
                raise LookupError(f"before {error}")
            except LookupError:
                raise error  # noqa: B904  # its context is what this is about

    with pytest.raises(ValueError, match="three") as raised:
        carry_out([raise_within_a_handler])
    said, error = [], raised.value
    while error is not None:
        said.append(str(error))
        error = error.__context__
    assert said == ["three", "before three", "'two'", "before 'two'", "one", "before one"]


def test_what_several_experts_raise_is_all_in_the_traceback():
    class Touchy(naive_bayes.GaussianNB):
        def learn_one(self, x, y):
            super().learn_one(x, y)
            raise ValueError(f"I do not like this, nor do {id(self)}")

    model = DriftMoEClassifier("moe-vote", expert=Touchy(), n_experts=3, top_k=3, seed=1)
    with pytest.raises(ValueError, match="nor do") as raised:
        model.learn_one({"a": 1.0}, "yes")
    said, error = set(), raised.value
    while error is not None:
        said.add(str(error))
        error = error.__context__
    assert len(said) == 3
    assert model.routing_report().cumulative.n_samples == 1


@pytest.mark.parametrize("where", ["iter", "map", "any", "length_hint"])
@pytest.mark.parametrize("n_interrupts", [1, 2, 3])
@pytest.mark.parametrize("at", [0, 2, 4, None])
def test_each_change_is_made_once_wherever_an_interrupt_comes(monkeypatch, where, n_interrupts, at):
    """Signals are handled when a call returns: before the first change, after the last, or within one in Python."""
    function = {"iter": iter, "map": map, "any": any, "length_hint": transaction.length_hint}[where]
    left, done = [n_interrupts], []

    def interrupted(*arguments):
        result = function(*arguments)
        if left[0]:
            left[0] -= 1
            raise KeyboardInterrupt
        return result

    def in_python(number, tries):
        tries.append(1)
        if len(tries) == 1:
            raise KeyboardInterrupt
        done.append(number)

    changes = [partial(in_python, i, []) if i == at else partial(done.append, i) for i in range(5)]
    monkeypatch.setattr(transaction, where, interrupted, raising=False)
    while not done:  # where the first of all calls is interrupted nothing has been changed
        with suppress(KeyboardInterrupt):
            carry_out(changes)
    assert done == [0, 1, 2, 3, 4]


def test_a_change_that_can_never_be_made_is_given_up():
    tried = []

    def fails():
        tried.append(1)
        raise OSError("full")

    with pytest.raises(OSError, match="full"):
        carry_out([fails])
    assert len(tried) == TRIES


def test_a_kernel_without_room_is_no_secret():
    with pytest.raises(RuntimeError, match="ran out of reserved memory"):
        carry_out([lambda: True])


@needs_alarms
def test_an_alarm_that_comes_late_raises_nothing():
    """The system may run the handler after the timer was stopped, where another thread took the signal."""
    with faults.Alarm() as alarm:
        alarm.set(60.0)
        with pytest.raises(faults.AlarmError):
            signal.raise_signal(signal.SIGALRM)
        signal.raise_signal(signal.SIGALRM)
        alarm.set(60.0)
        alarm.stop()
        signal.raise_signal(signal.SIGALRM)


@needs_alarms
@within_callbacks
@MODELS
def test_a_thousand_interrupts_leave_each_sample_learnt_or_not(name):
    tried, corrupted = faults.interrupted(faults.MODELS[name], 1000)
    assert (tried, corrupted) == (1000, 0)


@needs_alarms
@within_callbacks
@pytest.mark.parametrize("name", ["driftmoe", "moe-data, corrected", "moe-task"])
def test_a_block_is_learnt_whole_whatever_interrupts_it(name):
    tried, corrupted = faults.interrupted_blocks(faults.MODELS[name], 30)
    assert corrupted == 0
    assert tried == 30


@needs_alarms
@within_callbacks
def test_a_block_that_threads_share_is_learnt_whole_whatever_interrupts_it(monkeypatch):
    monkeypatch.setattr("driftmoe.mixture.adaptive.N_TOO_FEW", 1)
    monkeypatch.setattr("driftmoe.trees.planning.MIN_SHARED", 1)
    make = partial(faults.MODELS["driftmoe"], n_threads=2)
    assert faults.interrupted_blocks(make, 30) == (30, 0)
    tried, corrupted = faults.stopped_block(make, n_rows=6, learnt=40)
    assert corrupted == 0
    assert tried > 100


SAMPLES = pytest.mark.parametrize(
    "sample", [NEW, faults.growing(150)[-1]], ids=["new schema", "known schema"]
)


@MODELS
@SAMPLES
def test_before_whatever_line_an_interrupt_comes_the_sample_is_learnt_or_not(name, sample):
    tried, corrupted = faults.stopped(faults.MODELS[name], sample, learnt=150)
    assert corrupted == 0
    assert tried > 25


@pytest.mark.parametrize("name", [name for name in faults.MODELS if name != "tree"])
def test_before_whatever_line_an_interrupt_comes_a_block_is_learnt_whole_or_not(name):
    tried, corrupted = faults.stopped_block(faults.MODELS[name], n_rows=6, learnt=40)
    assert corrupted == 0
    assert tried > 100


@MODELS
@SAMPLES
def test_whatever_allocation_fails_the_model_is_as_it_was(name, sample):
    tried, corrupted = faults.starved(faults.MODELS[name], sample, learnt=150)
    assert corrupted == 0
    assert tried > 4


def test_a_block_that_runs_out_of_memory_says_which_rows_it_has_learnt(monkeypatch):
    import pandas as pd

    model, rows = learnt("moe-data", 8), faults.growing(40)
    plan_inputs, calls = type(model._encoder).plan_inputs, []

    def fails(self, *arguments):
        calls.append(1)
        if len(calls) > 2:
            raise MemoryError
        return plan_inputs(self, *arguments)

    monkeypatch.setattr(type(model._encoder), "plan_inputs", fails)
    with pytest.raises(MemoryError) as raised:
        model.learn_many(pd.DataFrame([x for x, _ in rows]), [y for _, y in rows])
    n_learnt = model.routing_report().cumulative.n_samples - 8
    assert raised.value.__notes__ == [f"rows 0 to {n_learnt - 1} of 40 have been learnt, the others have not"]


@MODELS
def test_threads_that_predict_learn_and_copy_never_meet_half_a_model(name):
    calls, wrong = faults.shared(faults.MODELS[name], seconds=1.5)
    assert wrong == 0
    assert calls > 8


def test_trees_shared_by_threads_are_met_whole_too():
    _, wrong = faults.shared(partial(faults.MODELS["driftmoe"], n_threads=2), seconds=2.0)
    assert wrong == 0


def test_a_learner_waits_for_the_one_at_work():
    model, order = learnt("moe-data", 20), []
    with model._lock:
        other = Thread(target=lambda: (model.learn_one(*NEW), order.append("learnt")))
        other.start()
        other.join(0.2)
        assert order == []
    other.join(10)
    assert order == ["learnt"]


def test_learning_takes_the_lock_once():
    model, lock = learnt("moe-data", 20), MagicMock()
    model._lock = lock
    model.learn_one({"a": 1.0}, "yes")
    model.learn_many(pd.DataFrame({"a": [1.0, 2.0]}), ["yes", "no"])
    model.step_many(np.zeros((2, 1)), np.zeros(2, int), names=["a"], values=[None], classes=["no"])
    assert lock.__enter__.call_count == lock.__exit__.call_count == 3


def test_a_tree_takes_the_lock_once_to_learn():
    tree, lock = learnt("tree", 20), MagicMock()
    tree._lock = lock
    tree.learn_one({"a": 1.0}, "yes")
    tree.learn_one({"a": 2.0}, "yes", w=0.0)
    assert lock.__enter__.call_count == lock.__exit__.call_count == 2


def _learns(model, seed, answers):
    for x, y in faults.growing(60, seed=seed):
        model.learn_one(x, y)
    answers.put((seed, faults.digest(model, faults.growing(20))))


@MODELS
@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_a_model_that_was_sent_to_a_process_is_a_copy(name, start):
    if start not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {start} on this system")
    if start == "spawn" and name not in ("driftmoe", "neural", "tree"):
        pytest.skip("each spawned process imports all anew: three kinds of models stand for all")
    import torch.multiprocessing as of_torch

    model, probes = learnt(name, 60), faults.growing(20)
    before = faults.digest(model, probes)
    context = of_torch.get_context(start)  # its queues hand over tensors by reference
    answers = context.Queue()
    children = [context.Process(target=_learns, args=(model, seed, answers)) for seed in (5, 6, 7, 8)]
    for child in children[: 4 if start == "fork" else 2]:
        child.start()
    said = dict(answers.get(timeout=300) for child in children if child.pid)
    for child in children:
        if child.pid:
            child.join()
    assert faults.digest(model, probes) == before
    assert len({before, *said.values()}) == len(said) + 1
    for seed, answer in said.items():
        alone = copy.deepcopy(model)
        for x, y in faults.growing(60, seed=seed):
            alone.learn_one(x, y)
        assert faults.digest(alone, probes) == answer


@MODELS
def test_copies_and_pickles_go_on_as_the_model_does(name):
    model = learnt(name)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        for x, y in faults.growing(30, seed=3):
            other.learn_one(x, y)
    for x, y in faults.growing(30, seed=3):
        model.learn_one(x, y)
    assert faults.digest(model, faults.growing(20)) == faults.digest(other, faults.growing(20))


@MODELS
@pytest.mark.parametrize(
    "x", [NEW[0], {}, {"number 0": None, "text": "value 0"}], ids=["new", "empty", "missing"]
)
def test_predicting_changes_no_part(name, x):
    model = learnt(name)
    before = {part: pickle.dumps(value) for part, value in model._state().items()}
    model.predict_proba_one(x)
    model.predict_one(x)
    after = {part: pickle.dumps(value) for part, value in model._state().items()}
    assert [part for part in before if before[part] != after[part]] == []


def test_predicting_a_frame_changes_no_part():
    import pandas as pd

    model = learnt("driftmoe")
    before = {part: pickle.dumps(value) for part, value in model._state().items()}
    model.predict_proba_many(pd.DataFrame({"number 0": [1.0, 2.0], "number 1": [0.0, 1.0]}))
    model.predict_many(pd.DataFrame([NEW[0]]))
    after = {part: pickle.dumps(value) for part, value in model._state().items()}
    assert [part for part in before if before[part] != after[part]] == []


@MODELS
@needs_alarms
@within_callbacks
def test_a_signal_handler_may_ask_but_not_teach_a_model_that_learns(name):
    """A handler that lets the model learn is refused by name wherever it comes, and does no harm."""
    model, refused = learnt(name), []
    new = iter(faults.growing(4000, seed=9, every=3))

    def teach(*_):
        try:
            model.predict_proba_one(NEW[0])
            model.learn_one(*next(new))
        except RuntimeError as error:
            refused.append(str(error))

    before = signal.signal(signal.SIGALRM, teach)
    try:
        for x, y in faults.growing(3000, seed=4):
            signal.setitimer(signal.ITIMER_REAL, 2e-5)
            model.learn_one(x, y)
            signal.setitimer(signal.ITIMER_REAL, 0.0)
            if len(refused) >= 20:
                break
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
    assert refused[0].startswith("learn_one was called while the model is learning")
    proba = model.predict_proba_one(NEW[0])
    assert sum(proba.values()) == pytest.approx(1.0)
    model.learn_one(*NEW)
    assert NEW[1] in model.predict_proba_one(NEW[0])


def test_an_expert_that_teaches_its_model_is_refused():
    class Cunning(naive_bayes.GaussianNB):
        def learn_one(self, x, y):
            super().learn_one(x, y)
            model.learn_one(x, "more")

    model = DriftMoEClassifier("moe-vote", expert=Cunning(), n_experts=1, top_k=1, seed=1)
    with pytest.raises(
        RuntimeError, match="by a signal handler or by one of its own experts; note the sample"
    ):
        model.learn_one({"a": 1.0}, "yes")
    assert model.predict_proba_one({"a": 1.0}) == {"yes": 1.0}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.parametrize("name", ["driftmoe", "moe-data", "tree"])
def test_a_process_that_is_forked_beside_a_learner_has_the_model_whole(name):
    model, rows, goes_on = learnt(name), faults.growing(3000), [True]

    def learn():
        while goes_on:
            for x, y in rows[: len(goes_on) * 200]:
                model.learn_one(x, y)

    learner = Thread(target=learn)
    learner.start()
    try:
        for _ in range(10):
            reader, writer = os.pipe()
            child = os.fork()
            if child == 0:
                said = sum(model.predict_proba_one(NEW[0]).values())
                model.learn_one(*rows[0])
                os.write(writer, b"whole" if abs(said - 1.0) < 1e-9 else b"broken")
                os._exit(0)
            os.close(writer)
            with os.fdopen(reader, "rb") as answers:
                assert select.select([answers], [], [], 30)[0], "the child hangs"
                assert answers.read() == b"whole"
            os.waitpid(child, 0)
    finally:
        goes_on.clear()
        learner.join()


def test_a_lock_is_no_part_of_a_model():
    class Counter(OneAtATime):
        n = 0

    counter = Counter()
    counter.n = 3
    assert copy.deepcopy(counter).n == 3
    assert copy.deepcopy(counter)._lock is not counter._lock


@pytest.mark.slow
def test_kernels_stay_within_their_arrays():
    """Under numba's bounds checks and a debugging allocator, while the schema grows."""
    code = (
        "from benchmarks import faults;"
        "print([faults.starved(make, faults.growing(60)[-1], learnt=60)[1] for make in faults.MODELS.values()])"
    )
    checks = {"NUMBA_BOUNDSCHECK": "1", "PYTHONMALLOC": "debug"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | checks,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [
        str([0] * len(faults.MODELS)).split()[i] for i in range(len(faults.MODELS))
    ]


def test_arrays_that_do_not_fit_are_refused_at_the_door():
    model = learnt("moe-data")
    n_inputs = model._mixture.router.n_inputs
    with pytest.raises(ValueError, match="inputs of shape"):
        model._mixture.router.logits(np.zeros((1, n_inputs - 1), np.float32))


def test_errors_that_are_raised_while_handling_the_same_one_form_a_chain_without_a_ring():
    raised = []
    try:
        raise KeyError("outer")
    except KeyError:
        for i in range(4):
            try:
                raise ValueError(i)
            except ValueError as error:
                raised.append(error)
    last, found = chained(raised), []
    while last is not None and len(found) < 10:
        found.append(last.args[0])
        last = last.__context__
    assert found == [3, 2, 1, 0, "outer"]
