"""Experts that sleep while the gate hardly trusts them."""

from __future__ import annotations

import copy
import pickle
from itertools import islice

import numpy as np
import pytest
from compiled_or_not import plain
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.shedding import shed_slowly

import streams
from driftmoe import DriftMoEClassifier
from driftmoe.mixture.shedding import START, shed

SMALL = {"n_experts": 5, "hidden": (8,), "memory": 1024, "seed": 2}


@pytest.mark.parametrize("is_compiled", [True, False])
@given(seed=st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_who_sleeps_and_rests_is_that_of_the_readable_twin(is_compiled, seed):
    rng = np.random.default_rng(seed)
    n_main, may_rest, least, min_awake = 4, np.array([True, False, True]), 0.07, 2
    steps, sums, answers = [], np.zeros((4, 7)), []
    alarms, counts, before = np.zeros(2, np.int64), np.zeros(2, np.int64), np.zeros((2, 7))
    trust, is_awake = np.full(7, START * least), np.ones(n_main, np.bool_)
    is_resting, n_samples = np.zeros(3, np.bool_), 0
    concentration = np.ones(7)
    for _ in range(30):
        if rng.random() < 0.2:
            concentration = rng.choice([0.05, 3.0], 7)
        n = int(rng.integers(1, 400))
        voted = np.append(np.where(is_awake, n, 0), rng.integers(0, n + 1, 3))
        weights = rng.dirichlet(concentration) * voted
        n_alarms = int(rng.random() < 0.1)
        steps.append((n, weights, voted, n_alarms))
        n_samples += n
        sums[1] += weights
        sums[2] += voted
        alarms[rng.integers(2)] += n_alarms
        arguments = (may_rest, least, START * least, min_awake, counts, before, trust, is_awake, is_resting)
        for _ in range(2):  # the second call finds no new sample
            plain(shed, is_compiled)(n_samples, sums, alarms, *arguments)
        answers.append((np.flatnonzero(is_awake).tolist(), is_resting.tolist()))
    assert answers == shed_slowly(steps, n_main, may_rest.tolist(), least, min_awake)


@pytest.fixture(scope="module")
def rows():
    """Rings, which neighbours learn at once and trees do not."""
    X = np.random.default_rng(1).uniform(-1.0, 1.0, (2600, 2))
    return X, (np.hypot(*X.T) * 4.0).astype(int) % 2


def learn(model, X, y, size=256):
    """Learn rows in blocks; return the predictions."""
    names = {
        "names": [f"x{f}" for f in range(X.shape[1])],
        "values": [None] * X.shape[1],
        "classes": range(2),
    }
    starts = range(0, len(X), size)
    return [label for i in starts for label in model.step_many(X[i : i + size], y[i : i + size], **names)]


def awake(model):
    return int(model._mixture.shedding.is_awake.sum())


def test_trees_sleep_where_others_do_better_and_all_wake_when_the_concept_changes(rows):
    X, y = rows
    model = DriftMoEClassifier(min_awake=1, **SMALL)
    learn(model, X[:1300], y[:1300])
    assert awake(model) == 5
    learn(model, X[1300:2400], y[1300:2400])
    assert awake(model) == 1
    trees = model._mixture.experts.pool._storage
    before = trees.windows.copy()
    sleeps = ~model._mixture.shedding.is_awake
    learn(model, X[2400:], y[2400:])
    trees = model._mixture.experts.pool._storage
    assert (before[sleeps] == trees.windows[sleeps]).all()  # monitors wait, too
    assert not (before[~sleeps] == trees.windows[~sleeps]).all()
    report = model.routing_report().cumulative.of_each()
    usage = np.array([report[f"tree {i + 1}"]["usage"] for i in range(5)])
    assert np.count_nonzero(usage < 0.9) == 4
    n_samples = 2600
    while not any(event.kind in ("warning", "drift") for event in model.events(since=2600)):
        learn(model, X[:32], 1 - y[:32])
        n_samples += 32
        assert n_samples < 4000
    learn(model, X[:32], 1 - y[:32])  # to the end of the router's mini-batch
    assert awake(model) == 5


def test_where_trees_matter_and_without_shedding_all_stay_awake(rows):
    X, y = rows
    for arguments in ({"extras": ("head",), "min_awake": 1}, {}, {"min_awake": 0}, {"min_awake": 5}):
        model = DriftMoEClassifier(
            **(SMALL | {"memory": None} if "extras" in arguments else SMALL), **arguments
        )
        learn(model, X, y)
        assert awake(model) == 5


def test_the_network_rests_where_it_has_no_weight(rows):
    X, y = rows
    model = DriftMoEClassifier(min_awake=1, **SMALL)
    learn(model, X, y)
    names = model._mixture.expert_names(range(2))[5:]
    resting = [name for name, rests in zip(names, model._mixture.shedding.is_resting, strict=True) if rests]
    assert resting == ["network"]
    usage = model.routing_report().window.of_each()["network"]["usage"]
    assert usage < 1.0


@pytest.mark.parametrize("size", [1, 37])
def test_blocks_of_any_size_and_a_copy_of_the_state_shed_the_same(rows, size):
    X, y = rows
    model, twin = (DriftMoEClassifier(min_awake=1, **SMALL) for _ in range(2))
    expected = learn(model, X, y)
    assert learn(twin, X[:2300], y[:2300], size) == expected[:2300]
    assert awake(twin) == 1
    other = DriftMoEClassifier(min_awake=1, **SMALL)
    other.restore(twin.state())
    assert learn(other, X[2300:], y[2300:], size) == expected[2300:]
    mixture, wanted = other._mixture.shedding.state(), model._mixture.shedding.state()
    assert all(np.array_equal(mixture[name], wanted[name]) for name in wanted)


def test_single_calls_shed_as_blocks_do_and_keep_their_plans(rows, monkeypatch):
    X, y = rows
    ours, theirs = (DriftMoEClassifier(min_awake=1, **SMALL) for _ in range(2))
    made_anew, original = [], type(ours._plans)._step_anew
    monkeypatch.setattr(
        type(ours._plans), "_step_anew", lambda *a, **k: (made_anew.append(1), original(*a, **k))[1]
    )
    expected, found = learn(theirs, X, y), []
    for row, target in zip(X.tolist(), y.tolist(), strict=True):
        sample = {f"x{f}": value for f, value in enumerate(row)}
        found.append(ours.predict_one(sample))
        ours.learn_one(sample, target)
    assert found == expected
    assert ours.digest() == theirs.digest()
    assert awake(ours) == 1
    assert len(made_anew) < 200


LED = {"min_awake": 2, "seed": 11}


@pytest.fixture(scope="module")
def of_led():
    """Samples of LED, with a drift after 4000: trees sleep before it, wake, and sleep again."""
    return list(islice(streams.make("led_a", seed=11, n_samples=16000), 6000))


def by_blocks(model, rows, size):
    """Learn rows in blocks; return the probabilities before each row, and the trees awake after each block."""
    proba, n_awake = [], []
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        proba += model.step_rows([x for x, _ in part], [y for _, y in part])
        n_awake.append(awake(model))
    return proba, n_awake


@pytest.fixture(scope="module")
def learnt_led(of_led):
    model = DriftMoEClassifier(**LED)
    proba, n_awake = by_blocks(model, of_led, 100)
    assert n_awake[0] == 12
    assert n_awake[39] == 2  # at the drift
    assert 12 in n_awake[40:]
    return proba, model.digest()


def test_single_calls_let_the_same_trees_sleep_as_blocks(of_led, learnt_led):
    model, proba = DriftMoEClassifier(**LED), []
    for x, y in of_led:
        proba.append(model.predict_proba_one(x))
        model.learn_one(x, y)
    assert (proba, model.digest()) == learnt_led


@pytest.mark.parametrize(("size", "n_threads"), [(7, 1), (1024, 1), (512, 2)])
def test_blocks_of_any_size_and_threads_let_the_same_trees_sleep(of_led, learnt_led, size, n_threads):
    model = DriftMoEClassifier(**LED, n_threads=n_threads)
    proba, _ = by_blocks(model, of_led, size)
    if n_threads == 1:  # the digest holds the argument
        assert model.digest() == learnt_led[1]
    assert proba == learnt_led[0]


def from_file(model):
    return DriftMoEClassifier.from_bytes(model.to_bytes())


def from_state(model):
    new = DriftMoEClassifier(**LED)
    new.restore(model.state())
    return new


def from_pickle(model):
    return pickle.loads(pickle.dumps(model))


@pytest.mark.parametrize("taken", [from_file, from_state, from_pickle, copy.deepcopy])
def test_a_copy_made_while_trees_sleep_goes_on_with_the_same_trees(of_led, learnt_led, taken):
    model = DriftMoEClassifier(**LED)
    before, n_awake = by_blocks(model, of_led[:3990], 210)
    assert n_awake[-1] == 2
    other = taken(model)
    by_blocks(model, of_led[3990:4400], 410)  # the copy shares nothing with it
    after, _ = by_blocks(other, of_led[3990:], 64)
    assert (before + after, other.digest()) == learnt_led


def test_off_it_leaves_no_trace_in_states_and_files():
    model = DriftMoEClassifier(**SMALL)
    model.learn_one({"a": 1.0}, 0)
    state = model.state()
    assert "shedding" not in state["mixture"]
    assert "min_awake" not in state["arguments"]
    DriftMoEClassifier(min_awake=0, **SMALL).restore(state)  # the same
    with pytest.raises(ValueError, match="min_awake=2"):
        DriftMoEClassifier(min_awake=2, **SMALL).restore(state)
    assert b"min_awake" not in model.to_bytes()
    assert b"min_awake" in DriftMoEClassifier(min_awake=2, **SMALL).to_bytes()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("is_awake", np.zeros(5, np.bool_), "0 experts awake"),
        ("is_resting", np.ones(14, np.bool_), "always learns"),
        ("n_seen", -1, "n_seen"),
    ],
)
def test_a_damaged_state_is_refused(name, value, message):
    model = DriftMoEClassifier(min_awake=2, **SMALL)
    model.learn_one({"a": 1.0}, 0)
    state = model.state()
    state["mixture"]["shedding"][name] = value
    with pytest.raises(ValueError, match=message):
        model.restore(state)


def test_a_state_that_is_refused_leaves_who_rests_as_it_was(rows):
    X, y = rows
    model, young = (DriftMoEClassifier(min_awake=1, **SMALL) for _ in range(2))
    learn(model, X, y)
    learn(young, X[:300], y[:300])
    assert awake(young) == 5  # and none of its experts rests
    shedding, refused = model._mixture.shedding, young.state() | {"recent": None}
    before = shedding.are_resting.copy(), shedding.n_comparable.copy()
    assert before[0].any()
    with pytest.raises(TypeError):
        model.restore(refused)
    after = model._mixture.shedding
    assert after.are_resting.tolist() == before[0].tolist()
    assert after.n_comparable.tolist() == before[1].tolist() == [0]
