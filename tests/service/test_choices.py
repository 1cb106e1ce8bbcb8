"""What decisions cost, and whether sets of labels held the true one, over a window."""

from __future__ import annotations

import pytest

from driftmoe.service.choices import N_CHOICES, Choices
from driftmoe.service.scores import Answer


class Model:
    def __init__(self):
        self.threshold, self.decision_costs = 0.3, {"b": 10.0}

    def set_threshold(self, coverage):
        assert coverage == 0.9
        return self.threshold


def said(a, label="a"):
    return Answer(label, {"a": a, "b": 1.0 - a})


def test_costs_are_those_of_the_window():
    choices = Choices(Model())
    choices.add(said(0.9), "b")  # missed: 10
    choices.add(said(0.9), "a")
    choices.add(said(0.2, "b"), "a")  # missed: 1
    assert choices.figures()["mean_cost"] == pytest.approx(11.0 / 3.0)
    for _ in range(N_CHOICES):
        choices.add(said(0.9), "a")
    assert choices.figures()["mean_cost"] == pytest.approx(0.0)


def test_sets_are_those_of_the_threshold_at_the_last_look():
    model = Model()
    choices = Choices(model)
    choices.add(said(0.6), "b")
    assert "coverage" not in choices.figures()  # there was no look yet
    choices.look()
    choices.add(said(0.6), "b")  # both labels are in the set
    choices.add(said(0.8), "b")  # "a" alone
    choices.add(said(0.8), "a")
    model.threshold = 0.1
    choices.add(said(0.8), "b")  # still the old threshold
    assert choices.figures()["coverage"] == 2 / 4
    assert choices.figures()["set_size"] == (2 + 1 + 1 + 1) / 4
    choices.look()
    choices.add(said(0.8), "b")
    assert choices.figures()["coverage"] == 3 / 5


def test_the_top_label_is_always_in_the_set():
    model = Model()
    model.threshold = 0.99
    choices = Choices(model)
    choices.look()
    choices.add(said(0.6), "a")
    assert choices.figures() == {"coverage": 1.0, "set_size": 1.0, "mean_cost": 0.0}


def test_a_model_without_them_has_no_figures():
    choices = Choices(object())
    choices.look()
    choices.add(said(0.6), "a")
    assert choices.figures() == {}
