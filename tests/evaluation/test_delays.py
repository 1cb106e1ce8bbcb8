"""Late labels: when they come, with which sample, and what they cost."""

from __future__ import annotations

import numpy as np
import pytest
from river import metrics
from simple_models import Memory, Recorder, numbered

import streams
from driftmoe import models
from driftmoe.evaluation import prequential


@pytest.mark.parametrize("name", ["nb", "ht", "nochange"])
@pytest.mark.parametrize("delay", [1, 30, 1000])
def test_accuracy_with_late_labels_equals_river_on_the_same_stream(name, delay):
    """river's delay of 1 is no delay here; what it learns after the end is in no figure."""
    from river import evaluate

    stream = list(streams.make("sea_a", seed=1, n_samples=2000))
    *_, last = prequential(stream, models.make(name), delay=delay, metrics=metrics.MacroF1())
    theirs = metrics.Accuracy() + metrics.MacroF1()
    evaluate.progressive_val_score(stream, models.make(name), theirs, delay=delay + 1)
    assert [last.cumulative["accuracy"], last.cumulative["MacroF1"]] == pytest.approx(theirs.get())
    assert (last.n_samples, last.n_warm_up, last.n_counted) == (2000, delay + 1, 1999 - delay)


@pytest.mark.parametrize("delay", [0, 1, 4])
def test_a_label_comes_after_the_samples_of_its_delay_and_with_its_own_sample(delay):
    model = Recorder()
    list(prequential(numbered(10), model, delay=delay))
    expected = []
    for i in range(10):
        expected.append(("predict", i))
        if i >= delay:
            expected.append(("learn", i - delay, f"label {i - delay}"))
    assert model.calls == expected


@pytest.mark.parametrize("delay", [0, 1, 5, (0, 5), (2, 9)])
def test_a_model_that_memorises_gains_nothing_from_labels_to_come(delay):
    """Each sample comes five times, two samples apart: what a memory can know is when the first label is there."""
    numbers = [i // 2 // 5 * 2 + i % 2 for i in range(200)]
    rows = [({"i": number}, f"label {number}") for number in numbers]
    (*_, last) = prequential(rows, Memory(), delay=delay, keep_predictions=True, seed=1)
    if isinstance(delay, int):
        comes = [i + delay for i in range(200)]
        known = [any(comes[j] < i for j in range(i) if numbers[j] == numbers[i]) for i in range(200)]
        assert [y == p for y, p in last.predictions] == known
        assert last.cumulative["accuracy"] == pytest.approx(sum(known) / (200 - delay - 1))
    assert all(p in (None, y) for y, p in last.predictions)
    first = {number: i for i, number in reversed(list(enumerate(numbers)))}
    assert all(last.predictions[i][1] is None for i in first.values())


def test_a_memory_knows_a_delayed_label_after_the_delay_and_not_before():
    """Each sample comes again after 1001 samples: a delay of 1000 lets its label come first, one of 1001 does not."""
    numbers = [*range(1001), *range(1001), *range(1001)]
    rows = [({"i": number}, f"label {number}") for number in numbers]
    *_, at_once = prequential(rows, Memory(), delay=0, window=1001)
    late = list(prequential(rows, Memory(), delay=1000, window=1001))
    too_late = list(prequential(rows, Memory(), delay=1001, window=1001))
    assert at_once.cumulative["accuracy"] == pytest.approx(2002 / 3002)
    assert [c.n_window_counted for c in late] == [0, 1001, 1001]
    assert [c.window["accuracy"] for c in late[1:]] == [1.0, 1.0]
    assert [c.n_window_counted for c in too_late] == [0, 1000, 1001]
    assert [c.window["accuracy"] for c in too_late[1:]] == [0.0, 1.0]


def test_random_delays_are_between_their_bounds_and_follow_the_seed():
    def order(seed):
        model = Recorder()
        list(prequential(numbered(300), model, delay=(2, 6), seed=seed))
        return model.calls

    arrived, learnt = 0, {}
    for call in order(1):
        if call[0] == "predict":
            arrived = call[1]
        else:
            learnt[call[1]] = arrived - call[1]
            assert call[2] == f"label {call[1]}"
    assert set(learnt.values()) == {2, 3, 4, 5, 6}
    assert set(range(300 - 6)) <= set(learnt)
    assert order(1) == order(1) != order(2)


def test_a_column_or_a_function_can_hold_the_delay():
    rows = numbered(6, due=[3, 0, 1, 0, 0, 9])
    of_column, of_function = Recorder(), Recorder()
    list(prequential(rows, of_column, delay="due"))
    list(prequential(rows, of_function, delay=lambda x, y: x["due"]))
    assert of_column.calls == of_function.calls
    assert [c[1] for c in of_column.calls if c[0] == "learn"] == [1, 0, 2, 3, 4]

    class Columns(Recorder):
        def learn_one(self, x, y):
            self.calls.append(sorted(x))

    model = Columns()
    list(prequential(rows, model, delay="due"))
    assert ["i"] in model.calls
    assert ["due", "i"] not in model.calls


def test_a_sample_made_in_a_dictionary_used_again_is_learnt_as_it_was():
    def rows():
        x = {}
        for i in range(20):
            x["i"] = i
            yield x, f"label {i}"

    model = Memory()
    list(prequential(rows(), model, delay=3))
    assert model.labels == {i: f"label {i}" for i in range(17)}


def test_negative_delays_and_weights_below_zero_are_refused():
    for delay in (-1, 1.5, float("nan")):
        with pytest.raises(
            ValueError, match=f"delay={delay}; a label comes a whole number of samples after its own"
        ):
            list(prequential(numbered(3), Memory(), delay=lambda x, y, delay=delay: delay))
    for weight in (0, float("inf"), float("nan")):
        with pytest.raises(ValueError, match=f"weight={float(weight)}; choose finite weights above 0"):
            list(prequential(numbered(3), Memory(), weight=lambda x, y, weight=weight: weight))
    with pytest.raises(ValueError, match="weight='zz' is not a feature of this sample, which has i"):
        list(prequential(numbered(3), Memory(), weight="zz"))


@pytest.mark.parametrize(
    ("delay", "message"),
    [
        ("1e3", "delay='1e3' is not a feature of this sample, which has i; give a number"),
        ((3, 1), "delay=\\(3, 1\\); give a number"),
        ((1.5, 3), "delay=\\(1.5, 3\\)"),
        ((1, 2, 3), "delay=\\(1, 2, 3\\)"),
        ([1, 2], "delay=\\[1, 2\\]"),
        (lambda x, y: None, "delay=None; a label comes a whole number"),
    ],
)
def test_delays_that_mean_nothing_are_refused(delay, message):
    with pytest.raises(ValueError, match=message):
        list(prequential(numbered(3), Memory(), delay=delay))


def test_delayed_learning_costs_most_after_a_drift():
    stream = streams.make("sea_a", seed=1, n_samples=4000)
    at_once, late = (
        [c.window["accuracy"] for c in prequential(stream, models.make("nb"), window=500, delay=d)]
        for d in (0, 500)
    )
    assert np.isnan(late[0])  # nothing is known before the first label comes
    assert sum(at_once[1:]) > sum(late[1:])
