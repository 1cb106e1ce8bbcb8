"""Other gates and smaller pools on recorded votes: kernels are their readable twins, and records the model's votes."""

from __future__ import annotations

import numpy as np
import pytest
from compiled_or_not import plain
from reference import other_gates as twin

import streams
from benchmarks.beyond import kernels, pool_kernels
from benchmarks.beyond.__main__ import RULES
from benchmarks.beyond.altered import measured, replace_one
from benchmarks.beyond.votes import Recorder, recorded
from driftmoe import DriftMoEClassifier
from driftmoe.experts import Neighbours
from driftmoe.experts.batch import Batch
from driftmoe.experts.nearest import EPISODE
from driftmoe.mixture.mixing import mix
from driftmoe.transaction import carry_out

N, N_EXPERTS, N_CLASSES = 200, 6, 3


@pytest.fixture(scope="module")
def record():
    """Random votes, some of which are missing, weights, labels, and rows of earlier samples."""
    rng = np.random.default_rng(1)
    votes = rng.dirichlet(np.ones(N_CLASSES), (N, N_EXPERTS)).astype(np.float32)
    votes[rng.random((N, N_EXPERTS)) < 0.2] = 0.0
    votes[0] = 0.0
    weights = rng.random((N, N_EXPERTS)) * votes.any(axis=2)
    weights /= np.maximum(weights.sum(axis=1, keepdims=True), 1e-9)
    near = np.array([[rng.integers(row) if j < row else -1 for j in range(9)] for row in range(N)], np.int32)
    return votes, weights.astype(np.float32), rng.integers(N_CLASSES, size=N), near


# Kernels that are plain here take long to compile; compiled, too, they have been their twins.
def written(kernel, *arguments, shape=(N,), dtype=np.int64):
    """Return what a kernel writes to its last argument."""
    found = np.zeros(shape, dtype)
    kernel(*arguments, found)
    return found


@pytest.mark.parametrize("tau", [1.0, 0.1])
def test_an_oracle_teaches_as_its_twin(record, tau):
    votes, weights, targets, _ = record
    errors = written(kernels.toward_best, votes, weights, targets, tau, shape=weights.shape, dtype=np.float64)
    assert errors == pytest.approx(twin.toward_best(votes, weights, targets, tau), abs=1e-6)


def test_local_competence_is_its_twin(record):
    votes, weights, targets, near = record
    success = [np.empty(weights.shape, np.float32) for _ in range(3)]
    kernels.successes(votes, weights, targets, *success)
    for own, expected in zip(success, twin.successes(votes, weights, targets), strict=True):
        assert own == pytest.approx(expected, abs=1e-5, nan_ok=True)
        local = written(kernels.competence, near, own, 7, shape=weights.shape, dtype=np.float32)
        assert local == pytest.approx(twin.competence(near, own, 7), abs=1e-5)
        answers = written(kernels.reweighted, votes, weights, local, np.array([0.0, 3.0]), shape=(2, N))
        for faith, of_faith in zip((0.0, 3.0), answers, strict=True):
            assert (of_faith == twin.reweighted(votes, weights, local, faith)).all()
        faith = np.zeros(1)
        learnt = np.empty(N, np.int64)
        kernels.reweighted_by_learnt(votes, weights, local, targets, 0.5, learnt, faith)
        expected_answers, expected_faith = twin.reweighted_by_learnt(votes, weights, local, targets, 0.5)
        assert (learnt == expected_answers).all()
        assert faith[0] == pytest.approx(expected_faith, rel=1e-4)
    right = success[0]
    assert (
        written(plain(kernels.eliminated, is_compiled=False), votes, weights, near, right, 7)
        == twin.eliminated(votes, weights, near, right, 7)
    ).all()
    for by_gate in (False, True):
        found = written(plain(kernels.united, is_compiled=False), votes, weights, near, right, 7, by_gate)
        assert (found == twin.united(votes, weights, near, right, 7, by_gate)).all()


@pytest.mark.parametrize("weak", [kernels.LOWEST, kernels.EQUAL, 2, 4])
def test_contrast_is_its_twin_and_nothing_without_beta(record, weak):
    votes, weights, *_ = record
    answers = written(
        plain(kernels.contrasted, is_compiled=False),
        votes,
        weights,
        weak,
        np.array([0.0, 0.5]),
        0.1,
        shape=(2, N),
    )
    assert (answers[0] == twin.mixed(weights, votes).argmax(axis=1)).all()
    assert (answers[1] == twin.contrasted(votes, weights, weak, 0.5, 0.1)).all()


@pytest.mark.parametrize("by_loss", [True, False])
def test_budgets_are_their_twin_and_the_oracle_is_the_best(record, by_loss):
    votes, weights, targets, _ = record
    for k in (1, 2, 3):
        answers = written(
            plain(kernels.within_budget, is_compiled=False), votes, weights, targets, k, by_loss
        )
        assert (answers == twin.within_budget(votes, weights, targets, k, by_loss)).all()


def test_of_two_classes_the_oracle_of_one_expert_is_right_where_any_expert_is(record):
    votes, weights, targets, _ = record
    votes = np.stack([votes[:, :, 0], votes[:, :, 1:].sum(axis=2)], axis=2)
    targets = np.minimum(targets, 1)
    answers = written(plain(kernels.within_budget, is_compiled=False), votes, weights, targets, 1, True)
    is_right = (votes.argmax(axis=2) == targets[:, None]) & votes.any(axis=2)
    assert ((answers == targets) == is_right.any(axis=1))[1:].all()
    assert (answers != targets)[1:].any()


@pytest.mark.parametrize("rule", RULES)
def test_fewer_trees_are_their_twin(rule, monkeypatch):
    for part in ("follow", "choose", "owns", "floored"):
        monkeypatch.setattr(pool_kernels, part, plain(getattr(pool_kernels, part), is_compiled=False))
    rng = np.random.default_rng(2)
    n, n_trees = 1600, 5
    targets = rng.integers(N_CLASSES, size=n)
    skill = rng.random((n_trees + 1, N_CLASSES))[:, targets].T  # experts know some classes better
    votes = rng.dirichlet(np.ones(N_CLASSES), (n, n_trees + 1))
    votes += 2.0 * skill[:, :, None] * np.eye(N_CLASSES)[targets][:, None]
    votes = (votes / votes.sum(axis=2, keepdims=True)).astype(np.float32)
    weights = rng.dirichlet(np.ones(n_trees + 1), n).astype(np.float32)
    weights[5] = 0.0
    number = getattr(pool_kernels, rule.upper())
    kernel = plain(pool_kernels.with_fewer_trees, is_compiled=False)  # compiling takes seconds
    found = written(kernel, votes, weights, targets, n_trees, 2, number, shape=(n,))
    assert (found == twin.with_fewer_trees(votes, weights, targets, n_trees, 2, rule)).all()
    assert (found != twin.mixed(weights, votes).argmax(axis=1)).any()


def test_the_nearest_samples_are_those_of_the_neighbours():
    rng = np.random.default_rng(3)
    inputs = rng.integers(0, 6, (600, 2)).astype(np.float32)  # with ties
    near = np.empty((600, 7), np.int32)
    plain(kernels.remembered, is_compiled=False)(inputs, np.zeros(32, EPISODE), 2, near)
    neighbours = Neighbours(64)
    for row, one in enumerate(inputs):
        if row > 0:
            _, ages, _ = neighbours.nearest_to(one, 7)
            assert near[row, : len(ages)].tolist() == (row - ages).tolist()
            assert (near[row, len(ages) :] == -1).all()
        batch = Batch(
            one[None].astype(float), one[None], [], 2, targets=np.zeros(1, np.int64), weights=np.ones(1)
        )
        changes = []
        neighbours.plan(batch, changes=changes)
        carry_out(changes)


def test_a_record_holds_the_votes_of_the_model():
    stream = streams.make("sea_a", seed=1, n_samples=400)
    record = recorded(stream, seed=1)
    assert len(record.targets) == 400
    proba = np.empty((400, 2))
    mix(record.weights.astype(float), record.votes.astype(float), False, proba)
    model, answers, classes, is_new = DriftMoEClassifier(seed=1), [], [], []
    for x, y in streams.make("sea_a", seed=1, n_samples=400):
        answers.append(model.predict_proba_one(x))
        model.learn_one(x, y)
        is_new.append(y not in classes)
        classes += [y] * is_new[-1]
    expected = np.array([[one.get(y, 0.0) for y in classes] for one in answers])
    is_old = ~np.array(is_new)  # the votes on the first sample of a class know the class
    assert proba[is_old] == pytest.approx(expected[is_old], abs=1e-6)
    assert record.accuracy == np.mean(proba.argmax(axis=1)[1:] == record.targets[1:])


def test_agreement_counts_rows_with_the_same_first_class():
    votes = np.array([[[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]], [[0.3, 0.7], [0.6, 0.4], [0.1, 0.9]]])
    agreed = written(plain(pool_kernels.agreement, is_compiled=False), votes, shape=(3, 3), dtype=np.float64)
    assert agreed.tolist() == [[2, 1, 1], [1, 2, 0], [1, 0, 2]]


def test_a_router_is_taught_otherwise_only_within_its_run():
    def accuracy(name):
        return measured(name, streams.make("sea_a", seed=1, n_samples=1500), 1)["accuracy"]

    before = accuracy("default")
    assert accuracy("tau=0.1") != before
    assert accuracy("default") == before


def test_of_the_two_trees_that_agree_most_the_less_trusted_begins_anew():
    model = DriftMoEClassifier(n_experts=3, seed=1)
    for x, y in streams.make("sea_a", seed=1, n_samples=1000):
        model.learn_one(x, y)
    pool = model._mixture.experts.pool
    pool.replace(2, pool.clone(0))  # the third is now the first, and so agrees with it always
    recorder = Recorder()
    votes = np.array([[[0.9, 0.1], [0.1, 0.9], [0.9, 0.1], [1.0, 0.0]]] * 5)
    recorder.steps = [(votes, np.array([[0.1, 0.1, 0.2, 0.6]] * 5), np.zeros(5, np.int64), np.zeros((5, 3)))]
    others = [model.describe(e) for e in (1, 2)]
    replace_one(model, recorder)
    assert model.describe(0) != others[1]
    assert [model.describe(e) for e in (1, 2)] == others
