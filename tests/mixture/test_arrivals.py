"""Samples that wait for their labels: how they are kept and given up, and what the gate learns from them."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from compiled_or_not import plain

from benchmarks.faults.learning import AlarmError, _failing, _stopping
from driftmoe import DriftMoEClassifier, saving
from driftmoe.evaluation import prequential
from driftmoe.mixture import arrivals
from driftmoe.mixture.arrivals import (
    Arrivals,
    bits_of,
    given_up,
    keep_all,
    keys_of,
    memory_of,
    taken_up,
    vote_of,
)
from streams.opening import open_stream

SMALL = {"hidden": (8,), "batch_size": 16, "n_experts": 2, "seed": 1}
MEMORIES = np.array([[-0.5, -2.0], [-11.0, 3.0]])


def place_of(places, vector):
    keys, widths, numbers, *_, counts = places.arrays
    room = np.empty(len(vector) + 1, np.uint64)
    return plain(taken_up, False)(bits_of(vector), room, keys, widths, numbers, counts)


def kept(places, vectors, n_seen=3, n_classes=2):
    """Keep vectors, whose first expert says how many came before, in shares of 100."""
    vectors = np.array(vectors, float)
    places = places.with_room(len(vectors), n_classes)
    proba = np.zeros((len(vectors), 2, n_classes))
    proba[:, 0, 0] = np.arange(len(vectors)) / 100
    keep = plain(keep_all, False)
    keep(np.ones(len(vectors), bool), bits_of(vectors), proba, MEMORIES, np.array([n_seen]), *places.arrays)
    return places


@pytest.mark.parametrize("is_compiled", [True, False])
def test_missing_and_later_features_and_the_sign_of_zero_do_not_change_who_a_sample_is(is_compiled):
    def key(bits):
        return plain(keys_of, is_compiled)(bits, np.empty(len(bits) + 1, np.uint64))

    first = key(bits_of(np.array([1.5, 0.0, np.nan])))
    assert first == key(bits_of(np.array([1.5, -0.0])))
    assert first == key(bits_of(np.array([1.5, 0.0, -np.nan, np.nan])))
    others = ([1.5], [1.5, np.nan, 0.0], [0.0, 1.5], [1.5, 1e-300], [np.nan, np.nan])
    assert len({first, *(key(bits_of(np.array(other))) for other in others)}) == 6


def test_a_sample_is_known_again_once_with_what_was_said_of_it():
    places = kept(Arrivals(2, 2, 2, 100), [[1.0], [2.0], [3.0]])
    place = place_of(places, np.array([2.0]))
    assert [plain(vote_of, False)(vote) for vote in places.votes[place, 0]] == pytest.approx(
        [0.01, 0.0], abs=1e-5
    )
    back = [[plain(memory_of, False)(one) for one in row] for row in places.memories[place]]
    np.testing.assert_allclose(back, MEMORIES, atol=2e-4)
    assert places.seen[place] == 3
    assert place_of(places, np.array([2.0])) == -1
    assert place_of(places, np.array([4.0])) == -1
    assert places.n_waiting == 2


def test_of_equal_samples_the_oldest_comes_first_and_places_are_used_again():
    places = kept(Arrivals(2, 2, 2, 100), [[1.0]] * 3)
    assert [round(float(plain(vote_of, False)(places.votes[place_of(places, np.array([1.0])), 0, 0])), 3)
            for _ in range(3)] == [0.0, 0.01, 0.02]  # fmt: skip
    n_places = len(places.keys)
    for _ in range(5):
        places = kept(places, [[5.0]] * n_places)
        assert [place_of(places, np.array([5.0])) >= 0 for _ in range(n_places)] == [True] * n_places
    assert len(places.keys) == n_places


@pytest.mark.parametrize("is_compiled", [True, False])
def test_the_oldest_is_given_up_or_any_with_equal_probability(is_compiled):
    n, n_draws = 8, 2000
    rng = np.random.default_rng(1)
    times = np.zeros(n)
    for drawn in rng.integers(1 << 64, size=n_draws, dtype=np.uint64):
        keys = rng.integers(1 << 64, size=n, dtype=np.uint64)
        numbers = rng.permutation(n)
        numbers[rng.integers(n)] = arrivals.FREE
        place = plain(given_up, is_compiled)(drawn, 1 << 15, keys, numbers)
        assert numbers[place] != arrivals.FREE
        times[(numbers[numbers != arrivals.FREE] < numbers[place]).sum()] += 1  # how many are older
    expected = n_draws / 2 * (np.arange(n) == 0) + n_draws / 2 / (n - 1) * (np.arange(n) < n - 1)
    assert (np.abs(times - expected) < 5 * np.sqrt(expected) + 1e-9).all()


def known_of(delay, share, most=50, n=1500):
    """Return the share of labels whose samples are still there, of the last two thirds of labels that come."""
    places, known, rng = Arrivals(2, 2, 2, most), [], np.random.default_rng(1)
    comes = rng.random(n) < share
    for i in range(n):
        places = kept(places, [[float(i)]], n_seen=i)
        if i >= delay and comes[i - delay]:
            known.append(place_of(places, np.array([float(i - delay)])) >= 0)
    assert places.n_waiting <= most
    return np.mean(known[len(known) // 3 :])


@pytest.mark.parametrize("share", [1.0, 0.5, 0.1])
def test_nothing_is_lost_while_labels_come_before_the_memory_is_full(share):
    assert known_of(49, share) == 1.0


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_some_are_still_there_where_labels_come_later(share):
    assert 0.3 < known_of(60, share) < 0.7
    assert known_of(100, share) > 0.05


def test_after_a_time_of_late_labels_nothing_is_lost_again():
    places = Arrivals(2, 2, 2, 50)
    for i in range(1000):
        places = kept(places, [[float(i)]], n_seen=i)
        place_of(places, np.array([i - 80.0]))
    assert places.counts[3] > 20_000
    assert places.of(places.state()).counts[3] == places.counts[3]  # a file goes on alike
    with pytest.raises(
        ValueError, match="'missed' in the state of Arrivals is 65536; it must be below 65536"
    ):
        places.of(places.state() | {"missed": 65536})
    known = []
    for i in range(1000, 2500):
        places = kept(places, [[float(i)]], n_seen=i)
        known.append(place_of(places, np.array([i - 30.0])) >= 0)
    assert places.counts[3] == 0
    assert "missed" not in places.state()
    assert all(known[500:])


def test_more_classes_leave_what_was_kept_and_many_leave_room_for_fewer(monkeypatch):
    monkeypatch.setattr(arrivals, "MOST_BYTES", 2_400)  # of 32 + 2 * (2 * 2 + 2 * 2) = 48 bytes each, 50
    places = kept(Arrivals(2, 2, 2, 100), [[float(i)] for i in range(60)])
    assert places.n_waiting == 50
    more = kept(places, [[60.0]], n_classes=20)  # 32 + 2 * (2 * 20 + 2 * 2) = 120 bytes each: 20
    assert more.n_waiting == 20
    assert more.votes.shape[1:] == (2, 20)
    assert place_of(more, np.array([60.0])) >= 0
    assert places.n_waiting == 50  # the other object is as it was
    assert [place_of(more, np.array([float(i)])) >= 0 for i in (40, 41, 59)] == [False, True, True]


def test_a_state_holds_them_in_order_and_goes_on_alike():
    places = kept(Arrivals(2, 2, 2, 100), [[float(i % 3)] for i in range(20)])
    for value in (1.0, 1.0, 2.0):
        place_of(places, np.array([value]))
    other = places.of(places.state())
    assert other.n_waiting == 17
    for value in (0.0, 1.0, 2.0, 1.0, 2.0, 0.0, 3.0):
        ours, theirs = place_of(places, np.array([value])), place_of(other, np.array([value]))
        assert (ours < 0) == (theirs < 0)
        assert ours < 0 or places.votes[ours].tolist() == other.votes[theirs].tolist()


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("seen", lambda array: array - 5, "'seen' in the state of Arrivals has -2; it must be 0 or more"),
        ("seen", lambda array: array[1:], "'seen' in the state of Arrivals is of 2 samples; it must be of 3"),
        ("votes", lambda array: array.astype(np.int64), "it must be uint16"),
        ("memories", lambda array: array[:, :1], "it must be uint16 of shape"),
        ("keys", lambda array: np.zeros((0, 3), np.uint64), "'keys'"),
    ],
)
def test_a_damaged_state_is_refused(name, change, message):
    places = kept(Arrivals(2, 2, 2, 100), [[1.0], [2.0], [3.0]])
    state = places.state()
    state[name] = change(state[name])
    with pytest.raises(ValueError, match=message):
        places.of(state)


def test_a_state_with_more_than_may_wait_is_refused():
    state = kept(Arrivals(2, 2, 2, 100), [[1.0], [2.0], [3.0]]).state()
    with pytest.raises(
        ValueError, match="'keys' in the state of Arrivals is of 3 samples; at most 2 may wait"
    ):
        Arrivals(2, 2, 2, 2).restore(state)


def test_a_sample_is_known_again_by_the_features_that_were_known_when_it_came():
    places = kept(Arrivals(2, 2, 2, 100), [[1.0, 2.0], [1.0, np.nan]])
    assert place_of(places, np.array([1.0, np.nan, 7.0])) >= 0
    assert place_of(places, np.array([1.0, 2.0, 7.0, np.nan])) >= 0
    places = kept(places, [[1.0, 2.0, 5.0]])
    assert place_of(places, np.array([1.0, 2.0])) == -1
    assert place_of(places, np.array([1.0, 2.0, 6.0])) == -1
    assert place_of(places, np.array([1.0, 2.0, 5.0])) >= 0


def test_samples_with_a_feature_that_is_new_do_not_wait_for_good():
    model = DriftMoEClassifier(**SMALL)
    samples = [(x | ({"c": float(i)} if i >= 100 else {}), y) for i, (x, y) in enumerate(some_samples(300))]
    late(model, samples, 30, is_told=True)
    assert model.n_waiting == 30


def test_blocks_and_single_samples_agree_when_classes_leave_room_for_fewer(monkeypatch):
    monkeypatch.setattr(arrivals, "MOST_BYTES", 6_000)
    samples = [(x, int(i > 150) * i % 7) for i, (x, _) in enumerate(some_samples(400))]
    single, together = DriftMoEClassifier(**SMALL), DriftMoEClassifier(**SMALL)
    expected = late(single, samples, 8, is_told=True)
    X, y = [], []
    for i, (x, _) in enumerate(samples):
        X, y = [*X, x], [*y, None]
        if i >= 8:
            X, y = [*X, samples[i - 8][0]], [*y, samples[i - 8][1]]
    asked = [label is None for label in y]
    found = together.run_rows(X, y, asked=asked, awaits=True)
    assert [proba for proba in found if proba is not None] == expected
    assert together.digest() == single.digest()
    assert 0 < single.n_waiting < 9


@pytest.mark.parametrize("awaits", [None, "yes", [True], np.array([1, 0])])
def test_what_is_no_flag_is_refused(awaits):
    model = DriftMoEClassifier(**SMALL)
    with pytest.raises((TypeError, ValueError), match="awaits"):
        model.run_rows([{"a": 1.0}] * 2, [True, None], awaits=awaits)
    with pytest.raises(TypeError, match="awaits"):
        model.step_many(
            np.zeros((1, 1)), np.zeros(1, int), names=["a"], values=[None], classes=[0], awaits=awaits
        )


def some_samples(n, seed=1):
    rng = np.random.default_rng(seed)
    return [({"a": float(a), "b": float(b)}, bool(a > b)) for a, b in rng.normal(size=(n, 2))]


def late(model, samples, delay, *, is_told):
    """The answers of a model whose labels come late."""
    answers = []
    for i, (x, _) in enumerate(samples):
        answers.append(model.arrive_one(x) if is_told else model.predict_proba_one(x))
        if i >= delay:
            model.learn_one(*samples[i - delay])
    return answers


def test_where_nothing_is_learnt_in_between_an_arrival_changes_nothing():
    told, other, samples = DriftMoEClassifier(**SMALL), DriftMoEClassifier(**SMALL), some_samples(200)
    for x, y in samples:
        assert told.arrive_one(x) == other.predict_proba_one(x)
        for model in (told, other):
            model.learn_one(x, y)
    assert told.digest() == other.digest()
    assert late(told, samples, 20, is_told=True) != late(other, samples, 20, is_told=False)


def test_samples_that_wait_are_in_copies_files_and_states():
    model, samples = DriftMoEClassifier(**SMALL), some_samples(300)
    late(model, samples, 40, is_told=True)
    assert model.n_waiting == 40
    for other in (copy.deepcopy(model), saving.from_bytes(saving.to_bytes(model))):
        model = copy.deepcopy(other)
        assert other.n_waiting == 40
        assert other.digest() == model.digest()
        for x, y in samples[-40:]:
            model.learn_one(x, y)
            other.learn_one(x, y)
        assert model.n_waiting == other.n_waiting == 0
        assert other.digest() == model.digest()


def test_a_refused_sample_leaves_the_model_as_it_was():
    model = DriftMoEClassifier(**SMALL)
    late(model, some_samples(50), 5, is_told=True)
    before = model.digest()
    for wrong in ({"a": "text"}, {"a": float("inf")}, ["a"]):
        with pytest.raises((TypeError, ValueError)):
            model.arrive_one(wrong)
    assert (model.digest(), model.n_waiting) == (before, 5)


def test_of_labels_that_never_come_only_the_newest_samples_are_kept():
    model = DriftMoEClassifier(max_waiting=10, **SMALL)
    model.learn_one({"a": 0.0}, True)
    for x, _ in some_samples(100):
        model.arrive_one(x)
    assert model.n_waiting == 10
    assert DriftMoEClassifier(max_waiting=0, **SMALL).arrive_one({"a": 1.0}) == {}


def test_shrinking_forgets_them_and_a_bound_of_bytes_keeps_none():
    model = DriftMoEClassifier(**SMALL)
    late(model, some_samples(50), 20, is_told=True)
    model.shrink(5_000_000)
    assert model.n_waiting == 0
    with pytest.raises(ValueError, match="max_waiting"):
        DriftMoEClassifier(max_waiting=5, max_bytes=5_000_000, **SMALL)
    bounded = DriftMoEClassifier(max_bytes=5_000_000, **SMALL)
    late(bounded, some_samples(50), 20, is_told=True)
    assert bounded.n_waiting == 0


def test_the_gate_trusts_less_who_follows_the_last_labels():
    """Labels come in runs, late: who repeats the last label is right when the label comes, not when he was asked."""
    rng = np.random.default_rng(2)
    samples, label = [], 0
    for _ in range(3000):
        label = label if rng.random() < 0.95 else 1 - label
        samples.append(({"x": float(label + rng.normal(scale=0.8))}, label))
    right = {}
    for max_waiting in (0, 8192):
        model = DriftMoEClassifier(
            extras=("history", "linear"), max_waiting=max_waiting, **(SMALL | {"n_experts": 1})
        )
        answers = late(model, samples, 60, is_told=True)
        right[max_waiting] = sum(
            max(proba, key=proba.get) == y for proba, (_, y) in zip(answers[500:], samples[500:], strict=True)
        )
    assert right[8192] > right[0] + 50


def test_blocks_and_single_samples_give_the_same_model():
    models = [DriftMoEClassifier(**SMALL) for _ in range(2)]
    stream = open_stream("agrawal_a", limit=800)
    for model, samples in zip(models, (stream, list(stream)), strict=True):
        list(prequential(samples, model, delay=(0, 100), seed=3))
    assert models[0].n_waiting > 0
    assert models[0].digest() == models[1].digest()


@pytest.mark.parametrize("n_before", [10, 64], ids=["a free place", "a place to be made"])
@pytest.mark.parametrize("is_warm", [False, True])
@pytest.mark.parametrize(("breaking", "kind"), [(_stopping, AlarmError), (_failing, MemoryError)])
def test_a_fault_at_any_moment_leaves_a_sample_that_waits_or_does_not(n_before, is_warm, breaking, kind):
    model, samples = DriftMoEClassifier(**SMALL), some_samples(n_before + 2)
    for x, y in samples[:5]:
        model.learn_one(x, y)
    for x, _ in samples[: n_before - is_warm]:
        model.arrive_one(x)

    def prepared():
        new = copy.deepcopy(model)  # without kept plans
        if is_warm:
            new.arrive_one(samples[n_before][0])
        return new

    before, after = prepared(), prepared()
    after.arrive_one(samples[-1][0])
    allowed = {before.digest(): n_before, after.digest(): n_before + 1}
    n_broken, number = 0, 0
    while True:
        broken = prepared()
        try:
            with breaking(number):
                broken.arrive_one(samples[-1][0])
        except kind:
            n_broken += 1
            assert allowed[broken.digest()] == broken.n_waiting
        else:
            break
        number += 1 if breaking is _failing else 5
    assert n_broken > 0 or (is_warm and breaking is _failing)
