from __future__ import annotations

import json
import time

import numpy as np
import pytest
from river import base, compose, dummy, metrics, naive_bayes, preprocessing, utils

import streams
from driftmoe import models
from driftmoe.evaluation import cross_validate, holdout, prequential
from driftmoe.metrics import Brier, Fading, KappaM, RamHours, Windowed


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
    assert checkpoints[-1].cumulative["accuracy"] == pytest.approx(13 / 25)
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
    assert last.cumulative["accuracy"] == pytest.approx((theirs.get() * 1999 + 0) / 2000, abs=1 / 2000)


def test_figures_can_be_written_as_json():
    *_, last = prequential([({"i": 0}, "a")], naive_bayes.GaussianNB())
    assert json.loads(json.dumps(last.cumulative, allow_nan=False))["accuracy"] == 0.0


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
        assert last.cumulative["accuracy"] == pytest.approx(sum(known) / 200)
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
    assert at_once.cumulative["accuracy"] == pytest.approx(2 / 3)
    assert [c.window["accuracy"] for c in late] == [0.0, 1.0, 1.0]
    assert [c.window["accuracy"] for c in too_late] == [0.0, 0.0, 1.0]


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
    assert late[0] < 0.2  # nothing is known before the first label comes
    assert sum(at_once) > sum(late)


def test_weights_count_in_figures_and_in_learning():
    rows = numbered(4, cost=[1.0, 2.0, 3.0, 4.0])
    rows[2] = ({"i": 1, "cost": 3.0}, "label 1")
    model = Memory()
    (last,) = prequential(rows, model, weight="cost")
    assert last.cumulative["accuracy"] == pytest.approx(3.0 / 10.0)
    assert model.weights == {0: 1.0, 1: 3.0, 3: 4.0}
    (of_one_without,) = prequential(rows, dummy.NoChangeClassifier(), weight=lambda x, y: x["cost"])
    assert of_one_without.cumulative["accuracy"] == pytest.approx(3.0 / 10.0)


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
    hits = [y == p for c in checkpoints for y, p in c.predictions]
    weights = 0.99 ** np.arange(900)[::-1]
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
    for figures, of in [(checkpoints[-1].cumulative, rows), (checkpoints[-1].window, rows[-400:])]:
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
    *_, last = prequential(rows, naive_bayes.GaussianNB(), metrics=several, keep_predictions=True, window=90)
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
        tested = np.flatnonzero(fold.count("predict"))
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


def test_a_model_in_a_loop_of_its_own_cannot_be_held_out_or_folded():
    for run in (holdout, lambda rows, model: cross_validate(rows, [model, InALoopOfItsOwn()])):
        with pytest.raises(ValueError, match="InALoopOfItsOwn runs in a loop of its own and cannot be told"):
            list(run(numbered(3), InALoopOfItsOwn()))
