"""Labels of which only a share ever comes: which they are, and that the others are neither learnt nor kept."""

from __future__ import annotations

import math
import weakref

import pytest
from river import base
from simple_models import Memory, Recorder, Shown, numbered

import streams
from driftmoe.evaluation import Answers, prequential


def learnt(n, **protocol):
    """Return which samples were learnt, and after how many arrivals."""
    model, rows = Recorder(), [({"i": i}, f"label {i % 7}") for i in range(n)]
    for _ in prequential(rows, model, **protocol):
        pass
    arrived, when = -1, {}
    for what, number, *label in model.calls:
        if what == "predict":
            arrived = number
        else:
            assert label == [f"label {number % 7}"]
            assert number not in when
            when[number] = arrived
    return when


@pytest.mark.parametrize("share", [0.02, 0.1, 0.9])
def test_the_share_of_labels_that_come_is_the_one_asked_for(share):
    n = 5_000
    found = learnt(n, label_share=share, seed=1)
    assert abs(len(found) - n * share) < 5 * math.sqrt(n * share * (1 - share))
    halves = [sum(number < n // 2 for number in found), sum(number >= n // 2 for number in found)]
    assert abs(halves[0] - halves[1]) < 5 * math.sqrt(n * share * (1 - share))


def test_the_seed_decides_which_labels_come_and_nothing_else_does():
    found = learnt(500, label_share=0.3, seed=1)
    assert found == learnt(500, label_share=0.3, seed=1)
    assert set(found) != set(learnt(500, label_share=0.3, seed=2))
    for other in ({"delay": 1}, {"delay": (0, 1)}, {"weight": lambda x, y: 2.0}, {"warm_start": 1}):
        late = set(learnt(500, label_share=0.3, seed=1, **other))
        assert late - {0} == {number for number in found if number < 499 or number in late} - {0}
    assert set(found) < set(learnt(500, label_share=0.6, seed=1))  # the same draws


def test_random_delays_stay_as_they_are():
    every, some = (learnt(600, label_share=share, delay=(0, 50), seed=7) for share in (1.0, 0.4))
    assert 0 < len(some) < len(every)
    assert some == {number: when for number, when in every.items() if number in some}
    assert every == learnt(600, delay=(0, 50), seed=7)


def test_in_the_warm_start_all_labels_come_at_once():
    model = Recorder()
    list(prequential(numbered(300), model, label_share=0.1, delay=5, warm_start=100, seed=1))
    assert [call[:2] for call in model.calls[:100]] == [("learn", number) for number in range(100)]
    assert 0 < sum(call[0] == "learn" for call in model.calls[100:]) < 60


def test_samples_whose_labels_never_come_count_in_the_figures():
    rows = [({"i": number % 40}, f"label {number % 40}") for number in range(2000)]
    known = learnt(2000, label_share=0.1, seed=3)
    of_ring = dict.fromkeys(range(40), math.inf)
    for number in known:
        of_ring[number % 40] = min(of_ring[number % 40], number)
    first = min(known)
    n_right = sum(of_ring[number % 40] < number for number in range(first + 1, 2000))
    *_, last = prequential(rows, Memory(), label_share=0.1, seed=3)
    assert (last.n_warm_up, last.n_counted) == (first + 1, 2000 - first - 1)
    assert last.cumulative["accuracy"] == pytest.approx(n_right / last.n_counted)


class Traced(dict):
    """Features of which one can see whether something still holds them."""


def test_samples_whose_labels_never_come_are_not_kept_waiting():
    alive, most = weakref.WeakSet(), 0

    class Held(base.Classifier):
        def predict_one(self, x):
            nonlocal most
            alive.add(x)
            most = max(most, len(alive))
            return 0

        def learn_one(self, x, y):
            pass

    Traced.__hash__ = object.__hash__
    rows = ((Traced(i=number), 0) for number in range(2000))
    list(prequential(rows, Held(), label_share=0.01, seed=1))
    assert most <= 3


class Asked(Shown):
    """Says how it was asked for each sample."""

    def __init__(self):
        self.how = {}

    def predict_one(self, x):
        self.how[x["i"]] = "at once"
        return 0

    def arrive_one(self, x):
        self.how[x["i"]] = "late"
        return {0: 1.0}

    def decide_one(self, proba):
        return 0


def test_a_model_is_asked_for_labels_that_never_come_as_for_late_ones():
    model = Asked()
    list(prequential(numbered(200), model, label_share=0.5, seed=1))
    at_once = learnt(200, label_share=0.5, seed=1)
    assert model.how == {number: "at once" if number in at_once else "late" for number in range(200)}


@pytest.mark.parametrize("share", [0, 0.0, -0.1, 1.01, math.nan, math.inf, "0.1", None, True])
def test_what_is_no_share_is_refused(share):
    with pytest.raises(
        ValueError, match=r"label_share=.*; choose the share of the samples .* above 0 and at most 1"
    ):
        next(prequential(numbered(3), Memory(), label_share=share))


def test_a_model_that_trains_itself_refuses_a_share():
    class Itself:
        def test_then_train(self, stream, size):
            yield Answers([0], [0], 0.0, 0.0)

    stream = streams.make("sea", n_samples=10)
    with pytest.raises(
        ValueError, match="Itself tests and trains itself; it knows neither delay, label_share, "
    ):
        next(prequential(stream, Itself(), label_share=0.5))


def test_no_label_at_all_is_told():
    with pytest.raises(
        ValueError, match=r"all 3 samples .* a larger share of labels, or let these samples count"
    ):
        list(prequential(numbered(3), Memory(), label_share=1e-9, seed=1))
