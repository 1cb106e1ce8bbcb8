"""Weights of classes: by hand and beside a slow twin, in single samples, blocks, threads, files and keys."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pandas as pd
import pytest
from compiled_or_not import plain
from reference.class_weights import balanced, reweighed, weighed
from small_models import small

import driftmoe
import streams
from driftmoe import DriftMoEClassifier, models
from driftmoe.class_weights import FADING, ClassWeights, count, reweigh, weigh
from driftmoe.engines import Event, step
from driftmoe.metrics import GMean
from streams.wrappers import ClassImbalance, Take

VARIANTS = ("driftmoe", "moe-vote", "moe-data", "moe-task")

RARE = list(Take(ClassImbalance(streams.make("sea", seed=5), {0: 0.95, 1: 0.05}, seed=2), 400))


def fed(samples, *, variant="driftmoe", weights=None, **arguments):
    model = small(variant, **arguments)
    for i, (x, y) in enumerate(samples):
        model.learn_one(x, y, w=1.0 if weights is None else weights[i])
    return model


def rows_of(labels, weights, n_classes, *, is_compiled):
    """The result of the kernels for labels that are 0, 1, ...: factors, weights, and the counts that remain."""
    targets, counts = np.array(labels), np.zeros(n_classes)
    learnt, factors = np.empty(len(labels)), np.empty((len(labels), n_classes))
    plain(weigh, is_compiled)(targets, np.array(weights), counts, np.empty(0), learnt, factors)
    assert not counts.any()
    plain(count, is_compiled)(targets, np.array(weights), counts)
    return factors, learnt, counts


@pytest.mark.parametrize("is_compiled", [True, False])
def test_balanced_weights_are_those_of_the_twin(is_compiled):
    rng = np.random.default_rng(1)
    labels = rng.choice(4, 60, p=[0.7, 0.2, 0.05, 0.05]).tolist()
    weights = rng.choice([0.0, 0.5, 1.0, 3.0], 60).tolist()
    factors, learnt, counts = rows_of(labels, weights, 4, is_compiled=is_compiled)
    expected_factors, expected = weighed(labels, weights, FADING)
    assert learnt == pytest.approx(expected)
    for row, of_classes in zip(factors, expected_factors, strict=True):
        assert row == pytest.approx([of_classes.get(c, 1.0) for c in range(4)])
    known = [label for label, w in zip(labels, weights, strict=True) if w > 0]
    model = ClassWeights("balanced")
    model.restore({"counts": counts})
    of_twin = balanced(known, FADING)
    assert model.of([0, 1, 2, 3]) == pytest.approx([of_twin[c] for c in range(4)])


def test_three_samples_by_hand():
    # After a, a, b: (2 + 1, 1 + 1) of 5, so a weighs 5 / (2 · 3) and b 5 / (2 · 2), up to the little that has faded.
    model = fed([({"x": 1.0}, "a"), ({"x": 1.0}, "a"), ({"x": 2.0}, "b")], class_weight="balanced")
    assert model.class_weights == pytest.approx({"a": 5 / 6, "b": 5 / 4}, rel=1e-3)


@pytest.mark.parametrize("is_compiled", [True, False])
def test_probabilities_are_multiplied_and_sum_to_one(is_compiled):
    proba, factors = np.array([[0.9, 0.1], [0.5, 0.5], [1.0, 0.0]]), np.array([[1.0, 3.0]] * 3)
    answers = np.empty_like(proba)
    plain(reweigh, is_compiled)(proba, factors, answers)
    assert answers == pytest.approx(np.array([[0.75, 0.25], [0.25, 0.75], [1.0, 0.0]]))


def test_weights_follow_shares_that_drift():
    weights = ClassWeights("balanced")
    shares = []
    for targets in (np.arange(6000) % 100 == 0, np.arange(6000) % 100 != 0):
        if not shares:
            counts = np.zeros(2)
        count(targets.astype(np.int64), np.ones(6000), counts)
        weights.restore({"counts": counts})
        shares.append(weights.of([0, 1]))
    assert shares[0][1] > 20 * shares[0][0]
    assert shares[1][0] > 5 * shares[1][1]


@pytest.mark.parametrize("variant", VARIANTS)
def test_given_weights_act_in_halves_on_samples_and_on_probabilities(variant):
    weights = {0: 0.25, 1: 9.0}
    model = fed(RARE, variant=variant, class_weight=weights)
    other = fed(RARE, variant=variant, weights=[math.sqrt(weights[y]) for _, y in RARE])
    for x, _ in RARE[:20]:
        expected = reweighed(other.predict_proba_one(x), {0: 0.5, 1: 3.0})
        assert model.predict_proba_one(x) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("variant", VARIANTS)
def test_weights_of_one_change_nothing(variant):
    model, other = (fed(RARE, variant=variant, class_weight=given) for given in ({"none": 5.0}, None))
    for x, _ in RARE[:20]:
        assert model.predict_proba_one(x) == pytest.approx(other.predict_proba_one(x), rel=1e-12)
    assert other.class_weights == {0: 1.0, 1: 1.0}


@pytest.mark.parametrize(
    ("given", "label", "types"),
    [({"1": 9.0}, 1, "'1' of type str, but the label 1 is of type int"),
     ({1: 9.0, "no": 2.0}, "1", "1 of type int, but the label '1' is of type str"),
     ({"1": 9.0}, 1.0, "'1' of type str, but the label 1.0 is of type float"),
     ({1: 9.0}, "1.0", "1 of type int, but the label '1.0' is of type str"),
     ({"true": 9.0}, True, "'true' of type str, but the label True is of type bool"),
     ({True: 9.0}, "True", "True of type bool, but the label 'True' is of type str")],
)  # fmt: skip
def test_a_weight_for_a_label_of_another_type_is_refused_and_nothing_is_lost(given, label, types):
    model = fed([({"x": 1.0}, "other"), ({"x": 2.0}, "more")], class_weight=given)
    before = model.digest()
    with pytest.raises(TypeError, match=f"class_weight has {types}; give the weight of"):
        model.learn_one({"x": 3.0}, label)
    assert model.digest() == before
    with pytest.raises(TypeError, match=types) as found:
        model.learn_many(pd.DataFrame({"x": [1.0, 3.0]}), ["other", label])
    assert found.value.n_learnt == 1  # as of every error that only a later row brings
    assert found.value.__notes__ == ["rows 0 to 0 of 2 have been learnt, the others have not"]
    model.learn_one({"x": 3.0}, "other")


def test_given_weights_follow_the_labels_where_classes_are_given_up_again():
    weights = ClassWeights({"b": 9.0})
    assert [weights._given_of(classes).tolist() for classes in (["a", "b"], ["a", "c"], ["a"], ["b"])] == [
        [1.0, 9.0], [1.0, 1.0], [1.0], [9.0],
    ]  # fmt: skip


@pytest.mark.parametrize("given", ["balanced", {1: 20.0}], ids=str)
@pytest.mark.parametrize("variant", VARIANTS)
def test_blocks_and_threads_equal_single_samples(variant, given):
    threads = {} if variant == "moe-task" else {"n_threads": 2}
    one, many = small(variant, class_weight=given), small(variant, class_weight=given, **threads)
    X, y = np.array([list(x.values()) for x, _ in RARE]), np.array([y for _, y in RARE])
    legend = {"names": list(RARE[0][0]), "values": [None] * X.shape[1], "classes": [0, 1]}
    w = np.random.default_rng(1).choice([0.0, 0.5, 1.0, 4.0], len(y))
    said, proba = [], []
    for i, (x, label) in enumerate(RARE):
        proba.append(one.predict_proba_one(x))
        said.append(one.predict_one(x))
        one.learn_one(x, label, w=w[i])
    found = [
        many.step_proba_many(X[s], y[s], w=w[s], **legend)
        for s in (slice(0, 7), slice(7, 390), slice(390, 400))
    ]
    assert [label for labels, _ in found for label in labels] == said
    assert [p for _, of_block in found for p in of_block] == proba
    assert many.clone({"n_threads": 1}, include_attributes=True).digest() == one.digest()
    assert all(said[i] == max(p, key=p.get) for i, p in enumerate(proba) if p)
    frame = pd.DataFrame([x for x, _ in RARE[:30]])
    assert many.predict_many(frame).tolist() == [one.predict_one(x) for x, _ in RARE[:30]]
    assert many.predict_proba_many(frame).to_dict("records") == [
        one.predict_proba_one(x) for x, _ in RARE[:30]
    ]


def test_a_key_that_is_cut_into_runs_gives_what_a_loop_gives():
    events = [Event(i, None, "sample", {"features": x, "label": y}) for i, (x, y) in enumerate(RARE[:120])]

    def make():
        return small("driftmoe", class_weight="balanced")

    whole, first = step(None, events, make), step(None, events[:50], make)
    second = step(first.state, events[50:], make)
    assert second.state == whole.state
    assert [p.label for p in (*first.predictions, *second.predictions)] == [
        p.label for p in whole.predictions
    ]
    model, said = make(), []
    for x, y in RARE[:120]:
        said.append(model.predict_one(x))
        model.learn_one(x, y)
    assert [p.label for p in whole.predictions] == said


@pytest.mark.parametrize("given", ["balanced", {"yes": 4, 2: 0.5}], ids=str)
def test_a_saved_model_goes_on_alike(given, tmp_path):
    samples = [(x, "yes" if y else 2) for x, y in RARE]
    model = fed(samples[:300], class_weight=given)
    model.save(tmp_path / "rare.moe")
    copies = [
        driftmoe.load(tmp_path / "rare.moe"),
        pickle.loads(pickle.dumps(model)),
        model.clone(None, True),
    ]
    for one in copies:
        assert one.settings["class_weight"] == given
        assert one.class_weights == model.class_weights
    for x, y in samples[300:]:
        assert all(one.predict_proba_one(x) == model.predict_proba_one(x) for one in copies)
        for one in (model, *copies):
            one.learn_one(x, y)
    assert {one.digest() for one in copies} == {model.digest()}


def test_a_wrong_state_is_refused_and_changes_nothing():
    model = fed(RARE[:60], class_weight="balanced")
    before = model.digest()
    for counts, error in [
        (np.array([-1.0, 2.0]), "'counts' in the state of ClassWeights has -1.0; all must be 0 or more"),
        (np.ones(3), "n_classes in class_weights=3 and that of the encoder 2"),
        (np.array([np.nan, 1.0]), "'counts' in the state of ClassWeights has nan"),
    ]:
        state = model.state()
        state["recent"]["class_weights"]["counts"] = counts
        with pytest.raises(ValueError, match=error):
            model.restore(state)
    assert model.digest() == before
    with pytest.raises(ValueError, match="class_weight"):
        small("driftmoe").restore(model.state())


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ("balance", ValueError, "class_weight='balance'; choose 'balanced', or a dict of labels"),
        ([1, 2], TypeError, r"class_weight=\[1, 2\] is of type list; give 'balanced', or a dict"),
        ({}, ValueError, "class_weight is empty; name a label"),
        ({"a": 0.0}, ValueError, "class_weight has the weight 0.0 for 'a'; choose 1e-06 <= weight <= 1e"),
        ({"a": "9"}, TypeError, "class_weight has the weight '9' for 'a'; give a number"),
        ({None: 1.0}, ValueError, "class_weight has the key None, but no sample has the label None"),
    ],
    ids=str,
)
def test_wrong_weights_are_refused(given, error, message):
    with pytest.raises(error, match=message):
        DriftMoEClassifier(class_weight=given)


def test_a_later_change_of_the_given_weights_changes_nothing():
    given = {1: 4.0}
    model = small("driftmoe", class_weight=given)
    given[1] = -3.0
    assert model.clone().class_weight == {1: 4.0}


def test_costs_are_those_of_the_weighed_probabilities():
    model = fed(RARE, class_weight="balanced", decision_costs={0: 4.0})
    for x, _ in RARE[:50]:
        proba = model.predict_proba_one(x)
        assert model.predict_one(x) == (0 if 4.0 * proba[0] >= proba[1] else 1) == model.decide_one(proba)


def test_classes_of_a_prior_that_never_come_are_not_favoured():
    prior = DriftMoEClassifier.small(seed=1)
    for i, (x, y) in enumerate(RARE[:100]):
        prior.learn_one(x, "other" if i % 3 == 0 else y)
    model = small("driftmoe", class_weight="balanced", prior=prior)
    for x, y in RARE:
        model.learn_one(x, y)
    assert model.class_weights["other"] == 1.0


def test_balanced_weights_find_more_of_a_rare_class():
    scores = []
    for given in (None, "balanced"):
        model, metric = small("driftmoe", class_weight=given), GMean()
        for x, y in Take(ClassImbalance(streams.make("sea", seed=6), {0: 0.95, 1: 0.05}, seed=3), 1500):
            metric.update(y, model.predict_one(x))
            model.learn_one(x, y)
        scores.append(metric.get())
    assert scores[1] > scores[0] + 0.03


def test_a_model_with_weights_is_written_as_text():
    assert models.make('driftmoe(class_weight="balanced")', seed=1).settings["class_weight"] == "balanced"
    assert models.make("moe-data(class_weight={1: 5})").class_weight == {1: 5}
