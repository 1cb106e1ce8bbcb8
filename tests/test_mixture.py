"""The adaptive mixture: its gate, its neighbours and its history against readable twins, and what each part does."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from batches import batch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import (
    follow_slowly,
    gate_slowly,
    nearest_slowly,
    perceive_slowly,
    poisson_slowly,
    regress_slowly,
)
from river import base, naive_bayes

import streams
from driftmoe import DriftMoEClassifier
from driftmoe.arithmetic import softmax
from driftmoe.evaluation import prequential
from driftmoe.experts import Batch
from driftmoe.experts.history import LabelHistory
from driftmoe.experts.linear import LinearModels, regress
from driftmoe.experts.neighbours import Neighbours
from driftmoe.experts.perceptron import Perceptron, perceive
from driftmoe.mixture import PROBE, SURPRISE
from driftmoe.mixture.gate import end_mini_batch, gate, head_errors, who_voted
from driftmoe.routing import Dense, TopK, WithNull, WithShared
from driftmoe.trees import HoeffdingTreeClassifier
from streams.drift import Switching
from streams.synthetic import LEDDrift

SMALL = {"n_experts": 3, "hidden": (8,), "seed": 2}


def plain(kernel, is_compiled):
    return kernel if is_compiled else getattr(kernel, "py_func", kernel)


def accuracy(model, stream):
    *_, last = prequential(stream, model, window=10**9)
    return last.cumulative["accuracy"]


def some_votes(rng, n_rows, n_experts, n_classes):
    votes = rng.dirichlet(np.ones(n_classes), (n_rows, n_experts))
    votes[rng.random((n_rows, n_experts)) < 0.2] = 0.0
    return votes


@pytest.mark.parametrize("is_compiled", [True, False])
@given(seed=st.integers(0, 10**6), n_null=st.integers(0, 2), is_learning=st.booleans())
@settings(max_examples=40, deadline=None)
def test_the_gate_is_its_readable_twin(is_compiled, seed, n_null, is_learning):
    rng = np.random.default_rng(seed)
    n_rows, n_experts, n_classes = 5, 4, 3
    n_logits = n_experts + n_null
    outputs = rng.normal(size=(n_rows, n_logits + n_classes)).astype(np.float32)
    votes = some_votes(rng, n_rows, n_experts, n_classes)
    chosen = rng.random((n_rows, n_experts)) < 0.7
    targets = rng.integers(0, n_classes, n_rows) if is_learning else np.empty(0, np.int64)
    taught = rng.choice([1.0, 0.5, 3.0], len(targets))
    memory_weights, kinds = np.array([3.0, 1.5], np.float32), np.array([0, 0, 1, 2])
    ours, theirs = (
        (
            np.full((2, n_logits), -0.5),
            np.ones(3),
            np.array([0.3, 0.5]),
            np.empty((n_rows, n_experts)),
            np.zeros_like(outputs),
            np.zeros(2),
        )
        for _ in range(2)
    )  # memories, trust, losses, weights, errors, memory_weights errors
    for do, (memories, trust, losses, weights, errors, memory_weight_errors) in (
        (plain(gate, is_compiled), ours),
        (gate_slowly, theirs),
    ):
        do(
            outputs,
            votes,
            chosen,
            targets,
            taught,
            n_logits,
            memories,
            memory_weights,
            kinds,
            trust,
            losses,
            weights,
            errors,
            memory_weight_errors,
        )
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("weight", [1.0, 2.5])
def test_errors_are_the_gradient_of_the_mixture_likelihood(weight):
    rng = np.random.default_rng(3)
    votes, memories = rng.dirichlet(np.ones(3), (1, 4)), rng.normal(size=(2, 4))
    logits = torch.tensor(rng.normal(size=4), requires_grad=True)
    memory_weights = torch.tensor([3.0, 1.0], dtype=torch.float64, requires_grad=True)
    weights = torch.softmax(logits + memory_weights @ torch.tensor(memories), 0)
    likelihoods = 0.98 * torch.tensor(votes[0, :, 1]) + 0.02 / 3
    (-weight * torch.log((weights * likelihoods).sum())).backward()
    outputs = logits.detach().numpy()[np.newaxis].astype(np.float32)
    errors, memory_weight_errors = np.zeros_like(outputs), np.zeros(2)
    gate(
        outputs, votes, np.ones((1, 4), np.bool_), np.array([1]), np.array([weight]), 4, memories,
        np.float32(memory_weights.detach().numpy()), np.zeros(4, np.int64), np.ones(1), np.zeros(2),
        np.empty((1, 4)), errors, memory_weight_errors,
    )  # fmt: skip
    np.testing.assert_allclose(errors[0], logits.grad, rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(memory_weight_errors, memory_weights.grad, rtol=1e-4, atol=1e-7)


def test_soften_is_softmax():
    outputs = np.array([[9.0, 1.0, 2.0, -300.0], [9.0, 1e4, 0.0, 0.0]], np.float32)
    proba = np.empty((2, 1, 3))
    softmax(outputs, 1, proba)
    np.testing.assert_allclose(
        proba[:, 0], torch.softmax(torch.tensor(outputs[:, 1:]).double(), 1), rtol=1e-12
    )


@pytest.mark.parametrize("is_compiled", [True, False])
def test_the_head_learns_what_it_says_less_what_is_true_times_the_weight(is_compiled):
    proba = np.array([[[0.5, 0.25, 0.25]], [[0.0, 0.0, 1.0]]])
    errors = np.full((2, 5), 7.0, np.float32)
    plain(head_errors, is_compiled)(proba, np.array([1, 2]), np.array([1.0, 4.0]), 2, errors)
    assert errors.tolist() == [[7.0, 7.0, 0.5, -0.75, 0.25], [7.0, 7.0, 0.0, 0.0, 0.0]]
    plain(head_errors, is_compiled)(proba[:1], np.array([0]), np.array([4.0]), 2, errors)
    assert errors[0].tolist() == [7.0, 7.0, -2.0, 1.0, 1.0]


@pytest.mark.parametrize("is_compiled", [True, False])
def test_those_voted_who_were_chosen_and_had_a_vote(is_compiled):
    votes = np.zeros((1, 4, 2))
    votes[0, 0, 0] = votes[0, 2, 1] = 1.0
    mask = np.empty((1, 4), np.bool_)
    plain(who_voted, is_compiled)(np.array([[True, True, False, False]]), votes, mask)
    assert mask.tolist() == [[True, False, False, False]]


@pytest.mark.parametrize("is_compiled", [True, False])
@pytest.mark.parametrize("rate", [0.0, 0.01])
def test_the_end_of_a_mini_batch_updates_memory_weights_and_logits_and_whom_to_probe(is_compiled, rate):
    theirs = torch.tensor([3.0, 1.5], requires_grad=True)
    optimiser = torch.optim.Adam([theirs], lr=0.01)
    memory_weights, moments = np.array([3.0, 1.5], np.float32), np.zeros((2, 2), np.float32)
    memories = np.array([[-0.1, -2.0, -0.5], [-0.2, -1.0, -0.7]])
    n_steps, memory_logits, is_probed = np.zeros(1, np.int64), np.zeros(3), np.ones(3, np.bool_)
    trust, least, losses = np.array([0.1, 0.6, 0.3]), np.array([0.2, 0.5, 0.3]), np.array([0.5, 0.41])
    for step in range(1, 4):
        errors = np.array([0.8, -2.4]) * step
        if rate > 0.0:
            theirs.grad = torch.tensor(errors / 8.0).float()
            optimiser.step()
        plain(end_mini_batch, is_compiled)(
            memory_weights,
            *moments,
            errors,
            n_steps,
            rate,
            8,
            memories,
            memory_logits,
            trust,
            least,
            losses,
            is_probed,
        )
        assert errors.tolist() == [0.0, 0.0]
    np.testing.assert_allclose(memory_weights, theirs.detach(), rtol=1e-6)
    assert n_steps[0] == (3 if rate > 0.0 else 0)
    np.testing.assert_allclose(memory_logits, memory_weights.astype(float) @ memories)
    assert losses[0] <= SURPRISE * losses[1]
    assert is_probed.tolist() == [True, False, False]
    losses[0] = 1.01 * SURPRISE * losses[1]  # a surprise
    plain(end_mini_batch, is_compiled)(
        memory_weights,
        *moments,
        np.zeros(2),
        n_steps,
        rate,
        8,
        memories,
        memory_logits,
        trust,
        least,
        losses,
        is_probed,
    )
    assert not is_probed.any()


def test_the_poisson_draws_of_a_row_are_those_of_its_number():
    model = DriftMoEClassifier(leverage=2.0, **SMALL)
    for n, (x, y) in enumerate(streams.make("sea", seed=1, n_samples=50)):
        expected = [
            [poisson_slowly(int(model._mixture._key), n + row, e, 2.0) for e in range(3)] for row in range(4)
        ]
        assert model._mixture._draws(4).tolist() == expected
        model.predict_proba_one(x)
        model.learn_one(x, y)


@pytest.mark.parametrize("by_relevance", [False, True])
@given(seed=st.integers(0, 10**6), capacity=st.sampled_from([64, 128]), k=st.integers(1, 6))
@settings(max_examples=10, deadline=None)
def test_neighbours_are_found_as_by_sorting_all(by_relevance, seed, capacity, k):
    rng = np.random.default_rng(seed)
    n = 700 if by_relevance else 300
    inputs = rng.normal(size=(n, 3)).astype(np.float32)
    targets = (inputs[:, 1] > 0.0).astype(np.int64) + 2 * (inputs[:, 0] > 1.0)
    targets[n // 3 : n // 2] = 3 - targets[n // 3 : n // 2]  # another concept for a while
    taught = rng.choice([1.0, 1.0, 0.5, 4.0], n)
    votes = ((0.0, 0.0), (0.0, 0.01), (0.0, 0.3), (5.0, 0.0), (2.0, 0.05))
    neighbours = Neighbours(capacity, k, votes, by_relevance=by_relevance)
    ours, start = [], 0
    while start < n:
        stop = min(n, start + int(rng.integers(1, 30)))
        ask = np.ones(stop - start, np.bool_)
        rows = slice(start, stop)
        ours.append(neighbours.step(batch(inputs[rows], 4, targets[rows], taught[rows]), asked=ask))
        start = stop
    theirs = nearest_slowly(inputs, targets, taught, capacity, k, votes, 4, by_relevance=by_relevance)
    np.testing.assert_allclose(np.concatenate(ours), theirs, rtol=5e-3, atol=5e-3)


def test_neighbours_predict_what_step_says_and_change_nothing():
    rng = np.random.default_rng(1)
    inputs, targets = rng.normal(size=(300, 2)).astype(np.float32), rng.integers(0, 2, 300)
    neighbours, everyone, once = Neighbours(64), np.ones(300, np.bool_), np.ones(300)
    neighbours.step(batch(inputs, 2, targets, once), asked=everyone)
    first = neighbours.predict_proba(batch(inputs, 2))
    np.testing.assert_array_equal(first, neighbours.predict_proba(batch(inputs, 2)))
    np.testing.assert_array_equal(
        first[0], neighbours.step(batch(inputs[:1], 2, targets[:1], once[:1]), asked=everyone[:1])[0]
    )


def test_a_row_that_is_not_asked_is_remembered_all_the_same():
    inputs = np.array([[0.0], [1.0], [1.0]], np.float32)
    neighbours = Neighbours(64, 1, ((0.0, 0.0),))
    votes = neighbours.step(
        batch(inputs, 2, np.array([0, 1, 0]), np.ones(3)), asked=np.array([True, False, True])
    )
    assert votes[0].tolist() == votes[1].tolist() == [[0.0, 0.0]]
    assert votes[2, 0].argmax() == 1


def test_a_new_input_was_zero_before():
    neighbours = Neighbours(64, 1, ((0.0, 0.0),))
    everyone = np.ones(2, np.bool_)
    neighbours.step(
        batch(np.array([[0.0], [0.1]], np.float32), 2, np.array([0, 1]), np.ones(2)), asked=everyone
    )
    votes = neighbours.predict_proba(batch(np.array([[0.0, 0.0], [0.1, 9.0]], np.float32), 2))
    assert votes[:, 0].argmax(axis=1).tolist() == [0, 1]


def test_the_past_gets_thinner_the_farther_back_in_bounded_memory():
    rng = np.random.default_rng(0)
    neighbours = Neighbours(64)
    n = 3000
    neighbours.step(
        batch(rng.normal(size=(n, 1)).astype(np.float32), 1, np.zeros(n, np.int64), np.ones(n)),
        asked=np.zeros(n, np.bool_),
    )
    used = neighbours._order[: neighbours._counts[0]]
    times = neighbours._times[used].ravel()
    assert 30 <= len(used) <= 32
    assert times[-1] == n - 1
    gaps = np.diff(times)[::2]  # within an episode of two samples
    assert (gaps == 2 ** neighbours._episodes["level"][used]).all()
    assert (np.diff(gaps) <= 0).all()
    assert gaps[-8:].tolist() == [1] * 8
    assert n - times[0] > 2 * neighbours._times.size  # it looks back farther than a window of its size


def test_what_was_known_of_a_concept_is_there_again_when_it_returns():
    """Two concepts that contradict each other take turns; a window of the same size knows only the other one."""
    rng = np.random.default_rng(0)
    inputs = rng.random((8 * 500, 2)).astype(np.float32)
    checker = (inputs * 4).astype(int).sum(axis=1) % 2
    is_second = np.arange(len(inputs)) // 500 % 2
    targets = np.where(is_second, 1 - checker, checker)
    neighbours = Neighbours(1024, 1, ((0.0, 0.0), (12.0, 0.0), (0.0, 0.01)))
    votes = neighbours.step(
        batch(inputs, 2, targets, np.ones(len(inputs))), asked=np.ones(len(inputs), np.bool_)
    )
    is_right = votes.argmax(axis=2) == targets[:, np.newaxis]
    early = np.concatenate([np.arange(50, 150) + 500 * turn for turn in range(4, 8)])
    of_all, of_like_times, of_late = is_right[early].mean(axis=0)
    assert of_like_times > 0.8
    assert of_like_times > max(of_all, of_late) + 0.15


@pytest.mark.parametrize("capacity", [0, 32, 100])
def test_a_capacity_that_episodes_cannot_share_is_refused(capacity):
    with pytest.raises(ValueError, match=f"capacity={capacity}; choose a multiple of 64"):
        Neighbours(capacity)


@given(
    rows=st.lists(
        st.tuples(st.integers(0, 3), st.sampled_from([1.0, 1.0, 0.5, 3.0])), min_size=1, max_size=60
    ),
    cut=st.integers(0, 60),
)
@settings(deadline=None)
def test_history_is_its_readable_twin(rows, cut):
    history = LabelHistory()
    targets, taught = np.array([target for target, _ in rows]), np.array([weight for _, weight in rows])
    votes = []
    for part in (slice(cut), slice(cut, None)):
        n = len(targets[part])
        if n:
            inputs = np.zeros((n, 1), np.float32)
            votes.append(
                history.step(batch(inputs, 4, targets[part], taught[part]), asked=np.ones(n, np.bool_))
            )
    np.testing.assert_allclose(np.concatenate(votes)[:, 0], follow_slowly(targets, taught, 4), rtol=1e-9)
    one_more = history.predict_proba(batch(np.zeros((1, 1), np.float32), 4))[0, 0]
    np.testing.assert_allclose(one_more, follow_slowly([*targets, 0], [*taught, 1.0], 4)[-1], rtol=1e-9)


def test_history_of_many_classes_takes_bounded_memory():
    history = LabelHistory()
    targets = np.arange(3000)
    votes = history.step(
        batch(np.zeros((3000, 1), np.float32), 3000, targets, np.ones(3000)), asked=np.ones(3000, np.bool_)
    )
    assert history._pairs.nbytes < 10**6
    assert votes[10].sum() == pytest.approx(1.0)
    assert votes[2999].sum() == 0.0


@pytest.mark.parametrize("is_compiled", [True, False])
@given(seed=st.integers(0, 10**6), cut=st.integers(0, 30), n_inputs=st.integers(0, 4))
@settings(max_examples=30, deadline=None)
def test_linear_models_are_their_readable_twin(is_compiled, seed, cut, n_inputs):
    rng = np.random.default_rng(seed)
    inputs = (rng.normal(size=(30, n_inputs)) * rng.integers(0, 3, n_inputs)).astype(np.float32)
    targets, rates = rng.integers(0, 3, 30), (1.0, 0.1)
    taught = rng.choice([1.0, 0.5, 3.0], 30)
    slow = [regress_slowly(inputs.astype(np.float64), targets, taught, 3, rate) for rate in rates]
    models = LinearModels(rates)
    parts = [(inputs[rows], targets[rows], taught[rows]) for rows in (slice(cut), slice(cut, None))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("driftmoe.experts.linear.regress", plain(regress, is_compiled))
        votes = [
            models.step(batch(x, 3, y, w), asked=np.ones(len(y), np.bool_)) for x, y, w in parts if len(y)
        ]
        last = models.predict_proba(batch(inputs[:1], 3))
    for r, (proba, weights) in enumerate(slow):
        np.testing.assert_allclose(np.concatenate(votes)[:, r], proba, rtol=1e-9, atol=1e-12)
        logits = weights @ np.append(inputs[0].astype(np.float64), 1.0)
        np.testing.assert_allclose(last[0, r], np.exp(logits) / np.exp(logits).sum(), rtol=1e-9)


def test_linear_models_take_in_new_inputs_and_classes_and_predicting_changes_nothing():
    rng = np.random.default_rng(1)
    models, asked = LinearModels(), np.ones(50, np.bool_)
    inputs = rng.normal(size=(50, 2)).astype(np.float32)
    models.step(batch(inputs, 2, (inputs[:, 0] > 0).astype(np.int64), np.ones(50)), asked=asked)
    before = models.predict_proba(batch(inputs, 2))
    assert models.predict_proba(batch(np.hstack([inputs, np.ones((50, 3), np.float32)]), 5)).shape == (
        50,
        3,
        5,
    )
    np.testing.assert_array_equal(models.predict_proba(batch(inputs, 2)), before)
    wider = np.hstack([inputs, np.zeros((50, 1), np.float32)])
    after = models.step(batch(wider[:1], 3, np.array([2]), np.ones(1)), asked=asked[:1])
    np.testing.assert_allclose(after[0, :, 1] / after[0, :, 0], before[0, :, 1] / before[0, :, 0])
    assert models._weights.shape == (3, 4, 3)


@pytest.mark.parametrize("size", [1e-30, 1e18])
def test_linear_models_stay_finite_whatever_the_size_of_inputs(size):
    rng = np.random.default_rng(1)
    inputs = (size * rng.normal(size=(2000, 3))).astype(np.float32)
    targets = (inputs @ np.array([1.0, -2.0, 0.5], np.float32) > 0).astype(np.int64)
    votes = LinearModels().step(batch(inputs, 2, targets, np.ones(2000)), asked=np.ones(2000, np.bool_))
    assert np.isfinite(votes).all()
    if size > 1.0:
        assert (votes.argmax(2)[1000:, 0] == targets[1000:]).mean() > 0.95


@pytest.mark.parametrize("rates", [(), (0.5, 0.0), (-1.0,)])
def test_linear_models_refuse_rates_that_lead_nowhere(rates):
    with pytest.raises(ValueError, match="give numbers above 0"):
        LinearModels(rates)


def test_linear_models_find_a_slanting_border_sooner_than_trees():
    stream = list(streams.make("hyperplane", seed=1, n_samples=4000))

    def share(model):
        hits = 0
        for i, (x, y) in enumerate(stream):
            hits += i >= 1000 and model.predict_one(x) == y
            model.learn_one(x, y)
        return hits / 3000

    with_them = share(DriftMoEClassifier(n_experts=4, extras=("linear",), seed=1))
    assert with_them > share(DriftMoEClassifier(n_experts=4, extras=(), seed=1)) + 0.05


@pytest.mark.parametrize("is_compiled", [True, False])
@given(
    seed=st.integers(0, 10**6), cut=st.integers(0, 30), n_inputs=st.integers(0, 4), width=st.integers(1, 20)
)
@settings(max_examples=30, deadline=None)
def test_the_network_is_its_readable_twin(is_compiled, seed, cut, n_inputs, width):
    rng = np.random.default_rng(seed)
    inputs = (rng.normal(size=(30, n_inputs)) * rng.integers(0, 3, (30, n_inputs))).astype(np.float32)
    targets, network = rng.integers(0, 3, 30), Perceptron(rng, width=width, rate=0.01)
    taught = rng.choice([1.0, 0.5, 3.0], 30)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("driftmoe.experts.perceptron.perceive", plain(perceive, is_compiled))
        network.step(batch(inputs[:0], 3, targets[:0], taught[:0]), asked=np.ones(0, np.bool_))
        slow = perceive_slowly(inputs, targets, taught, 3, network._hidden[0], 0.01)
        parts = [(inputs[rows], targets[rows], taught[rows]) for rows in (slice(cut), slice(cut, None))]
        votes = [network.step(batch(x, 3, y, w), asked=np.ones(len(y), np.bool_)) for x, y, w in parts]
    np.testing.assert_allclose(np.concatenate(votes)[:, 0], slow, atol=1e-3)


def test_the_network_says_of_a_row_the_same_in_any_block():
    rng = np.random.default_rng(1)
    inputs = rng.normal(size=(100, 5)).astype(np.float32)
    targets, asked, once = rng.integers(0, 3, 100), np.ones(100, np.bool_), np.ones(100)
    whole, one_by_one = (Perceptron(np.random.default_rng(1)) for _ in range(2))
    votes = whole.step(batch(inputs, 3, targets, once), asked=asked)
    for i in range(100):
        said = one_by_one.predict_proba(batch(inputs[i : i + 1], 3))
        learnt = one_by_one.step(batch(inputs[i : i + 1], 3, targets[i : i + 1], once[:1]), asked=asked[:1])
        np.testing.assert_array_equal(said, learnt)
        np.testing.assert_array_equal(said[0], votes[i])
    np.testing.assert_array_equal(
        whole.predict_proba(batch(inputs, 3))[7:8], whole.predict_proba(batch(inputs[7:8], 3))
    )


def test_the_network_takes_in_new_inputs_and_classes_and_predicting_changes_nothing():
    rng = np.random.default_rng(1)
    network, asked = Perceptron(rng, width=8), np.ones(50, np.bool_)
    inputs = rng.normal(size=(50, 2)).astype(np.float32)
    network.step(batch(inputs, 2, (inputs[:, 0] > 0).astype(np.int64), np.ones(50)), asked=asked)
    before = network.predict_proba(batch(inputs, 2))
    assert network.predict_proba(batch(np.hstack([inputs, np.ones((50, 3), np.float32)]), 5)).shape == (
        50,
        1,
        5,
    )
    np.testing.assert_array_equal(network.predict_proba(batch(inputs, 2)), before)
    wider = np.hstack([inputs, np.zeros((50, 1), np.float32)])
    after = network.step(batch(wider[:1], 3, np.array([2]), np.ones(1)), asked=asked[:1])
    np.testing.assert_allclose(after[0, :, 1] / after[0, :, 0], before[0, :, 1] / before[0, :, 0])
    assert network._hidden.shape == (3, 4, 8)
    assert network._outputs.shape == (3, 3, 9)


@pytest.mark.parametrize("size", [1e-30, 1e9])
def test_the_network_stays_finite_whatever_the_size_of_inputs(size):
    rng = np.random.default_rng(1)
    inputs = (size * rng.normal(size=(2000, 3))).astype(np.float32)
    targets = (inputs @ np.array([1.0, -2.0, 0.5], np.float32) > 0).astype(np.int64)
    votes = Perceptron(rng).step(batch(inputs, 2, targets, np.ones(2000)), asked=np.ones(2000, np.bool_))
    assert np.isfinite(votes).all()


def test_the_network_finds_a_curved_border_where_the_linear_models_find_none():
    rng = np.random.default_rng(1)
    inputs = rng.normal(size=(3000, 2)).astype(np.float32)
    targets, asked = ((inputs**2).sum(axis=1) > 1.4).astype(np.int64), np.ones(3000, np.bool_)
    curved = Perceptron(rng).step(batch(inputs, 2, targets, np.ones(3000)), asked=asked)
    straight = LinearModels().step(batch(inputs, 2, targets, np.ones(3000)), asked=asked)
    assert (curved[1000:, 0].argmax(axis=1) == targets[1000:]).mean() > 0.9
    assert (straight[1000:].argmax(axis=2) == targets[1000:, np.newaxis]).mean(axis=0).max() < 0.7


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("extras", ()),
        ("extras", ("head",)),
        ("extras", ("neighbours", "head")),
        ("extras", ("relevant-neighbours",)),
        ("extras", ("linear",)),
        ("extras", ("network",)),
        ("extras", ("history", naive_bayes.GaussianNB())),
        ("memory", 64),
        ("monitors", False),
        ("gate", "router"),
        ("gate", "recency"),
        ("gate", "equal"),
        ("leverage", 1.0),
        ("n_experts", 1),
        ("hidden", (9,)),
        ("batch_size", 16),
        ("learning_rate", 0.01),
        ("learning_rate", 0.0),
        ("seed", 3),
        ("policy", TopK(2)),
        ("policy", WithNull(TopK(2), n_null=8)),
        ("policy", WithShared(TopK(2), n_shared=1)),
        ("expert", HoeffdingTreeClassifier(grace_period=20)),
        ("expert", naive_bayes.GaussianNB()),
    ],
)
def test_every_argument_changes_the_result(argument, value):
    stream = list(streams.make("waveform", seed=1, n_samples=400))
    stream = stream[:250] + [(x, (y + 1) % 3) for x, y in stream[250:]]  # monitors want a drift

    def figures(arguments):
        model = DriftMoEClassifier(**arguments)
        for x, y in stream:
            model.learn_one(x, y)
        return [list(model.predict_proba_one(x).values()) for x, _ in stream[:50]]

    changed = SMALL | {argument: value}
    assert figures(changed) != figures(SMALL)
    assert figures(changed) == figures(changed)


def test_an_equal_gate_gives_all_that_vote_the_same_weight():
    model = DriftMoEClassifier(gate="equal", **SMALL)
    accuracy(model, streams.make("rbf_f", seed=1, n_samples=500))
    weights, expert_proba = model._mixture.votes(
        Batch(np.zeros((1, 10)), np.zeros((1, 10), np.float32), [], n_classes=2)
    )
    assert (expert_proba.sum(axis=2) > 0).all()
    np.testing.assert_allclose(weights, 1.0 / weights.shape[1])


@pytest.mark.parametrize(("gate", "follows"), [("router", False), ("recency", True), ("learnt", True)])
def test_only_a_gate_with_memories_follows_who_has_been_right_just_now(gate, follows):
    model = DriftMoEClassifier(gate=gate, **SMALL)
    accuracy(model, streams.make("rbf_f", seed=1, n_samples=600))
    row = Batch(np.full((1, 10), 0.5), np.zeros((1, 10), np.float32), [], n_classes=2)
    before, _ = model._mixture.votes(row)
    model._mixture._memories[:, 0] = 0.0  # the first tree has never been wrong
    after, _ = model._mixture.votes(row)
    assert bool(after[0, 0] > before[0, 0] + 0.01) == follows


class Says(base.Classifier):
    """Says always the same class, once it has seen both."""

    def __init__(self, label):
        self.label = label
        self.seen = set()

    def learn_one(self, x, y):
        self.seen.add(y)

    def predict_proba_one(self, x):
        return {self.label: 0.9, 1 - self.label: 0.1} if len(self.seen) == 2 else {}

    @property
    def _multiclass(self):
        return True


@pytest.mark.parametrize(("learning_rate", "learns"), [(2e-3, True), (0.0, False)])
def test_the_router_learns_whom_to_trust_where(learning_rate, learns):
    """Two experts that learn nothing, each right in one half: only the router can tell the halves apart."""
    rng = np.random.default_rng(0)
    X = rng.uniform(-1.0, 1.0, (3000, 2))
    y = (X[:, 0] > 0.0).astype(int)
    model = DriftMoEClassifier(
        expert=Says(0), n_experts=1, extras=(Says(1),), gate="router", learning_rate=learning_rate, seed=1
    )
    names = {"names": ["a", "b"], "values": [None, None], "classes": [0, 1]}
    predicted = np.array(model.step_many(X, y, **names)[1:])
    of_late = (predicted[-1000:] == y[-1000:]).mean()
    assert (of_late > 0.9) == learns


@pytest.mark.parametrize(("learning_rate", "learns"), [(2e-3, True), (0.0, False)])
def test_the_head_learns_the_classes(learning_rate, learns):
    model = DriftMoEClassifier(n_experts=1, extras=("head",), learning_rate=learning_rate, seed=1)
    accuracy(model, streams.make("hyperplane", seed=1, n_samples=3000))
    assert (model.routing_report().window.of_each()["head"]["accuracy"] > 0.8) == learns


def test_memory_weights_grow_where_the_label_follows_the_past():
    """Labels in long runs, which two constant experts know in turn; features tell nothing."""
    rng = np.random.default_rng(0)
    y = np.repeat(rng.integers(0, 2, 60), 50)
    model = DriftMoEClassifier(expert=Says(0), n_experts=1, extras=(Says(1),), gate="recency", seed=1)
    before = model._mixture._memory_weights.copy()
    predicted = np.array(
        model.step_many(rng.random((3000, 1)), y, names=["a"], values=[None], classes=[0, 1])[1:]
    )
    assert (model._mixture._memory_weights > before).any()
    assert (predicted == y[1:]).mean() > 0.9


def test_a_policy_chooses_who_has_been_right_lately():
    rng = np.random.default_rng(0)
    y = np.repeat(rng.integers(0, 2, 60), 50)
    model = DriftMoEClassifier(
        expert=Says(0), n_experts=1, extras=(Says(1),), gate="recency", policy=TopK(1), min_trust=0.0, seed=1
    )
    predicted = np.array(
        model.step_many(rng.random((3000, 1)), y, names=["a"], values=[None], classes=[0, 1])[1:]
    )
    assert (
        predicted == y[1:]
    ).mean() > 0.6  # it learns of a change when the router steps, 16 of 50 samples late
    assert model.routing_report().cumulative.experts_used <= 1.0  # nobody votes before both classes are known


def test_shared_trees_do_not_keep_the_others_from_learning():
    model = DriftMoEClassifier(n_experts=3, extras=("history",), policy=WithShared(TopK(1), 1), seed=1)
    outputs = np.full((2, 4), -5.0, np.float32)
    outputs[0, 2] = outputs[1, 3] = 5.0  # the third tree; the history
    learning = model._mixture._learning(model._mixture._choose(outputs))
    assert learning.tolist() == [[True, False, True], [True, True, True]]


def test_where_nulls_alone_are_chosen_no_expert_is_used():
    model = DriftMoEClassifier(
        n_experts=2, extras=(), policy=WithNull(TopK(1), n_null=5), learning_rate=0.0, gate="router", seed=1
    )
    for x, y in streams.make("sea", seed=1, n_samples=300):
        model.learn_one(x, y)
    figures = model.routing_report().cumulative
    assert 0.0 < figures.null_share < 1.0
    assert figures.experts_used == pytest.approx(1.0 - figures.null_share, abs=0.02)


@pytest.mark.parametrize("policy", [TopK(1), WithNull(TopK(1), n_null=5)], ids=str)
def test_trees_learn_where_none_is_chosen_unless_nulls_are(policy):
    model = DriftMoEClassifier(n_experts=2, extras=("history",), policy=policy, gate="router", seed=1)
    mixture = model._mixture
    n_null = mixture.n_logits - mixture.n_experts
    outputs = np.full((3, mixture.n_logits), -5.0, np.float32)
    outputs[0, 1] = outputs[1, 2] = outputs[2, -1] = (
        5.0  # a tree, the history, the last: a null where there are some
    )
    learning = mixture._learning(mixture._choose(outputs))
    assert learning.tolist() == [[False, True], [True, True], [n_null == 0] * 2]


def test_relevance_passes_over_features_that_tell_nothing():
    rng = np.random.default_rng(0)
    X = np.hstack([rng.normal(size=(2500, 1)), rng.normal(size=(2500, 15))])
    y = (X[:, 0] > 0.0).astype(int)
    of_late = {}
    for extra in ("neighbours", "relevant-neighbours"):
        model = DriftMoEClassifier(n_experts=1, extras=(extra,), min_trust=0.0, seed=1)
        model.step_many(X, y, names=list(range(16)), values=[None] * 16, classes=[0, 1])
        of_late[extra] = model.routing_report().window.of_each()[f"{extra} (0.0003)"]["accuracy"]
    assert of_late["relevant-neighbours"] > of_late["neighbours"] + 0.05


def asked_of_neighbours(stream, **arguments):
    """Run over a stream, and return for which samples each kind of neighbours was asked."""
    model = DriftMoEClassifier(seed=1, **arguments)
    asked = [[], []]
    for neighbours, of_kind in zip(model._mixture._extras[:2], asked, strict=True):
        plan = neighbours.plan

        def spy(rows, *, asked, changes, plan=plan, of_kind=of_kind):
            of_kind.extend(asked.tolist())
            return plan(rows, asked=asked, changes=changes)

        neighbours.plan = spy
    accuracy(model, stream)
    return np.array(asked)


def test_whom_the_gate_hardly_trusts_is_asked_now_and_then():
    stream = streams.make(
        "led", seed=1, n_samples=6000
    )  # of 24 features 17 mean nothing: neighbours are of no use
    late = asked_of_neighbours(stream)[:, 4500:]
    assert 1.0 / PROBE <= late.mean() < 0.6
    assert asked_of_neighbours(stream, min_trust=0.0).all()


def test_all_are_asked_again_when_the_loss_rises():
    concepts = [LEDDrift(n_drift_features=k, seed=k) for k in (1, 7)]
    asked = asked_of_neighbours(Switching(concepts, [6000], n_samples=6400))
    assert asked[:, 6040:6200].mean() > asked[:, 5000:6000].mean() + 0.4


def test_dense_is_no_policy():
    stream = list(streams.make("sea", seed=1, n_samples=200))
    labels = []
    for policy in (None, Dense()):
        model = DriftMoEClassifier(policy=policy, **SMALL)
        labels.append([])
        for x, y in stream:
            labels[-1].append(model.predict_one(x))
            model.learn_one(x, y)
    assert labels[0] == labels[1]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"extras": "head"}, TypeError, "give a tuple of neighbours"),
        (
            {"extras": ("trees",)},
            ValueError,
            "unknown 'trees'; available: neighbours, relevant-neighbours, history",
        ),
        ({"extras": (3,)}, TypeError, "3 is no river classifier"),
        ({"extras": ("head", "head")}, ValueError, "names an expert twice"),
        ({"memory": 100}, ValueError, "memory=100; choose a multiple of 64"),
        ({"memory": 64.0}, TypeError, "memory=64.0 is of type float"),
        ({"monitors": "no"}, TypeError, "monitors='no'; choose True or False"),
        ({"gate": "none"}, ValueError, "gate='none'; available: learnt, router, recency, equal"),
        ({"gate": []}, ValueError, "gate=\\[\\]; available: learnt"),
        ({"policy": TopK(2), "gate": "equal"}, ValueError, "does not apply with gate='equal', which ignores"),
        ({"variant": "moe-task", "policy": TopK(2)}, ValueError, "does not apply to variant='moe-task'"),
        ({"variant": "moe-data", "memory": 64}, ValueError, "memory=64 does not apply to variant='moe-data'"),
        (
            {"variant": "moe-task", "extras": ()},
            ValueError,
            "extras=\\(\\) does not apply to variant='moe-task'",
        ),
        ({"leverage": 0.0}, ValueError, "leverage=0.0; choose 0 < leverage"),
        ({"leverage": "6"}, TypeError, "leverage='6' is of type str"),
        ({"min_trust": 1.5}, ValueError, "min_trust=1.5; choose 0 <= min_trust <= 1"),
        ({"dropout": 0.5}, ValueError, "does not apply to variant='driftmoe'"),
        ({"policy": TopK(99)}, ValueError, "k=99"),
    ],
)
def test_wrong_argument_is_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        DriftMoEClassifier(**arguments)


def test_an_expert_that_becomes_right_is_found_again():
    """Noise first, which makes all experts useless, then a concept that only neighbours know."""
    rng = np.random.default_rng(0)
    model = DriftMoEClassifier(extras=("neighbours",), n_experts=2, seed=1)
    X = rng.random((6000, 2))
    checker = ((X * 6).astype(int).sum(axis=1)) % 2
    y = np.where(np.arange(6000) < 2000, rng.integers(0, 2, 6000), checker)
    names = {"names": ["a", "b"], "values": [None, None], "classes": [0, 1]}
    predicted = np.array(model.step_many(X, y, **names)[1:])
    assert (predicted[-1000:] == y[-1000:]).mean() > 0.85
    assert model._mixture._trust[1] > 0.5


@pytest.mark.parametrize("name", ["rbf_f", "led_a", "sea_a", "agrawal_a"])
def test_it_beats_each_variant_of_the_paper(name):
    def of(model):
        return accuracy(model, streams.make(name, seed=4, n_samples=5000))

    assert of(DriftMoEClassifier(seed=1)) > max(
        of(DriftMoEClassifier(v, seed=1)) for v in ("moe-data", "moe-task")
    )


def test_shuffled_labels_cannot_be_predicted():
    """No way from a label to its own prediction."""
    rng = np.random.default_rng(1)
    X, y = rng.random((3000, 4)), rng.integers(0, 2, 3000)
    model = DriftMoEClassifier(seed=1)
    names = {"names": list("abcd"), "values": [None] * 4, "classes": [0, 1]}
    predicted = np.array(model.step_many(X, y, **names)[1:])
    assert abs((predicted == y[1:]).mean() - 0.5) < 4 * math.sqrt(0.25 / 3000)


def test_a_river_classifier_is_one_expert_more():
    model = DriftMoEClassifier(extras=(naive_bayes.GaussianNB(), "head"), n_experts=2, seed=1)
    stream = list(streams.make("waveform", seed=1, n_samples=300))
    for x, y in stream:
        model.learn_one(x, y)
    assert model._mixture.n_experts == 4
    x = stream[0][0]
    assert sum(model.predict_proba_one(x).values()) == pytest.approx(1.0)
