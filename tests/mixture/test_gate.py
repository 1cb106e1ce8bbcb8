"""The gate of the adaptive mixture against its readable twin."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from compiled_or_not import plain
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.draws import poisson_slowly
from reference.gate import gate_slowly

import streams
from driftmoe import DriftMoEClassifier
from driftmoe.arithmetic import softmax
from driftmoe.experts.batch import NONE_AWAITED
from driftmoe.mixture import SURPRISE
from driftmoe.mixture.arrivals import Arrivals, bits_of, keep_all
from driftmoe.mixture.gate import (
    answer,
    draw_weights,
    end_mini_batch,
    gate,
    head_errors,
    who_voted,
    whom_to_ask,
)
from driftmoe.transaction import StepPlan

SMALL = {"n_experts": 3, "hidden": (8,), "seed": 2}


def some_votes(rng, n_rows, n_experts, n_classes):
    votes = rng.dirichlet(np.ones(n_classes), (n_rows, n_experts))
    votes[rng.random((n_rows, n_experts)) < 0.2] = 0.0
    return votes


@pytest.mark.parametrize("is_compiled", [True, False])
@given(seed=st.integers(0, 10**6), n_null=st.integers(0, 2), is_learning=st.booleans())
@settings(max_examples=40, deadline=None)
def test_the_gate_is_its_readable_twin(is_compiled, seed, n_null, is_learning):
    rng = np.random.default_rng(seed)
    n_rows, n_experts, n_classes = 12, 4, 3
    n_logits = n_experts + n_null
    outputs = rng.normal(size=(n_rows, n_logits + n_classes)).astype(np.float32)
    votes = some_votes(rng, n_rows, n_experts, n_classes)
    chosen = rng.random((n_rows, n_experts)) < 0.7
    targets = rng.integers(0, n_classes, n_rows) if is_learning else np.empty(0, np.int64)
    taught = rng.choice([1.0, 0.5, 3.0, 0.0], len(targets))
    awaits = (taught == 0.0) & (rng.random(len(targets)) < 0.8)
    vectors = rng.choice([0.0, -0.0, 1.0, np.nan], (n_rows, 2))  # some are equal: they are met again
    memory_weights, kinds = np.array([3.0, 1.5], np.float32), np.array([0, 0, 1, 2])
    ours, theirs = (
        (
            np.full((2, n_logits), -0.5),
            np.ones(3),
            np.array([0.3, 0.5]),
            np.empty((n_rows, n_experts)),
            np.full_like(outputs, 7.0),
            np.zeros(2),
            np.array([5]),
        )
        for _ in range(2)
    )  # memories, average_gate_weights, average_losses, weights, errors, gradients of memory_weights, n_seen
    most = int(rng.choice([1, 3, 100]))
    places = Arrivals(n_experts, n_logits, 2, most).with_room(n_rows, n_classes)
    waiting: list = []
    share = int(rng.choice([0, 30_000, 65_000]))  # of labels that found their samples gone
    places.counts[3], missed = share, [share]
    for do, (
        memories,
        average_gate_weights,
        average_losses,
        weights,
        errors,
        of_memory_weights,
        n_seen,
    ), late in (
        (plain(gate, is_compiled), ours, (bits_of(vectors), awaits, *places.arrays)),
        (gate_slowly, theirs, (vectors, awaits, waiting, most, missed)),
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
            average_gate_weights,
            average_losses,
            weights,
            errors,
            of_memory_weights,
            n_seen,
            *late,
        )
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)
    assert places.n_waiting == len(waiting)
    assert places.counts[3] == missed[0]


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
    errors, memory_weight_gradients = np.zeros_like(outputs), np.zeros(2)
    gate(
        outputs, votes, np.ones((1, 4), np.bool_), np.array([1]), np.array([weight]), 4, memories,
        np.float32(memory_weights.detach().numpy()), np.zeros(4, np.int64), np.ones(1), np.zeros(2),
        np.empty((1, 4)), errors, memory_weight_gradients, np.zeros(1, np.int64), np.zeros((1, 0), np.uint64),
        NONE_AWAITED, *Arrivals(4, 4, 2, 0).arrays,
    )  # fmt: skip
    np.testing.assert_allclose(errors[0], logits.grad, rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(memory_weight_gradients, memory_weights.grad, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("is_compiled", [True, False])
def test_a_class_that_was_not_known_when_a_sample_came_had_no_probability(is_compiled):
    """Its likelihood was the share that is spread over all classes, for each expert, so that no weight changes."""
    vectors, memories = np.array([[1.0]]), np.full((2, 2), -0.5)
    places = Arrivals(2, 2, 2, 10).with_room(1, 2)
    then = np.array([[[0.25, 0.75], [1.0, 0.0]]])
    keep_all(np.ones(1, np.bool_), bits_of(vectors), then, memories, np.array([3]), *places.arrays)
    errors, of_memory_weights = np.full((1, 2), 7.0, np.float32), np.full(2, 0.5)
    plain(gate, is_compiled)(
        np.array([[0.5, -1.0]], np.float32), np.full((1, 2, 3), 1 / 3), np.ones((1, 2), np.bool_), np.array([2]),
        np.array([1.0]), 2, memories, np.array([3.0, 1.0], np.float32), np.zeros(2, np.int64), np.ones(1), np.zeros(2),
        np.empty((1, 2)), errors, of_memory_weights, np.array([5]), bits_of(vectors), NONE_AWAITED, *places.arrays,
    )  # fmt: skip
    np.testing.assert_allclose(errors, 0.0, atol=1e-7)
    np.testing.assert_allclose(of_memory_weights, 0.5, atol=1e-7)
    assert places.n_waiting == 0


def test_soften_is_softmax():
    outputs = np.array([[9.0, 1.0, 2.0, -300.0], [9.0, 1e4, 0.0, 0.0]], np.float32)
    proba = np.empty((2, 1, 3))
    softmax(outputs, 1, proba)
    np.testing.assert_allclose(
        proba[:, 0], torch.softmax(torch.tensor(outputs[:, 1:]).double(), 1), rtol=1e-12
    )


@pytest.mark.parametrize("is_compiled", [True, False])
def test_the_head_learns_what_it_says_less_what_is_true_times_the_weight(is_compiled):
    errors = np.full(3, 7.0, np.float32)
    for proba, target, weight, expected in [
        ([0.5, 0.25, 0.25], 1, 1.0, [0.5, -0.75, 0.25]),
        ([0.0, 0.0, 1.0], 2, 4.0, [0.0, 0.0, 0.0]),
        ([0.5, 0.25, 0.25], 0, 4.0, [-2.0, 1.0, 1.0]),
    ]:
        plain(head_errors, is_compiled)(np.array(proba), target, weight, errors)
        assert errors.tolist() == expected


@pytest.mark.parametrize("is_compiled", [True, False])
@pytest.mark.parametrize("n_known", [0, 2, 3])
def test_an_answer_is_what_head_gate_and_mixture_say_one_after_the_other(is_compiled, n_known):
    """With no head, and with one that knows all of three classes or two; of five rows three are learnt."""
    rng = np.random.default_rng(1)
    n_rows, n_experts, n_classes = 5, 4, 3
    outputs = rng.normal(size=(n_rows, n_experts + n_known)).astype(np.float32)
    votes, chosen = some_votes(rng, n_rows, n_experts, n_classes), rng.random((n_rows, n_experts)) < 0.7
    if n_known:
        votes[:, -1] = 0.0
    said, logits = votes.copy(), torch.tensor(outputs[:, n_experts:]).double()
    if n_known:
        votes[:, -1, :n_known] = torch.softmax(logits, 1).numpy()
    targets, taught = np.array([0, 2, 1, 1, 0]), np.array([1.0, 0.0, 2.5, 0.0, 0.5])
    learnt, vectors = np.flatnonzero(taught), rng.normal(size=(n_rows, 2))
    found, expected = (
        [np.full((2, n_experts), -0.5), np.ones(2), np.array([0.3, 0.5]), np.empty((n_rows, n_experts)),
         np.full((3, outputs.shape[1]), 7.0, np.float32), np.zeros(2), np.array([5])]
        for _ in range(2)
    )  # fmt: skip
    mask, proba = np.empty((3, n_experts), np.bool_), np.empty((n_rows, n_classes))
    places = Arrivals(n_experts, n_experts, 2, 0)
    same = n_experts, np.array([3.0, 1.5], np.float32), np.array([0, 0, 1, 1])
    for do, own, its_votes, late in (
        (
            plain(answer, is_compiled),
            found,
            said,
            (bits_of(vectors), NONE_AWAITED, *places.arrays, mask, proba),
        ),
        (gate_slowly, expected, votes, (vectors, NONE_AWAITED, [], 0, [0])),
    ):
        do(outputs, its_votes, chosen, targets, taught, same[0], own[0], *same[1:], *own[1:], *late)
    mixed = (expected[3][:, :, np.newaxis] * votes).sum(axis=1)
    np.testing.assert_allclose(said, votes, rtol=1e-12)
    np.testing.assert_allclose(proba, mixed / mixed.sum(axis=1, keepdims=True), rtol=1e-9)
    assert mask.tolist() == (chosen & votes.any(axis=2))[learnt].tolist()
    expected[4][:, n_experts:] = taught[learnt, np.newaxis] * (
        votes[learnt, -1, :n_known] - (targets[learnt, np.newaxis] == np.arange(n_known))
    )
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("is_compiled", [True, False])
def test_those_voted_who_were_chosen_and_had_a_vote(is_compiled):
    votes = np.zeros((4, 2))
    votes[0, 0] = votes[2, 1] = 1.0
    mask = np.empty(4, np.bool_)
    plain(who_voted, is_compiled)(np.array([True, True, False, False]), votes, mask)
    assert mask.tolist() == [True, False, False, False]


@pytest.mark.parametrize("is_compiled", [True, False])
@pytest.mark.parametrize("rate", [0.0, 0.01])
def test_the_end_of_a_mini_batch_updates_memory_weights_and_logits_and_whom_to_probe(is_compiled, rate):
    theirs = torch.tensor([3.0, 1.5], requires_grad=True)
    optimiser = torch.optim.Adam([theirs], lr=0.01)
    memory_weights, moments = np.array([3.0, 1.5], np.float32), np.zeros((2, 2), np.float32)
    memories = np.array([[-0.1, -2.0, -0.5], [-0.2, -1.0, -0.7]])
    n_steps, logit_biases, is_group_probed = np.zeros(1, np.int64), np.zeros(3), np.ones(3, np.bool_)
    average_gate_weights, least, average_losses = (
        np.array([0.1, 0.6, 0.3]),
        np.array([0.2, 0.5, 0.3]),
        np.array([0.5, 0.41]),
    )
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
            logit_biases,
            average_gate_weights,
            least,
            average_losses,
            is_group_probed,
        )
        assert errors.tolist() == [0.0, 0.0]
    np.testing.assert_allclose(memory_weights, theirs.detach(), rtol=1e-6)
    assert n_steps[0] == (3 if rate > 0.0 else 0)
    np.testing.assert_allclose(logit_biases, memory_weights.astype(float) @ memories)
    assert average_losses[0] <= SURPRISE * average_losses[1]
    assert is_group_probed.tolist() == [True, False, False]
    average_losses[0] = 1.01 * SURPRISE * average_losses[1]  # a surprise
    plain(end_mini_batch, is_compiled)(
        memory_weights,
        *moments,
        np.zeros(2),
        n_steps,
        rate,
        8,
        memories,
        logit_biases,
        average_gate_weights,
        least,
        average_losses,
        is_group_probed,
    )
    assert not is_group_probed.any()


@pytest.mark.parametrize("is_compiled", [True, False])
def test_rows_that_are_not_learnt_use_up_no_draws(is_compiled):
    taught, n_seen = np.full((4, 3), 7.0), np.array([10])
    plain(draw_weights, is_compiled)(np.uint64(5), n_seen, 2.0, np.array([1.0, 0.0, 0.5, 2.0]), taught)
    draws = [[poisson_slowly(5, number, e, 2.0) for e in range(3)] for number in (10, 11, 12)]
    expected = [draws[0], [0.0] * 3, [0.5 * n for n in draws[1]], [2.0 * n for n in draws[2]]]
    assert taught.tolist() == expected
    assert n_seen[0] == 10


@pytest.mark.parametrize("is_compiled", [True, False])
def test_costly_groups_that_are_probed_are_asked_on_one_row_in_eight(is_compiled):
    is_probed, is_costly = np.array([True, True, False, False]), np.array([True, False, True, False])
    is_resting = np.array([False, False, False, True])
    asked, n_seen = np.empty((4, 6), np.bool_), np.array([6])
    weights = np.array([1.0, 0.0, 2.0, 0.0, 0.0, 1.0])  # rows 6, 7, 7, 8, 8, 8
    plain(whom_to_ask, is_compiled)(n_seen, weights, is_probed, is_costly, is_resting, asked)
    seldom = [False, False, False, True, True, True]
    assert asked.tolist() == [seldom, [True] * 6, [True] * 6, seldom]
    plain(whom_to_ask, is_compiled)(
        n_seen, np.empty(0), is_probed, is_costly, is_resting, asked
    )  # to predict
    assert asked.tolist() == [[False] * 6, [True] * 6, [True] * 6, [False] * 6]


def test_the_poisson_draws_of_a_row_are_those_of_its_number():
    model = DriftMoEClassifier(leverage=2.0, **SMALL)
    for n, (x, y) in enumerate(streams.make("sea", seed=1, n_samples=50)):
        expected = [
            [poisson_slowly(int(model._mixture._key), n + row, e, 2.0) for e in range(3)] for row in range(4)
        ]
        assert model._mixture._draws(np.ones(4), StepPlan()).tolist() == expected
        model.predict_proba_one(x)
        model.learn_one(x, y)
