"""What is not counted: samples before the first label, and a warm start."""

from __future__ import annotations

import numpy as np
import pytest
from river import dummy, metrics, naive_bayes
from simple_models import Memory, Recorder, Shown, numbered

import streams
from driftmoe import models
from driftmoe.evaluation import Answers, prequential
from driftmoe.metrics import Fading, KappaM, KappaTemporal, Windowed


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
