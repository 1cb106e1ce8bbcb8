"""Holdout tests and cross-validation."""

from __future__ import annotations

import numpy as np
import pytest
from simple_models import Memory, Recorder, numbered

from driftmoe.evaluation import cross_validate, holdout


def test_holdout_learns_then_tests_by_turns():
    model = Recorder()
    checkpoints = list(holdout(numbered(17), model, every=5, size=3))
    assert [c[:2] for c in model.calls] == [("predict" if i % 8 >= 5 else "learn", i) for i in range(17)]
    assert [c.n_samples for c in checkpoints] == [8, 16]
    cut_short = list(holdout(numbered(15), Memory(), every=5, size=3))
    assert [c.n_samples for c in cut_short] == [8, 15]
    seen = [({"i": i % 5}, f"label {i % 5}") for i in range(16)]
    assert [c.window["accuracy"] for c in holdout(seen, Memory(), every=5, size=3)] == [1.0, 1.0]
    with pytest.raises(ValueError, match="every=0"):
        next(holdout(seen, Memory(), every=0))


def test_a_stream_that_ends_before_the_first_test_is_refused():
    for n_samples in (0, 5):
        with pytest.raises(
            ValueError, match="the stream ended before the first test, which comes after every=5"
        ):
            list(holdout(numbered(n_samples), Memory(), every=5, size=3))


class Counting(Recorder):
    """Counts how often each sample was learnt and tested."""

    def count(self, what):
        return np.bincount([c[1] for c in self.calls if c[0] == what], minlength=500)


@pytest.mark.parametrize(
    ("method", "tested", "learnt"), [("cross-validation", 1, 9), ("split", 9, 1), ("bootstrap", 3.68, 10)]
)
def test_folds_share_a_sample_as_the_method_says(method, tested, learnt):
    folds = [Counting() for _ in range(10)]
    *_, last = cross_validate(numbered(500), folds, method=method, window=200, seed=4)
    n_tested, n_learnt = (sum(fold.count(what) for fold in folds) for what in ("predict", "learn"))
    if method == "bootstrap":
        assert np.mean(n_tested) == pytest.approx(tested, abs=0.2)  # 10 folds, each with e^-1
        assert np.mean(n_learnt) == pytest.approx(learnt, abs=0.3)
    else:
        assert set(n_tested) == {tested}
        assert set(n_learnt) == {learnt}
    assert not any((fold.count("predict") * fold.count("learn")).any() for fold in folds)
    assert len({fold.count("learn").tobytes() for fold in folds}) == 10
    assert [c.n_samples for c in last] == [500] * 10
    again = [Counting() for _ in range(10)]
    list(cross_validate(numbered(500), again, method=method, window=200, seed=4))
    assert [a.calls for a in again] == [f.calls for f in folds]


def test_figures_of_a_fold_are_of_the_samples_on_which_it_was_tested():
    rows = [({"i": i}, i % 2) for i in range(400)]  # Recorder says 0
    folds = [Counting() for _ in range(4)]
    *_, last = cross_validate(rows, folds, window=400, seed=2)
    for fold, checkpoint in zip(folds, last, strict=True):
        tested, learnt = (np.flatnonzero(fold.count(what)) for what in ("predict", "learn"))
        assert checkpoint.n_warm_up == sum(tested < learnt[0])
        tested = tested[tested > learnt[0]]
        assert checkpoint.cumulative["accuracy"] == pytest.approx(np.mean(tested % 2 == 0))


def test_folds_are_checked():
    with pytest.raises(ValueError, match="1 models; give at least 2"):
        next(cross_validate(numbered(3), [Memory()]))
    with pytest.raises(
        ValueError, match="method='loo'; choose one of 'cross-validation', 'split', 'bootstrap'"
    ):
        next(cross_validate(numbered(3), [Memory(), Memory()], method="loo"))
    one = Memory()
    with pytest.raises(ValueError, match="a model is given for several folds"):
        next(cross_validate(numbered(3), [one, Memory(), one]))


class TrainsItself:
    """As MOA's learners."""

    def test_then_train(self, stream, size):
        raise AssertionError


def test_a_model_that_tests_and_trains_itself_cannot_be_held_out_or_folded():
    for run in (holdout, lambda rows, model: cross_validate(rows, [model, TrainsItself()])):
        with pytest.raises(ValueError, match="TrainsItself tests and trains itself and cannot be told"):
            list(run(numbered(3), TrainsItself()))
