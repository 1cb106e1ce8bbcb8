"""A thousand calls that no model may take, among right ones: each is refused, and changes nothing.

`python -m benchmarks.faults --group refusals` makes more of them.
"""

from __future__ import annotations

import pytest

from benchmarks.faults import MODELS, refusals
from driftmoe.trees import HoeffdingTreeClassifier


@pytest.mark.parametrize("name", MODELS)
def test_a_refused_call_leaves_the_digest_as_it_was(name):
    fuzzer = refusals.Fuzzer(MODELS[name], seed=1)
    while fuzzer.n_refused < 150:
        before = fuzzer.model.digest()
        if fuzzer.call():
            assert fuzzer.model.digest() == before, fuzzer.problems
    fuzzer.check()
    assert fuzzer.problems == []


def test_calls_are_the_same_for_the_same_seed():
    def told(seed):
        fuzzer = refusals.Fuzzer(MODELS["tree"], seed)
        for _ in range(200):
            fuzzer.call()
        return fuzzer.model.digest(), fuzzer.n_refused

    assert told(1) == told(1)
    assert told(1) != told(2)


def spoilt(monkeypatch, learn_after_a_refusal):
    """A tree whose `learn_one` does something else after it was refused."""
    learn = HoeffdingTreeClassifier.learn_one

    def learn_one(self, x, y, **others):
        try:
            learn(self, x, y, **others)
        except (TypeError, ValueError):
            learn_after_a_refusal(lambda: learn(self, {"a": 1.0}, "x"))

    monkeypatch.setattr(HoeffdingTreeClassifier, "learn_one", learn_one)
    return refusals.refused(MODELS["tree"], 100)


def test_a_refused_call_that_changes_a_model_is_found(monkeypatch):
    def learn_and_raise(learn):
        learn()
        raise ValueError

    tried, lost, problems = spoilt(monkeypatch, learn_and_raise)
    assert (tried, lost) == (100, 1)
    assert problems[0].startswith("the model has changed within these calls: ")


def test_a_call_that_is_taken_or_raises_another_error_is_found(monkeypatch):
    def raise_another(_):
        raise KeyError("raw")

    _, lost, problems = spoilt(monkeypatch, lambda _: None)
    assert lost > 10
    assert all(problem.endswith("was taken") for problem in problems)
    monkeypatch.undo()
    _, lost, problems = spoilt(monkeypatch, raise_another)
    assert lost > 10
    assert all("raised KeyError" in problem for problem in problems)
