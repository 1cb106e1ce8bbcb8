from __future__ import annotations

import functools
import json
import time
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics
from river import (
    active,
    base,
    cluster,
    compose,
    dummy,
    linear_model,
    metrics,
    naive_bayes,
    preprocessing,
    tree,
    utils,
)

import streams
from driftmoe import DriftMoEClassifier, models
from driftmoe.evaluation import Answers, cross_validate, holdout, prequential
from driftmoe.metrics import Brier, Fading, KappaM, KappaTemporal, RamHours, Windowed


class Recorder(base.Classifier):
    """Remembers the order of calls."""

    def __init__(self):
        self.calls = []

    def predict_one(self, x):
        self.calls.append(("predict", x["i"]))
        return 0

    def learn_one(self, x, y):
        self.calls.append(("learn", x["i"], y))


def test_each_sample_is_predicted_before_it_is_learnt():
    model = Recorder()
    list(prequential([({"i": i}, i % 2) for i in range(5)], model, window=2))
    assert model.calls == [c for i in range(5) for c in (("predict", i), ("learn", i, i % 2))]


def test_checkpoints_come_at_every_window_and_at_the_end():
    rows = [({"i": i}, i % 2) for i in range(25)]
    checkpoints = list(prequential(rows, Recorder(), window=10))
    assert [c.n_samples for c in checkpoints] == [10, 20, 25]
    assert checkpoints[-1].cumulative["accuracy"] == pytest.approx(12 / 24)  # the first is not counted
    assert checkpoints[-1].window["accuracy"] == pytest.approx(3 / 5)
    assert checkpoints[-1].seconds == pytest.approx(sum(c.window_seconds for c in checkpoints))
    assert [c.n_samples for c in prequential(rows[:20], Recorder(), window=10)] == [10, 20]
    assert list(prequential([], Recorder())) == []


def test_window_below_one_is_refused():
    for window in (0, 10.5):
        with pytest.raises(
            ValueError, match=f"window={window}; choose a whole number of samples, at least 1"
        ):
            next(prequential([], Recorder(), window=window))


def test_accuracy_equals_river_on_the_same_stream():
    from river import evaluate

    stream = list(streams.make("agrawal", seed=3, n_samples=2000))
    *_, last = prequential(stream, models.make("nb"))
    theirs = evaluate.progressive_val_score(stream, models.make("nb"), metrics.Accuracy())
    assert last.cumulative["accuracy"] == pytest.approx(theirs.get())


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


class Shown(base.Classifier):
    """Answers 0 from the start, whatever it learns."""

    def predict_one(self, x):
        return 0

    def predict_proba_one(self, x):
        return {0: 1.0}

    def learn_one(self, x, y):
        pass


def test_the_warm_up_is_that_of_the_labels_and_not_of_the_model():
    """A model that answers from the start has the same samples counted as one that does not."""
    rows = [({"i": i}, i % 2) for i in range(20)]
    (silent,) = prequential(rows, naive_bayes.GaussianNB(), delay=4)
    (talkative,) = prequential(rows, Shown(), delay=4)
    assert silent.n_warm_up == talkative.n_warm_up == 5
    assert talkative.cumulative["accuracy"] == pytest.approx(7 / 15)
    (all_of_it,) = prequential(rows, Shown(), delay=4, count_warm_up=True)
    assert all_of_it.cumulative["accuracy"] == pytest.approx(10 / 20)
    assert (all_of_it.n_warm_up, all_of_it.n_counted) == (5, 20)


@pytest.mark.parametrize(
    ("options", "n_warm_up"),
    [
        ({}, 1),
        ({"warm_start": 20}, 0),
        ({"warm_start": 20, "delay": 30}, 0),
        ({"delay": 30}, 31),
        ({"delay": lambda x, y: 9 if x["i"] else 40}, 11),  # sample 1 has its label after sample 10
        ({"delay": (5, 5)}, 6),
        ({"fading": 0.9, "delay": 7}, 8),
        ({"window": 10, "step": 5, "delay": 12}, 13),
        ({"weight": lambda x, y: 2.0, "delay": 12}, 13),
    ],
)
def test_the_warm_up_ends_with_the_first_label_in_all_protocols(options, n_warm_up):
    rows = [({"i": i}, i % 2) for i in range(100)]
    *_, last = prequential(rows, Shown(), **options, keep_predictions=True)
    *_, counting = prequential(rows, Shown(), **options, count_warm_up=True)
    first = options.get("warm_start", 0) + n_warm_up
    assert (last.n_warm_up, last.n_counted) == (n_warm_up, 100 - first)
    assert last.cumulative["accuracy"] == pytest.approx(np.mean([i % 2 == 0 for i in range(first, 100)]))
    assert counting.n_counted == 100 - first + n_warm_up
    assert counting.n_warm_up == n_warm_up


def test_the_warm_up_is_the_same_in_blocks_and_one_by_one():
    stream = streams.make("led_a", seed=1, n_samples=400)
    *_, in_blocks = prequential(stream, models.make("driftmoe(n_experts=3)", seed=1))
    *_, one_by_one = prequential(list(stream), models.make("driftmoe(n_experts=3)", seed=1))
    assert in_blocks.n_warm_up == one_by_one.n_warm_up == 1
    assert in_blocks.n_counted == one_by_one.n_counted == 399
    assert in_blocks.cumulative["accuracy"] == one_by_one.cumulative["accuracy"]


def test_the_baselines_know_the_labels_of_the_warm_up():
    """No change, asked from the second sample on, is as good as no change."""
    rows = [({"i": i}, i % 5 == 0) for i in range(50)]
    kappas = [KappaM(), Windowed(KappaTemporal, 100), Fading(KappaTemporal, 0.99)]
    (last,) = prequential(rows, dummy.NoChangeClassifier(), metrics=[*kappas, KappaTemporal()])
    names = ("kappa_t", "Windowed", "Fading", "KappaTemporal")
    assert [last.cumulative[name] for name in names] == pytest.approx([0.0] * 4)
    assert last.cumulative["KappaM"] == last.cumulative["kappa_m"]


def test_a_window_without_a_sample_that_counts_has_no_figures():
    rows = [({"i": i}, i % 2) for i in range(40)]
    checkpoints = list(prequential(rows, Shown(), window=10, delay=14, metrics=metrics.MacroF1()))
    assert [c.n_window_counted for c in checkpoints] == [0, 5, 10, 10]
    assert all(np.isnan(list(checkpoints[0].window.values())))
    assert all(np.isnan(list(checkpoints[0].cumulative.values())))
    assert checkpoints[1].window["accuracy"] == pytest.approx(2 / 5)  # of samples 15 to 19


def test_a_stream_that_ends_within_the_warm_up_is_told():
    for rows, delay in ((numbered(1), 0), (numbered(10), 9), (numbered(10), 500)):
        with pytest.raises(
            ValueError, match=f"all {len(rows)} samples were predicted before the first label"
        ):
            list(prequential(rows, Memory(), delay=delay))
        (last,) = prequential(rows, Memory(), delay=delay, count_warm_up=True)
        assert last.cumulative["accuracy"] == 0.0


def test_figures_can_be_written_as_json():
    *_, last = prequential([({"i": 0}, "a"), ({"i": 1}, "a")], naive_bayes.GaussianNB())
    assert json.loads(json.dumps(last.cumulative, allow_nan=False))["accuracy"] == 1.0


class Memory(base.Classifier):
    """Knows the label of each sample that it has learnt, by its number, and of no other."""

    def __init__(self):
        self.labels = {}
        self.weights = {}

    def predict_one(self, x):
        return self.labels.get(x["i"])

    def predict_proba_one(self, x):
        return {self.labels[x["i"]]: 1.0} if x["i"] in self.labels else {}

    def learn_one(self, x, y, w=1.0):
        self.labels[x["i"]] = y
        self.weights[x["i"]] = w


def numbered(n, **columns):
    """Samples with their numbers; the label tells the number, so that a label with another sample shows."""
    return [
        ({"i": i, **{name: values[i] for name, values in columns.items()}}, f"label {i}") for i in range(n)
    ]


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
    with pytest.raises(ValueError, match="weight='zz' is no feature of this sample, which has i"):
        list(prequential(numbered(3), Memory(), weight="zz"))


@pytest.mark.parametrize(
    ("delay", "message"),
    [
        ("1e3", "delay='1e3' is no feature of this sample, which has i; give a number"),
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


def test_weights_count_in_figures_and_in_learning():
    rows = numbered(4, cost=[1.0, 2.0, 3.0, 4.0])
    rows[2] = ({"i": 1, "cost": 3.0}, "label 1")
    model = Memory()
    (last,) = prequential(rows, model, weight="cost")
    assert last.cumulative["accuracy"] == pytest.approx(3.0 / 9.0)
    assert model.weights == {0: 1.0, 1: 3.0, 3: 4.0}
    (of_one_without,) = prequential(rows, dummy.NoChangeClassifier(), weight=lambda x, y: x["cost"])
    assert of_one_without.cumulative["accuracy"] == pytest.approx(3.0 / 9.0)


@pytest.mark.parametrize("name", ["ht", "driftmoe(n_experts=3, batch_size=32)"])
def test_a_warm_start_is_learnt_and_not_counted(name):
    """The figures are those of the rest of the stream for a model that has learnt the first samples."""
    stream = streams.make("led_a", seed=1, n_samples=1500)
    (*_, warm) = prequential(stream, models.make(name, seed=1), window=500, warm_start=700)
    trained = models.make(name, seed=1)
    rows = list(stream)
    for x, y in rows[:700]:
        trained.learn_one(x, y)
    hits = 0
    for x, y in rows[700:]:
        hits += trained.predict_one(x) == y
        trained.learn_one(x, y)
    assert warm.n_samples == 1500
    assert warm.cumulative["accuracy"] == pytest.approx(hits / 800)
    assert warm.window["accuracy"] != warm.cumulative["accuracy"]


def test_weights_reach_the_last_step_of_a_pipeline():
    memory = Memory()
    model = compose.Pipeline(preprocessing.StandardScaler(), compose.Select("i"), memory)
    rows = [({"i": i}, i % 2) for i in range(4)]
    list(prequential(rows, model, weight=lambda x, y: x["i"] + 2.0))
    assert sorted(memory.weights.values()) == [2.0, 3.0, 4.0, 5.0]


@pytest.mark.parametrize("run", [prequential, holdout, lambda s, m: cross_validate(s, [m, m.clone()])])
def test_a_sample_without_a_label_is_refused(run):
    rows = [({"i": 0}, "a"), ({"i": 1}, "b"), ({"i": 2}, None)]
    with pytest.raises(ValueError, match=r"sample 2 has no label \(None\)"):
        list(run(rows, Memory()))
    with pytest.raises(ValueError, match=r"sample 1 has no label \(nan\)"):
        list(run([rows[0], ({"i": 1}, float("nan"))], Memory()))


def test_checkpoints_begin_after_a_warm_start():
    rows = [({"i": i}, "a") for i in range(35)]
    assert [c.n_samples for c in prequential(rows, Memory(), window=10, warm_start=20)] == [30, 35]
    assert [c.n_samples for c in prequential(rows, Memory(), window=10, warm_start=15)] == [20, 30, 35]
    with pytest.raises(ValueError, match="warm_start=35, but the stream has 35 samples"):
        list(prequential(rows, Memory(), window=10, warm_start=35))
    for wrong in (-1, 10.5, "5"):
        with pytest.raises(ValueError, match=f"warm_start={wrong!r}; choose a whole number"):
            next(prequential(rows, Memory(), warm_start=wrong))


@pytest.mark.parametrize("step", [500, 1000])
def test_the_first_window_after_a_warm_start_has_no_routing_or_time_of_it(step):
    stream = streams.make("sea_a", seed=1, n_samples=4000)
    model = models.make("moe-vote(n_experts=3)", seed=1)
    checkpoints = list(prequential(stream, model, warm_start=1500, window=1000, step=step))
    in_window = [c.routing.window.n_samples for c in checkpoints]
    assert in_window == ([500, 1000, 1000, 1000, 1000] if step == 500 else [500, 1000, 1000])
    assert checkpoints[-1].routing.cumulative.n_samples == 4000
    assert sum(c.window_seconds for c in checkpoints) < checkpoints[-1].seconds


def test_a_warm_start_does_not_wait_for_labels():
    model = Recorder()
    list(prequential(numbered(6), model, warm_start=2, delay=2))
    assert model.calls[:4] == [
        ("learn", 0, "label 0"),
        ("learn", 1, "label 1"),
        ("predict", 2),
        ("predict", 3),
    ]


def test_windows_slide_in_steps():
    stream = streams.make("sea_a", seed=1, n_samples=2000)
    tumbling = {c.n_samples: c.window for c in prequential(stream, models.make("nb"), window=500)}
    sliding = {c.n_samples: c.window for c in prequential(stream, models.make("nb"), window=500, step=100)}
    assert sorted(sliding) == list(range(100, 2001, 100))
    assert {n: sliding[n] for n in tumbling} == tumbling
    assert len({window["accuracy"] for window in sliding.values()}) > 10
    with pytest.raises(ValueError, match="step=300 does not divide window=500"):
        next(prequential(stream, models.make("nb"), window=500, step=300))


@pytest.mark.parametrize("name", ["ht", "driftmoe(n_experts=3)"])
def test_fading_gives_what_the_definition_says(name):
    stream = streams.make("led_a", seed=1, n_samples=900)
    *_, last = prequential(stream, models.make(name, seed=1), window=300, fading=0.99, keep_predictions=True)
    checkpoints = list(
        prequential(stream, models.make(name, seed=1), window=300, fading=0.99, keep_predictions=True)
    )
    hits = [y == p for c in checkpoints for y, p in c.predictions][1:]
    weights = 0.99 ** np.arange(899)[::-1]
    assert last.window["accuracy"] == pytest.approx(np.dot(hits, weights) / weights.sum())
    assert last.cumulative["accuracy"] == pytest.approx(np.mean(hits))


def test_metrics_of_ones_own_read_labels_or_probabilities():
    stream = streams.make("agrawal", seed=3, n_samples=1000)
    wanted = {"loss": metrics.LogLoss(), "brier": Brier(), "f1": metrics.F1()}
    checkpoints = list(prequential(stream, models.make("nb"), metrics=wanted, window=400, step=200))
    model, rows = models.make("nb"), []
    for x, y in stream:
        rows.append((y, model.predict_proba_one(x), model.predict_one(x)))
        model.learn_one(x, y)
    for figures, of in [(checkpoints[-1].cumulative, rows[1:]), (checkpoints[-1].window, rows[-400:])]:
        loss, brier, f1 = metrics.LogLoss(), Brier(), metrics.F1()
        for y, proba, label in of:
            loss.update(y, proba)
            brier.update(y, proba)
            f1.update(y, label)
        for name, metric in {"loss": loss, "brier": brier, "f1": f1}.items():
            assert figures[name] == pytest.approx(metric.get()), name
    (one,) = prequential(stream, models.make("nb"), metrics=metrics.LogLoss(), window=1000, fading=0.999)
    assert {"LogLoss", "accuracy"} <= set(one.window)


@pytest.mark.parametrize(
    ("asked_for", "message"),
    [
        (
            [utils.Rolling(metrics.Accuracy, window_size=9)],
            "Rolling is no river metric; give the metric itself",
        ),
        (metrics.MAE(), "MAE is no metric of classification"),
        (
            metrics.ClassificationReport(),
            "ClassificationReport is no metric of classification that gives a number",
        ),
        ([metrics.Accuracy() + metrics.F1()], "Metrics is no metric of classification that gives a number"),
        ({"accuracy": metrics.LogLoss()}, "a metric is named 'accuracy', as one of the standard figures"),
        (metrics.Accuracy, "give a river metric, several, or a dictionary"),
        ([metrics.MacroFBeta(beta=0.5), metrics.MacroFBeta(beta=2)], "two have one name; give a dictionary"),
    ],
)
def test_metrics_that_would_give_wrong_figures_are_refused(asked_for, message):
    with pytest.raises(ValueError, match=message):
        next(prequential([], Memory(), metrics=asked_for))


def test_metrics_that_forget_and_metrics_added_up_can_be_asked_for():
    rows = [({"i": i}, i % 3 > 0) for i in range(90)]
    several = Windowed(KappaM, 10) + Fading(metrics.Accuracy, 0.5) + metrics.F1()
    *_, last = prequential(
        rows,
        naive_bayes.GaussianNB(),
        metrics=several,
        keep_predictions=True,
        window=90,
        count_warm_up=True,
    )
    by_hand = {"Windowed": Windowed(KappaM, 10), "Fading": Fading(metrics.Accuracy, 0.5), "F1": metrics.F1()}
    for y, p in last.predictions:
        for metric in by_hand.values():
            metric.update(y, p)
    assert {name: last.cumulative[name] for name in by_hand} == {n: m.get() for n, m in by_hand.items()}


def test_a_metric_that_reads_probabilities_leaves_the_figures_as_they_are():
    """In blocks without it, one by one with it."""
    stream = streams.make("led_a", seed=1, n_samples=600)
    *_, plain = prequential(stream, models.make("driftmoe(n_experts=3)", seed=1), window=200)
    *_, with_loss = prequential(
        stream, models.make("driftmoe(n_experts=3)", seed=1), window=200, metrics=metrics.CrossEntropy()
    )
    assert with_loss.cumulative.pop("CrossEntropy") > 0.0
    assert with_loss.cumulative == plain.cumulative


def test_memory_and_time_add_up():
    stream = streams.make("led_a", seed=1, n_samples=2000)
    checkpoints = list(prequential(stream, models.make("ht"), window=500))
    model_bytes = [c.model_bytes for c in checkpoints]
    assert model_bytes[0] > 10_000
    assert [c.ram_hours for c in checkpoints] == sorted(c.ram_hours for c in checkpoints)
    last = checkpoints[-1]
    assert 0.0 < last.ram_hours <= max(model_bytes) / 1e9 * last.seconds / 3600 * (1 + 1e-9)
    assert 0.3 * last.seconds < last.cpu_seconds < 3 * last.seconds + 0.1


def test_nothing_asked_for_is_as_the_defaults():
    seen = [({"i": i % 5}, f"label {i % 5}") for i in range(16)]
    (asked,) = prequential(seen, Memory(), metrics=None, delay=None)
    (default,) = prequential(seen, Memory())
    assert asked.cumulative == default.cumulative


def test_memory_that_is_seldom_measured_counts_from_one_measurement_to_the_next(monkeypatch):
    class Grows(Memory):
        """Takes 1 GB more at every look, and each look takes long."""

        looks = 0

        @property
        def _raw_memory_usage(self):
            self.looks += 1
            time.sleep(0.05)
            return self.looks * 10**9

    updates = []
    monkeypatch.setattr(RamHours, "update", lambda self, n_bytes, seconds: updates.append(n_bytes))
    list(prequential([({"i": i}, "label") for i in range(50)], Grows(), window=1))
    assert updates == [10**9]  # the first; later looks would have taken longer than the model itself


def test_holdout_learns_then_tests_by_turns():
    model = Recorder()
    checkpoints = list(holdout(numbered(17), model, every=5, size=3))
    assert [c[:2] for c in model.calls] == [("predict" if i % 8 >= 5 else "learn", i) for i in range(17)]
    assert [c.n_samples for c in checkpoints] == [8, 16]
    cut_short = list(holdout(numbered(15), Memory(), every=5, size=3))
    assert [c.n_samples for c in cut_short] == [8, 15]
    seen = [({"i": i % 5}, f"label {i % 5}") for i in range(16)]
    assert [c.window["accuracy"] for c in holdout(seen, Memory(), every=5, size=3)] == [1.0, 1.0]
    with pytest.raises(ValueError, match="every=0"):
        next(holdout(seen, Memory(), every=0))


class Counting(Recorder):
    """Counts how often each sample was learnt and tested."""

    def count(self, what):
        return np.bincount([c[1] for c in self.calls if c[0] == what], minlength=500)


@pytest.mark.parametrize(
    ("method", "tested", "learnt"), [("cross-validation", 1, 9), ("split", 9, 1), ("bootstrap", 3.68, 10)]
)
def test_folds_share_a_sample_as_the_method_says(method, tested, learnt):
    folds = [Counting() for _ in range(10)]
    *_, last = cross_validate(numbered(500), folds, method=method, window=200, seed=4)
    n_tested, n_learnt = (sum(fold.count(what) for fold in folds) for what in ("predict", "learn"))
    if method == "bootstrap":
        assert np.mean(n_tested) == pytest.approx(tested, abs=0.2)  # 10 folds, each with e^-1
        assert np.mean(n_learnt) == pytest.approx(learnt, abs=0.3)
    else:
        assert set(n_tested) == {tested}
        assert set(n_learnt) == {learnt}
    assert not any((fold.count("predict") * fold.count("learn")).any() for fold in folds)
    assert len({fold.count("learn").tobytes() for fold in folds}) == 10
    assert [c.n_samples for c in last] == [500] * 10
    again = [Counting() for _ in range(10)]
    list(cross_validate(numbered(500), again, method=method, window=200, seed=4))
    assert [a.calls for a in again] == [f.calls for f in folds]


def test_figures_of_a_fold_are_of_the_samples_on_which_it_was_tested():
    rows = [({"i": i}, i % 2) for i in range(400)]  # Recorder says 0
    folds = [Counting() for _ in range(4)]
    *_, last = cross_validate(rows, folds, window=400, seed=2)
    for fold, checkpoint in zip(folds, last, strict=True):
        tested, learnt = (np.flatnonzero(fold.count(what)) for what in ("predict", "learn"))
        assert checkpoint.n_warm_up == sum(tested < learnt[0])
        tested = tested[tested > learnt[0]]
        assert checkpoint.cumulative["accuracy"] == pytest.approx(np.mean(tested % 2 == 0))


def test_folds_are_checked():
    with pytest.raises(ValueError, match="1 models; give at least 2"):
        next(cross_validate(numbered(3), [Memory()]))
    with pytest.raises(
        ValueError, match="method='loo'; choose one of 'cross-validation', 'split', 'bootstrap'"
    ):
        next(cross_validate(numbered(3), [Memory(), Memory()], method="loo"))
    one = Memory()
    with pytest.raises(ValueError, match="a model is given for several folds"):
        next(cross_validate(numbered(3), [one, Memory(), one]))


class InALoopOfItsOwn:
    """As MOA's learners."""

    def test_then_train(self, stream, size):
        raise AssertionError


def test_the_first_sample_of_a_model_in_a_loop_of_its_own_is_not_counted_either():
    class SaysTheFirstClass:
        def test_then_train(self, stream, size):
            for _, y in stream.blocks(size):
                yield Answers([stream.classes[t] for t in y], [stream.classes[0]] * len(y), 1.0, 1.0)

    stream = streams.make("sea_a", seed=1, n_samples=250)
    is_first = [y == stream.classes[0] for _, y in stream]
    checkpoints = list(prequential(stream, SaysTheFirstClass(), window=100))
    assert [(c.n_warm_up, c.n_counted) for c in checkpoints] == [(1, 99), (1, 199), (1, 249)]
    assert checkpoints[-1].cumulative["accuracy"] == pytest.approx(np.mean(is_first[1:]))
    *_, last = prequential(stream, SaysTheFirstClass(), window=100, count_warm_up=True)
    assert last.cumulative["accuracy"] == pytest.approx(np.mean(is_first))


def test_a_model_in_a_loop_of_its_own_cannot_be_held_out_or_folded():
    for run in (holdout, lambda rows, model: cross_validate(rows, [model, InALoopOfItsOwn()])):
        with pytest.raises(ValueError, match="InALoopOfItsOwn runs in a loop of its own and cannot be told"):
            list(run(numbered(3), InALoopOfItsOwn()))


MACRO = [
    metrics.MacroF1(), metrics.MacroPrecision(), metrics.MacroRecall(), metrics.MacroJaccard(),
    metrics.MacroFBeta(beta=2), metrics.GeometricMean(), metrics.BalancedAccuracy(), metrics.CohenKappa(),
    metrics.MicroF1(), metrics.MicroFBeta(beta=2), metrics.MicroJaccard(), metrics.MicroRecall(),
    metrics.WeightedF1(), metrics.WeightedPrecision(), metrics.MultiFBeta({0: 1, 1: 2}, {0: 1, 1: 3}),
]  # fmt: skip


class SaysNothingAtFirst(Shown):
    """Says 0 or 1 as the sample has it, but nothing of the first five samples."""

    def predict_one(self, x):
        return None if x["i"] < 5 else x["says"]


@pytest.mark.parametrize("metric", MACRO, ids=lambda m: type(m).__name__)
@pytest.mark.parametrize("options", [{}, {"delay": 5}, {"window": 30, "step": 10}])
def test_no_answer_in_the_warm_up_changes_no_metric(metric, options):
    """As by river's own metric over the samples that count; sea_a has two classes, and a third would show."""
    stream = list(streams.make("sea_a", seed=1, n_samples=300))
    *_, last = prequential(stream, models.make("nb"), metrics={"m": metric}, keep_predictions=True, **options)
    answers = [(y, p) for c in prequential(stream, models.make("nb"), keep_predictions=True, **options)
               for y, p in c.predictions if p is not None]  # fmt: skip
    for figures, of in [(last.cumulative, answers), (last.window, answers[-options.get("window", 1000) :])]:
        theirs = metric.clone()
        for y, p in of:
            theirs.update(y, p)
        assert figures["m"] == pytest.approx(theirs.get())


@pytest.mark.parametrize("options", [{}, {"fading": 0.9999999}, {"delay": 1, "count_warm_up": True}])
def test_no_answer_after_the_warm_up_is_wrong_and_no_class(options):
    """By hand: classes 0 and 1 by turns, the answer right from sample 5 on, nothing before; sample 0 not counted."""
    rows = [({"i": i, "says": i % 2}, i % 2) for i in range(25)]
    (last,) = prequential(rows, SaysNothingAtFirst(), metrics=MACRO[:-1], **options)
    n = {0: 12, 1: 12} if "count_warm_up" not in options else {0: 13, 1: 12}
    recall = {c: 10 / n[c] for c in n}
    f1 = {c: 2 * 10 / (n[c] + 10) for c in n}
    expected = {
        "MacroRecall": (recall[0] + recall[1]) / 2,
        "BalancedAccuracy": (recall[0] + recall[1]) / 2,
        "MacroPrecision": 1.0,
        "MacroF1": (f1[0] + f1[1]) / 2,
        "MacroJaccard": (recall[0] + recall[1]) / 2,
        "GeometricMean": (recall[0] * recall[1]) ** 0.5,
        "MicroRecall": 20 / sum(n.values()),
        "MicroF1": 20 / sum(n.values()),
        "WeightedPrecision": 1.0,
    }
    for figures in (last.cumulative, last.window):
        assert {name: figures[name] for name in expected} == pytest.approx(expected, abs=1e-5)
        assert figures["MacroF1"] == pytest.approx(figures["f1_macro"], abs=1e-5)


def test_no_answer_of_a_fold_is_no_class():
    stream = list(streams.make("sea_a", seed=1, n_samples=300))
    *_, folds = cross_validate(
        stream, [models.make("nb") for _ in range(3)], metrics=metrics.MacroF1(), seed=1, count_warm_up=True
    )
    for fold in folds:
        assert fold.cumulative["MacroF1"] == pytest.approx(fold.cumulative["f1_macro"])
    assert any(fold.n_warm_up for fold in folds)


YES_AND_NO = [({"x": float(i % 3 > 0) + i % 5 / 10}, "yes" if i % 3 else "no") for i in range(60)]
BINARY = [
    metrics.F1, metrics.Precision, metrics.Recall, metrics.Jaccard, metrics.MCC, metrics.ROCAUC,
    metrics.RollingROCAUC, metrics.RollingPRAUC, metrics.LogLoss,
]  # fmt: skip


@pytest.mark.parametrize("metric", BINARY)
def test_a_metric_of_two_classes_refuses_labels_that_are_no_booleans(metric):
    known = {
        metrics.LogLoss: "give such labels, or choose CrossEntropy",
        metrics.RollingROCAUC: r"give such labels, or choose ROCAUC\(pos_val='(yes|no)'\)",
        metrics.RollingPRAUC: "give such labels",
    }.get(metric, rf"name the one .* {metric.__name__}\(pos_val='(yes|no)'\)")
    for run in (
        lambda m: prequential(YES_AND_NO, naive_bayes.GaussianNB(), metrics=m),
        lambda m: holdout(YES_AND_NO, naive_bayes.GaussianNB(), metrics=m, every=5, size=5),
    ):
        with pytest.raises(
            ValueError, match=f"{metric.__name__} reads labels as True and False, and '.*{known}"
        ):
            list(run(metric()))
    digits = [({"x": float(i % 3)}, i % 3) for i in range(60)]
    with pytest.raises(ValueError, match="reads labels as True and False, and 2 is neither"):
        list(prequential(digits, naive_bayes.GaussianNB(), metrics=metric()))


def test_a_wrapped_metric_of_two_classes_refuses_them_too():
    for metric in (Windowed(metrics.F1, 10), Fading(metrics.F1)):
        with pytest.raises(ValueError, match=r"name the one that counts as positive, as in F1\(pos_val="):
            list(prequential(YES_AND_NO, naive_bayes.GaussianNB(), metrics=metric))


@pytest.mark.parametrize("labels", [(True, False), (1, 0), (1.0, 0.0), (np.int64(1), np.int64(0))])
def test_a_metric_of_two_classes_reads_ones_and_zeros_as_booleans(labels):
    rows = [(x, labels[y == "no"]) for x, y in YES_AND_NO]
    (last,) = prequential(rows, naive_bayes.GaussianNB(), metrics=[metrics.F1(), metrics.LogLoss()])
    (by_name,) = prequential(YES_AND_NO, naive_bayes.GaussianNB(), metrics=metrics.F1(pos_val="yes"))
    assert last.cumulative["F1"] == by_name.cumulative["F1"] > 0.9
    assert last.cumulative["LogLoss"] < 1.0


class Noisy(Shown):
    """Says yes with a probability that the sample has; it learns nothing."""

    def predict_proba_one(self, x):
        return {"yes": x["p"], "no": 1.0 - x["p"]}

    def predict_one(self, x):
        return "yes" if x["p"] >= 0.5 else "no"


@pytest.mark.parametrize("metric", [m for m in BINARY if m is not metrics.LogLoss] + [metrics.FBeta])
@pytest.mark.parametrize("positive", ["yes", "no"])
@pytest.mark.parametrize("wrapped", [False, True])
def test_the_positive_class_can_have_any_name(metric, positive, wrapped):
    """As by scikit-learn, where it knows the measure, or by river's own with True and False."""
    rng = np.random.default_rng(7)
    y = np.where(rng.random(200) < 0.3, "yes", "no")
    p = np.clip(0.5 + 0.3 * np.where(y == "yes", 1, -1) + rng.normal(0, 0.3, 200), 0.01, 0.99)
    rows = [({"p": float(of)}, str(label)) for of, label in zip(p, y, strict=True)]
    arguments = {"beta": 2.0} if metric is metrics.FBeta else {}
    if metric in (metrics.RollingROCAUC, metrics.RollingPRAUC):  # river makes none with text
        with pytest.raises(ValueError, match="invalid literal"):
            metric(pos_val=positive)
        return
    make = functools.partial(Windowed, metric, 1000) if wrapped else metric
    (last,) = prequential(rows, Noisy(), metrics={"m": make(pos_val=positive, **arguments)})
    theirs = metric(**arguments)
    for x, label in rows[1:]:
        of = x["p"] if positive == "yes" else 1.0 - x["p"]
        said = Noisy().predict_one(x) == positive
        theirs.update(label == positive, said if theirs.requires_labels else {True: of, False: 1.0 - of})
    assert last.cumulative["m"] == last.window["m"] == pytest.approx(theirs.get())
    assert last.cumulative["m"] > 0.5
    with_sklearn = {metrics.F1: "f1_score", metrics.MCC: "matthews_corrcoef", metrics.Recall: "recall_score"}
    if metric in with_sklearn:
        said = [Noisy().predict_one(x) == positive for x, _ in rows[1:]]
        expected = getattr(sklearn.metrics, with_sklearn[metric])(y[1:] == positive, said)
        assert last.cumulative["m"] == pytest.approx(expected)


def test_no_answer_is_the_worst_answer_for_metrics_of_two_classes_and_of_probabilities():
    class Silent(Shown):
        def predict_one(self, x):
            return None

        def predict_proba_one(self, x):
            return {}

    rows = [({"i": i}, i % 2 == 0) for i in range(21)]
    asked_for = [metrics.LogLoss(), metrics.CrossEntropy(), metrics.ROCAUC(), metrics.MCC(), metrics.F1()]
    (last,) = prequential(rows, Silent(), metrics=asked_for)
    worst = -np.log(1e-15)
    assert last.cumulative["LogLoss"] == pytest.approx(worst, rel=1e-3)
    assert last.cumulative["CrossEntropy"] == pytest.approx(worst)
    assert last.cumulative["ROCAUC"] == pytest.approx(0.0)
    assert last.cumulative["MCC"] <= 0.0
    assert last.cumulative["F1"] == 0.0


def test_a_metric_that_knows_no_weights_is_used_without_and_refused_with():
    rows = [(x, y == "yes") for x, y in YES_AND_NO]
    (last,) = prequential(rows, naive_bayes.GaussianNB(), metrics=metrics.RollingROCAUC())
    assert last.cumulative["RollingROCAUC"] > 0.9
    for metric in (metrics.RollingROCAUC(), metrics.Rand()):
        name = type(metric).__name__
        with pytest.raises(ValueError, match=f"{name} takes no weights; choose another metric, or leave out"):
            list(prequential(rows, naive_bayes.GaussianNB(), metrics=metric, weight=lambda x, y: 2.0))
        with pytest.raises(ValueError, match=f"{name} takes no weights, by which older samples"):
            list(prequential(rows, naive_bayes.GaussianNB(), metrics=metric, fading=0.9))
    with pytest.raises(ValueError, match="RollingROCAUC forgets by itself"):
        Windowed(metrics.RollingROCAUC, 100)


class OnlyPredicts:
    def predict_one(self, x):
        return 0


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (DriftMoEClassifier, r"DriftMoEClassifier is a class; give a model of it, such as DriftMoEClassifier\(\)"),
        (naive_bayes.GaussianNB, r"GaussianNB is a class; give a model of it, such as GaussianNB\(\)"),
        (None, "model=NoneType has no predict_one and no learn_one"),
        (OnlyPredicts(), "model=OnlyPredicts has no learn_one"),
        (preprocessing.StandardScaler(), "model=StandardScaler has no predict_one"),
        (preprocessing.StandardScaler() | compose.Select("a"), "model=Select has no predict_one"),
        (linear_model.LinearRegression(), "LinearRegression is no classifier"),
        (preprocessing.StandardScaler() | linear_model.LinearRegression(), "LinearRegression is no classifier"),
        (cluster.KMeans(), "KMeans is no classifier"),
        (active.EntropySampler(naive_bayes.GaussianNB()), "EntropySampler chooses what to learn"),
    ],
)  # fmt: skip
def test_what_is_no_classifier_is_refused(model, message):
    rows = [({"a": 1.0}, True), ({"a": 2.0}, False)]
    runs = (prequential, holdout, lambda rows, model: cross_validate(rows, [model, Shown()]))
    for run in runs:
        with pytest.raises(ValueError, match=message):
            next(run(rows, model))


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        (None, "stream=None of class NoneType has no samples"),
        ("electricity", r"stream='electricity' is text; give the stream itself, such as streams.make\('electri"),
        (5, "stream=5 of class int has no samples"),
        ([5], "sample 0 is 5, and no pair"),
        ([({"a": 1}, "b"), ({"a": 1}, "b", "c")], "sample 1 is .*, and no pair of a dictionary of features and"),
        ([([1.0, 2.0], "b")], r"sample 0 is \(\[1.0, 2.0\], 'b'\), and no pair"),
        (pd.DataFrame({"ab": [1]}), "sample 0 is 'ab', and no pair.*iter_pandas"),
        ([({"a": 1}, pd.NA)], "sample 0 has no label \\(<NA>\\)"),
        ([({"a": 1}, pd.NaT)], "sample 0 has no label \\(NaT\\)"),
        ([({"a": 1}, Decimal("nan"))], "sample 0 has no label \\(NaN\\)"),
        ([({"a": 1}, ["b"])], r"sample 0 has the label \['b'\] of class list, by which nothing can be counted"),
        ([({"a": 1}, np.array([1]))], "sample 0 has the label array.* of class ndarray"),
    ],
)  # fmt: skip
def test_what_is_no_stream_of_labelled_samples_is_refused(stream, message):
    runs = (
        lambda stream: prequential(stream, naive_bayes.GaussianNB()),
        lambda stream: holdout(stream, naive_bayes.GaussianNB()),
        lambda stream: cross_validate(stream, [naive_bayes.GaussianNB(), naive_bayes.GaussianNB()]),
    )
    for run in runs:
        with pytest.raises(ValueError, match=message):
            list(run(stream))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weight": 5}, "weight=5; give the name of a feature that holds it, or a function"),
        ({"fading": "x"}, "factor='x'; choose 0 < factor < 1"),
        ({"metrics": [metrics.F1]}, r"metric F1 is a class; give a metric of it, such as F1\(\)"),
        ({"metrics": {"f": metrics.F1}}, r"metric F1 is a class"),
        ({"metrics": "F1"}, "metrics='F1'; give a river metric, several, or a dictionary"),
        ({"metrics": {1: metrics.F1()}}, "a metric is named 1; choose text"),
    ],
)
def test_arguments_that_mean_nothing_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        list(prequential(numbered(3), Memory(), **options))


def test_models_that_are_no_list_are_refused():
    for models_of_folds in (Memory(), (m for m in [Memory(), Memory()])):
        with pytest.raises(ValueError, match="give a list of at least 2, one per fold"):
            next(cross_validate(numbered(3), models_of_folds))


def test_weights_change_what_a_model_learns():
    """The weight of river's Hoeffding tree as that of a sample that came as often."""
    rows = list(streams.make("sea_a", seed=1, n_samples=1500))
    weighted, repeated = tree.HoeffdingTreeClassifier(), tree.HoeffdingTreeClassifier()
    list(prequential(rows, weighted, weight=lambda x, y: 3.0 if y else 1.0))
    for x, y in rows:
        repeated.learn_one(x, y, w=3.0 if y else 1.0)
    assert [weighted.predict_proba_one(x) for x, _ in rows] == [
        repeated.predict_proba_one(x) for x, _ in rows
    ]
    plain = tree.HoeffdingTreeClassifier()
    list(prequential(rows, plain))
    assert [weighted.predict_one(x) for x, _ in rows] != [plain.predict_one(x) for x, _ in rows]


def test_weights_reach_a_model_that_is_stepped_through_in_blocks_without_them():
    class InBlocks(Memory):
        def step_many(self, *args, **kwargs):
            raise AssertionError

    stream, model = streams.make("sea_a", seed=1, n_samples=20), InBlocks()
    model.predict_one = lambda x: None
    learnt = []
    model.learn_one = lambda x, y, w=1.0: learnt.append(w)
    list(prequential(stream, model, weight=lambda x, y: 2.5))
    assert learnt == [2.5] * 20
