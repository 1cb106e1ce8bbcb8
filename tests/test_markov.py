"""The baseline that predicts from the order of labels, and the kappa against it, beside their slow twins."""

from __future__ import annotations

import copy
import math
import pickle

import numpy as np
import pytest
from reference.order import following, kappa_order

import streams
from driftmoe import models
from driftmoe.evaluation import prequential
from driftmoe.experiment import why_not_kept
from driftmoe.markov import MarkovClassifier, Succession
from driftmoe.metrics import KappaOrder, Scores, Windowed


def random_labels(n=400, seed=1):
    """Labels that follow one another with unequal chances, so that counts are often equal."""
    rng, labels = np.random.default_rng(seed), ["a"]
    for _ in range(n - 1):
        likely = "bcda"["abcd".index(labels[-1])]
        labels.append(likely if rng.random() < 0.4 else str(rng.choice(list("abcd"))))
    return labels


@pytest.mark.parametrize("order", [1, 2, 3])
def test_it_says_what_most_often_followed_the_last_labels(order):
    model, labels = MarkovClassifier(order), random_labels(150)
    for i, label in enumerate(labels):
        said = model.predict_one({"x": i})
        assert said == following(labels[:i], order)
        if i:
            proba = model.predict_proba_one({})
            assert sum(proba.values()) == pytest.approx(1.0)
            assert proba[said] == max(proba.values())
        model.learn_one({"x": i}, label)


def test_kappa_order_is_its_twin_one_by_one_and_in_blocks():
    y_true, y_pred = random_labels(300), random_labels(300, seed=2)
    metric, one, many = KappaOrder(), Scores(), Scores()
    for true, predicted in zip(y_true, y_pred, strict=True):
        metric.update(true, predicted)
        one.update(true, predicted)
    for start in range(0, 300, 70):
        many.update_many(y_true[start : start + 70], y_pred[start : start + 70])
    assert metric.get() == pytest.approx(kappa_order(y_true, y_pred))
    assert one.get() == many.get()
    assert one.get()["kappa_o"] == metric.get()


def test_where_the_baseline_makes_no_mistake_no_number_says_how_far_another_is_behind():
    metric, scores, last = KappaOrder(), Scores(4), Windowed(KappaOrder, 4)
    for i in range(8):  # in the last four, each label has been seen with the next
        if i == 4:
            metric.restart()
            scores.restart()
        for of in (metric, scores, last):
            of.update(i % 2, i % 2, 0.1)
    assert (metric.get(), scores.get()["kappa_o"], last.get()) == (0.0, 0.0, 0.0)
    for of in (metric, scores, last):
        of.update(0, 1, 0.1)
    assert all(math.isnan(value) for value in (metric.get(), scores.get()["kappa_o"], last.get()))


def test_a_run_has_no_kappa_order_where_labels_in_turn_are_late():
    samples = [({"x": 1.0}, i % 4) for i in range(60)]
    (checkpoint,) = prequential(samples, models.make("majority"), delay=8, window=60)
    assert 0.2 < checkpoint.cumulative["accuracy"] < 0.3
    assert math.isnan(checkpoint.cumulative["kappa_o"])


def test_in_a_window_the_baseline_knows_all_labels_before_it():
    y_true, y_pred, scores = random_labels(300), random_labels(300, seed=2), Scores(100, step=50)
    for i, (true, predicted) in enumerate(zip(y_true, y_pred, strict=True)):
        if i and i % 50 == 0:
            scores.restart()
        scores.update(true, predicted)
    last = range(200, 300)
    p = np.mean([y_true[i] == y_pred[i] for i in last])
    p_o = np.mean([y_true[i] == following(y_true[:i], 1) for i in last])
    assert scores.get()["kappa_o"] == pytest.approx((p - p_o) / (1 - p_o))


def test_weights_count_as_that_many_labels_that_followed():
    metric, said = KappaOrder(), []
    for label, weight in [("a", 1.0), ("b", 1.0), ("a", 1.0), ("c", 3.0), ("a", 1.0)]:
        said.append(metric._baseline(label, weight))
    assert said[:4] == [None, "a", "a", "b"]
    assert metric._baseline("c") == "c"  # after "a" came "b" once, and "c" with the weight of three


def test_labels_in_turn_are_seen_by_no_other_kappa():
    """A model that knows the order alone has the kappa-temporal of a perfect one, and kappa-order 0."""
    labels = [i % 10 for i in range(1000)]
    *_, last = prequential([({"x": 0.0}, y) for y in labels], MarkovClassifier())
    assert last.cumulative["accuracy"] == 990 / 999  # wrong where 1 to 9 come for the first time
    assert last.cumulative["kappa_t"] == last.cumulative["accuracy"]
    assert last.cumulative["kappa_m"] > 0.98
    assert last.cumulative["kappa_o"] == 0.0


def test_late_labels_are_learnt_when_they_come():
    labels = random_labels(60)
    checkpoints = prequential(
        [({}, y) for y in labels], MarkovClassifier(), delay=7, window=60, keep_predictions=True
    )
    (last,) = checkpoints
    assert [p for _, p in last.predictions] == [following(labels[: max(i - 7, 0)], 1) for i in range(60)]
    assert last.n_warm_up == 8


def test_an_evaluation_goes_on_with_its_kappa():
    stream = [({"x": float(i)}, y) for i, y in enumerate(random_labels(300))]
    whole = list(prequential(stream, models.make("markov(order=2)"), window=100))
    evaluation = prequential(stream, model := models.make("markov(order=2)"), window=100)
    next(evaluation)
    kept, model = evaluation.state(), pickle.loads(pickle.dumps(model))
    again = list(prequential(stream, model, window=100, resume_from=kept))
    assert [one.cumulative for one in again] == [one.cumulative for one in whole[1:]]
    assert [one.window for one in again] == [one.window for one in whole[1:]]


def test_memory_is_bounded_on_labels_without_end():
    model, label = MarkovClassifier(order=3, max_pairs=50), None
    for label in range(10_000):
        model.predict_one({})
        model.learn_one({}, label)
    assert model._succession.n_pairs == 50
    assert len(pickle.dumps(model)) < 10_000
    known = Succession(1, 2)
    for label in "ababcab":  # the pairs of "c" and of "b" with its next label are beyond the bound
        known.learn(label)
    assert known.n_pairs == 2
    assert known.predict() == "a"


def test_a_state_gives_the_same_answers():
    known, again = Succession(2), Succession(2)
    for label in random_labels(100):
        known.learn(label)
    again.restore(copy.deepcopy(known.state()))
    for label in random_labels(100, seed=3):
        assert again.predict() == known.predict()
        assert again.shares() == known.shares()
        known.learn(label)
        again.learn(label)
    assert again == known


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("markov(order=0)", "order=0 looks at no last label"),
        ("markov(order=1.5)", "order=1.5; choose a whole number"),
        ("markov(order=-1)", "order=-1; choose a whole number, at least 0"),
        ("markov(order=101)", "order=101 last labels; choose at most 100"),
        ("markov(max_pairs=0)", "max_pairs=0; choose a whole number, at least 1"),
        ("markov(max_pairs=99999999)", "choose at most 10,000,000"),
    ],
)
def test_wrong_arguments_are_refused(spec, message):
    with pytest.raises(ValueError, match=message):
        models.make(spec)


def test_weights_count_and_one_of_none_only_tells_what_came_last():
    model = MarkovClassifier()
    model.learn_one({}, "a", w=0.0)
    assert (model.predict_one({}), model.predict_proba_one({})) == (None, {})
    for label, weight in [("b", 1.0), ("a", 1.0), ("c", 3.0), ("a", 0.0)]:
        model.learn_one({}, label, w=weight)
    assert model.predict_proba_one({}) == {"b": 0.25, "c": 0.75}
    for wrong in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="choose a finite weight of 0 or more"):
            model.learn_one({}, "b", w=wrong)


def test_it_is_kept_like_the_other_baselines():
    assert MarkovClassifier(2, 7).clone()._get_params() == {"order": 2, "max_pairs": 7}
    kept = [(why_not_kept(models.make(name)) or "").split("cannot be")[1] for name in ("markov", "nochange")]
    assert kept[0] == kept[1]


def test_on_a_real_stream_it_is_no_worse_than_the_other_baselines():
    stream = streams.make("electricity", n_samples=2000)
    accuracy = {
        name: list(prequential(stream, models.make(name)))[-1].cumulative["accuracy"]
        for name in ("majority", "nochange", "markov")
    }
    assert accuracy["markov"] > accuracy["majority"]
    assert accuracy["markov"] >= accuracy["nochange"] - 0.01


def test_of_equal_labels_the_form_that_came_first_is_said():
    succession = Succession(0)
    assert succession.follow([True, 1, 1.0, 1], [1.0] * 4) == [None, True, True, True]
    assert succession.predict() is True
    with pytest.raises(ValueError, match="2 labels and 1 weights"):
        succession.follow(["a", "b"], [1.0])
    assert succession.shares() == {True: 1.0}
