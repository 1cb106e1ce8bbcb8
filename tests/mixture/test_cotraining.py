"""Co-training of router and experts: equal to its readable twin, and what each of the paper's variants does."""

from __future__ import annotations

import math

import numpy as np
import pytest
from batches import batch
from reference.cotraining import ReferenceDriftMoE
from river import datasets, linear_model
from small_models import SEA, AlwaysSays, learnt, new_tree, small

import streams
from driftmoe import DriftMoEClassifier
from driftmoe.mixture.mixing import follow_right
from driftmoe.routing import TopK, WithNull, WithShared


def router_layers(model):
    """Weights as the twin has them, a row of numbers for each output, and biases."""
    return [(weights.T.tolist(), biases.tolist()) for weights, biases in layers(model._mixture.router)]


def layers(router, of=None):
    return router._layers(router._weights if of is None else of)


@pytest.fixture(scope="module")
def side_by_side():
    """A model and its readable twin after 160 samples (ten router steps) of numeric data with two and three classes."""
    runs = {}
    for name, samples in {
        "two classes": list(datasets.Phishing().take(160)),
        "new classes": list(streams.make("waveform", seed=2, n_samples=160)),
    }.items():
        model = small("moe-data", expert=new_tree())
        twin = None
        losses, predictions = [], []
        for x, y in samples:
            if twin is not None:
                predictions.append((model.predict_one(x), twin.predict(x)))
            first_moment = model._mixture.router._moments[0].copy()
            model.learn_one(x, y)
            if twin is None:  # the router's input weights are drawn when the first sample shows the features
                twin = ReferenceDriftMoE(
                    router_layers(model),
                    [new_tree() for _ in range(4)],
                    top_k=2,
                    batch_size=16,
                    learning_rate=2e-3,
                )
            twin.learn(x, y)
            if not twin.batch:
                losses.append(twin.loss)
                gradient = (model._mixture.router._moments[0] - 0.9 * first_moment) / 0.1  # what Adam took in
                gradients = layers(model._mixture.router, gradient)
                for (of_weights, of_biases), (weight, bias) in zip(gradients, twin.gradients, strict=True):
                    np.testing.assert_allclose(of_weights.T, weight, rtol=1e-3, atol=2e-6)
                    np.testing.assert_allclose(of_biases, bias, rtol=1e-3, atol=1e-6)
        runs[name] = model, twin, predictions, losses
    return runs


RUNS = ["two classes", "new classes"]


@pytest.mark.parametrize("run", RUNS)
def test_router_weights_equal_the_twin_after_ten_steps(side_by_side, run):
    model, twin, _, losses = side_by_side[run]
    assert len(losses) == 10
    for (weight, bias), (expected_weight, expected_bias) in zip(
        router_layers(model), twin.layers, strict=True
    ):
        np.testing.assert_allclose(weight, expected_weight, atol=2e-4)
        np.testing.assert_allclose(bias, expected_bias, atol=2e-4)


@pytest.mark.parametrize("run", RUNS)
def test_the_chosen_experts_learnt_and_no_other(side_by_side, run):
    model, twin, _, _ = side_by_side[run]
    for ours, theirs in zip(model._mixture.experts._experts, twin.experts, strict=True):
        assert ours._train_weight_seen_by_model == theirs._train_weight_seen_by_model
    assert sum(expert._train_weight_seen_by_model for expert in twin.experts) == 160 * 2


@pytest.mark.parametrize("run", RUNS)
def test_predictions_equal_the_twin(side_by_side, run):
    _, _, predictions, _ = side_by_side[run]
    assert [ours for ours, _ in predictions] == [theirs for _, theirs in predictions]
    assert len(predictions) == 159


def test_moe_data_answers_with_one_expert_and_moe_vote_with_top_k():
    x = SEA[0][0]
    single, voted = learnt("moe-data", SEA), learnt("moe-vote", SEA)
    vector = single._encoder.vector(x)[np.newaxis]
    (logits,) = single._mixture.router.logits(single._encoder.inputs(vector, is_learning=False))
    chosen, second = np.argsort(-logits, kind="stable")[:2]
    (experts,) = single._mixture.experts.predict_proba(batch(vector, 2))
    assert list(single.predict_proba_one(x).values()) == pytest.approx(experts[chosen].tolist())
    weight = 1.0 / (1.0 + math.exp(logits[second] - logits[chosen]))
    expected = weight * experts[chosen] + (1.0 - weight) * experts[second]
    assert list(voted.predict_proba_one(x).values()) == pytest.approx(expected.tolist(), rel=1e-6)


def test_moe_task_experts_decide_together_with_the_router():
    model = learnt("moe-task", SEA)
    x = SEA[0][0]
    vector = model._encoder.vector(x)[np.newaxis]
    logits = model._mixture.router.logits(model._encoder.inputs(vector, is_learning=False))[0].astype(float)
    own = model._mixture.experts.pool.predict_proba(vector)[0, :, 1]
    scores = np.exp(logits) * own
    assert list(model.predict_proba_one(x).values()) == pytest.approx(
        (scores / scores.sum()).tolist(), rel=1e-5
    )


def test_moe_task_grows_an_expert_per_class_and_teaches_all_of_them():
    model = small("moe-task", expert=new_tree())
    for i, label in enumerate(["a", "b", ("c", 1), "a"]):
        model.learn_one({"v": float(i)}, label)
    weights = [expert._train_weight_seen_by_model for expert in model._mixture.experts._experts]
    assert weights == [4.0, 3.0, 2.0]
    assert model._mixture.router.n_outputs == 3
    assert set(model.predict_proba_one({"v": 0.0})) == {"a", "b", ("c", 1)}


def test_moe_task_takes_binary_experts():
    model = learnt(
        "moe-task", list(datasets.ImageSegments().take(100)), expert=linear_model.LogisticRegression()
    )
    assert len(model._mixture.experts._experts) == len(model.predict_proba_one({}))


def test_moe_task_teaches_the_router_the_true_class():
    model = small("moe-task", expert=new_tree())
    for i, label in enumerate(["a", "b", "a", "c"]):
        model.learn_one({"v": float(i)}, label)
    none = np.nan  # there was no such expert yet
    np.testing.assert_array_equal(
        model._mixture.router._targets[:4], [[1, none, none], [0, 1, none], [1, 0, none], [0, 0, 1]]
    )


def test_router_sends_a_region_to_the_expert_that_knows_it():
    """Experts 0 and 1 always say 0 and 1; the class is the sign of v: only the router can tell them apart."""
    model = DriftMoEClassifier(
        "moe-data",
        expert=new_tree(),
        n_experts=2,
        top_k=1,
        hidden=(8,),
        batch_size=8,
        learning_rate=0.05,
        seed=0,
    )
    model.learn_one({"v": -1.0}, 0)
    model.learn_one({"v": 1.0}, 1)
    model._mixture.experts._experts = [AlwaysSays(0), AlwaysSays(1)]
    hits = []
    for value in np.random.default_rng(0).normal(size=800):
        hits.append(model.predict_one({"v": value}) == int(value > 0))
        model.learn_one({"v": value}, int(value > 0))
    assert np.mean(hits[400:]) > 0.95


def corrected(correct, *, rate):
    corrections, logits = np.zeros(correct.shape[1]), np.zeros(correct.shape)
    follow_right(correct, 0, np.ones(len(correct)), rate, corrections, logits)
    return logits, corrections


@pytest.mark.parametrize("is_compiled", [True, False])
def test_the_correction_by_hand(is_compiled):
    function = follow_right if is_compiled else follow_right.py_func
    correct = np.array([[True, False, False], [True, True, False]])
    corrections, logits = np.zeros(3), np.array([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]])
    function(correct, 0, np.ones(2), 0.3, corrections, logits)
    np.testing.assert_allclose(logits, [[1, 2, 3], [0.2, -0.1, -0.1]])
    np.testing.assert_allclose(corrections, [0.98 * 0.2 + 0.1, 0.98 * -0.1 + 0.1, 0.98 * -0.1 - 0.2])


@pytest.mark.parametrize("is_compiled", [True, False])
def test_the_correction_passes_over_shared_experts_and_counts_a_row_by_its_weight(is_compiled):
    function = follow_right if is_compiled else follow_right.py_func
    correct = np.array([[False, True, False, False], [True, True, True, False]])  # the first is shared
    corrections, logits = np.zeros(3), np.zeros((2, 3))
    function(correct, 1, np.array([2.0, 0.5]), 0.3, corrections, logits)
    np.testing.assert_allclose(logits, [[0, 0, 0], [0.4, -0.2, -0.2]])
    np.testing.assert_allclose(corrections, [0.98 * 0.4 + 0.05, 0.98 * -0.2 + 0.05, 0.98 * -0.2 - 0.1])


def test_the_correction_finds_the_expert_that_is_right_lately():
    """Twelve experts are right on 60 % of samples, but one, another every 1000 samples, on 85 %."""
    rng = np.random.default_rng(0)
    chance = np.full((20_000, 12), 0.6)
    chance[np.arange(20_000), np.arange(20_000) // 1000 * 7 % 12] = 0.85
    correct = rng.random(chance.shape) < chance
    before, _ = corrected(correct, rate=0.1)
    first = before.argmax(axis=1)
    assert correct[np.arange(20_000), first].mean() > 0.79  # 0.62 without, 0.85 if it knew


@pytest.mark.parametrize(
    ("variant", "policy"),
    [
        ("moe-vote", None),
        ("moe-vote", WithShared(TopK(1), 1)),
        ("moe-data", None),
        ("moe-data", WithNull(TopK(2), n_null=2)),
    ],
    ids=str,
)
def test_the_correction_moves_votes_not_learning_the_same_in_blocks(variant, policy):
    stream = streams.make("sea", seed=2, n_samples=400)
    plain, one, many = (small(variant, policy=policy, correction=c) for c in (0.0, 0.3, 0.3))
    answers = []
    for x, y in stream:
        answers.append(one.predict_one(x))
        one.learn_one(x, y)
        plain.learn_one(x, y)
    (block,) = stream.blocks(400)
    names, values = [f.name for f in stream.features], [f.values for f in stream.features]
    assert many.step_many(*block, names=names, values=values, classes=stream.classes) == answers
    assert many._mixture._logit_corrections.tolist() == one._mixture._logit_corrections.tolist()
    assert [model._mixture.experts.pool.weight_seen.tolist() for model in (one, many)] == [
        plain._mixture.experts.pool.weight_seen.tolist()
    ] * 2
    assert one._mixture.router._weights.tobytes() == plain._mixture.router._weights.tobytes()
    if policy is None:
        assert any(one.predict_proba_one(x) != plain.predict_proba_one(x) for x, _ in stream.take(50))


def test_a_router_that_never_learns_stays_as_it_was_drawn():
    model = learnt("driftmoe", SEA[:10], learning_rate=0.0)  # both classes are known by then
    before = model._mixture.router._weights.copy()
    for x, y in SEA:
        model.learn_one(x, y)
    assert model._mixture.router._weights.tolist() == before.tolist()
