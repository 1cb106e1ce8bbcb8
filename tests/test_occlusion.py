"""What explanations cost: their memory and their predictions are bounded, however many features there are."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from deciding import EAGER, decided, fed
from small_models import small

from driftmoe import occlusion
from driftmoe.occlusion import contributions, importances, n_drawn


@pytest.mark.parametrize(("n_features", "n_repeats", "n"), [(8, 1, 128), (150, 1, 128), (400, 1, 25), (5000, 1, 8),
                                                            (8, 5, 128), (8, 1000, 8), (0, 1, 128)])  # fmt: skip
def test_the_more_features_the_fewer_samples_are_drawn_from(n_features, n_repeats, n):
    assert n_drawn(128, n_features, n_repeats) == n


class Measured:
    """A model of wide samples that notes how many rows it was given, all in all and at once."""

    def __init__(self):
        self.n_rows, self.most_numbers = 0, 0

    def __call__(self, vectors):
        self.n_rows += len(vectors)
        self.most_numbers = max(self.most_numbers, vectors.size)
        p = 1.0 / (1.0 + np.exp(-np.nan_to_num(vectors[:, 0])))
        return np.column_stack([1.0 - p, p])


def peak_of(call):
    tracemalloc.start()
    try:
        return call(), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_and_work_are_bounded_with_many_features():
    rng, model = np.random.default_rng(1), Measured()
    rows = rng.normal(size=(8, 3000))
    vector = rng.normal(size=3000)
    vector[0] = 9.0
    found, peak = peak_of(lambda: contributions(model, vector, rows, 1))
    assert peak < 60e6  # all rows at once would be 3000 * 8 * 3000 * 8 bytes = 576 MB
    assert model.n_rows <= 1 + occlusion.BUDGET // 3000
    assert model.most_numbers <= occlusion.CHUNK_NUMBERS
    assert np.isnan(found).sum() == 3000 - occlusion.BUDGET // 3000 // 8
    assert found[0] > 0.1  # its value is the most unusual
    model = Measured()
    targets = (rows[:, 0] > 0).astype(int)
    found, peak = peak_of(lambda: importances(model, rows, targets, 1, np.random.default_rng(2)))
    assert peak < 60e6
    assert model.n_rows <= 8 + occlusion.BUDGET // 3000
    assert not np.isnan(found[:, 0]).any()


def test_values_that_equal_the_samples_own_cost_no_prediction():
    model = Measured()
    rows = np.zeros((8, 500))
    rows[:, 0] = np.arange(8)
    rows[:, 1] = np.nan
    vector = np.zeros(500)
    vector[1] = np.nan
    found = contributions(model, vector, rows, 1)
    assert model.n_rows == 1 + 7
    assert found[0] < 0.0
    assert (found[1:] == 0.0).all()
    model = Measured()
    importances(model, rows, np.zeros(8, int), 1, np.random.default_rng(0))
    assert model.n_rows <= 8 + 8


def test_features_without_time_are_counted_and_those_that_are_tried_keep_their_figures(monkeypatch):
    model, x = fed(small("moe-vote", expert=EAGER), decided(300)), {"a": 2.0, "b": 0.1, "c": 1.0}
    full, important = model.explain_one(x), model.feature_importances(n_repeats=2)
    assert full.n_untried == 0
    monkeypatch.setattr(occlusion, "BUDGET", 128 * 6)
    some = model.explain_one(x)
    assert some.n_untried == 2
    assert "Of 4 features only the 2 were tried whose values are the most unusual" in str(some)
    assert set(some.contributions) < set(full.contributions)
    with pytest.warns(UserWarning, match="the importances are of 2 of 4 features"):
        found = model.feature_importances(n_repeats=2)
    assert found.items() <= important.items()
