"""A list of dictionaries in one call gives what single calls give."""

from __future__ import annotations

import random

import pytest

from driftmoe import DriftMoEClassifier

VARIANTS = ("driftmoe", "moe-data", "moe-vote", "moe-task")


def model_of(variant, **arguments):
    return DriftMoEClassifier(variant, hidden=(8,), batch_size=16, seed=1, **arguments)


def changing_samples(n, seed=1):
    """Return samples whose features, values and classes come and go, some of them odd."""
    rng, samples = random.Random(seed), []
    for i in range(n):
        x = {"a": rng.random(), "b": rng.randrange(5), "c": rng.choice(["red", "blue"])}
        if rng.random() < 0.2:
            del x[rng.choice(["a", "b", "c"])]
        if rng.random() < 0.1:
            x["a"] = None
        if i > n // 2:
            x["d"] = rng.random() < 0.5
        if rng.random() < 0.02:
            x["c"] = f"colour {i}"
        samples.append((x, rng.choice(["yes", "no"] if i < n // 3 else ["yes", "no", "maybe"])))
    return samples


def one_by_one(model, samples, weights):
    proba = []
    for (x, y), w in zip(samples, weights, strict=True):
        proba.append(model.predict_proba_one(x))
        model.learn_one(x, y, w)
    return proba


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("size", [1, 7, 64])
def test_rows_give_what_single_samples_give(variant, size):
    samples = changing_samples(200)
    weights = [float(i % 4) for i in range(200)]
    single, rows = model_of(variant), model_of(variant)
    expected = one_by_one(single, samples, weights)
    found = []
    for start in range(0, 200, size):
        some = samples[start : start + size]
        found += rows.step_rows([x for x, _ in some], [y for _, y in some], weights[start : start + size])
    assert found == expected
    assert rows.digest() == single.digest()
    some = [x for x, _ in samples]
    assert rows.predict_proba_rows(some) == [single.predict_proba_one(x) for x in some]


def test_bounds_hold_for_rows_as_for_single_samples():
    samples = changing_samples(150)
    single, rows = (model_of("driftmoe", max_features=3, max_classes=2) for _ in range(2))
    with pytest.warns(UserWarning, match="max_"):
        expected = one_by_one(single, samples, [1.0] * 150)
    with pytest.warns(UserWarning, match="max_"):
        assert rows.step_rows([x for x, _ in samples], [y for _, y in samples]) == expected
    assert rows.digest() == single.digest()
    assert (rows.n_ignored_values, rows.n_ignored_samples) == (
        single.n_ignored_values, single.n_ignored_samples
    )  # fmt: skip
    assert rows.n_ignored_samples > 0


def test_a_wrong_row_is_named_and_none_is_learnt():
    model = model_of("driftmoe")
    model.step_rows([{"a": 1.0}], ["yes"])
    before = model.digest()
    with pytest.raises(
        TypeError, match=r"row 1 of 3: feature 'a' is 'text', a text, but was a number before"
    ):
        model.step_rows([{"a": 2.0}, {"a": "text"}, {"a": 3.0}], ["yes"] * 3)
    with pytest.raises(TypeError, match="row 2 of 3: feature 'b'"):
        model.step_rows([{"a": 2.0}, {"a": 2.0, "b": 1.0}, {"b": "text"}], ["yes"] * 3)
    with pytest.raises(ValueError, match="2 samples, y has 1 labels and w has 1 weights"):
        model.step_rows([{"a": 2.0}, {"a": 3.0}], ["yes"])
    with pytest.raises(ValueError, match="label is None"):
        model.step_rows([{"a": 2.0}, {"a": 3.0}], ["yes", None])
    with pytest.raises(ValueError, match="row 1 of 2: feature 'a' is inf"):
        model.predict_proba_rows([{"a": 2.0}, {"a": float("inf")}])
    assert model.digest() == before


def test_nothing_is_known_before_the_first_sample():
    model = model_of("driftmoe")
    assert model.predict_proba_rows([{"a": 1.0}, {}]) == [{}, {}]
    assert model.predict_proba_rows([]) == []
    assert model.step_rows([], []) == []
    assert model.step_rows([{"a": 1.0}, {"a": 1.0}], ["yes", "yes"]) == [{}, {"yes": 1.0}]


@pytest.mark.parametrize(
    ("wrong", "kind"), [(iter([{"a": 1.0}]), "list_iterator"), ({"a": 1.0}, "dict"), ("a", "str")]
)
def test_what_is_no_list_of_samples_is_refused(wrong, kind):
    model = model_of("driftmoe")
    for call in (lambda: model.step_rows(wrong, ["yes"]), lambda: model.predict_proba_rows(wrong)):
        with pytest.raises(TypeError, match=f"X is of type {kind}; give a list of samples"):
            call()
    with pytest.raises(TypeError, match="y is of type str; give a list of labels"):
        model.step_rows([{"a": 1.0}], "y")
    with pytest.raises(TypeError, match="w is of type list_iterator; give a list of weights"):
        model.step_rows([{"a": 1.0}], ["yes"], iter([1.0]))
    assert model.predict_proba_rows(({"a": 1.0}, {})) == [{}, {}]
