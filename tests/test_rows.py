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


# --- labels that come late --------------------------------------------------------------------------------------------


def late_rows(samples, seed=1, longest=40):
    """Return operations (sample, label or None, weight, is asked) as they come if each label comes late."""
    rng, due, operations = random.Random(seed), [], []
    for i, (x, y) in enumerate(samples):
        delay, w = rng.randrange(longest), rng.choice([0.0, 0.5, 1.0, 1.0, 3.0])
        if delay == 0:
            operations.append((x, y, w, rng.random() < 0.8))
        else:
            operations.append((x, None, 1.0, True))
            due.append((i + delay, i, x, y, w))
        operations += [
            (x, y, w, False) for when, _, x, y, w in sorted(due, key=lambda one: one[:2]) if when == i
        ]
        due = [one for one in due if one[0] > i]
    return operations


def one_after_the_other(model, operations):
    proba = []
    for x, y, w, is_asked in operations:
        proba.append(model.predict_proba_one(x) if is_asked else None)
        if y is not None:
            model.learn_one(x, y, w)
    return proba


def run(model, operations, size):
    proba = []
    for start in range(0, len(operations), size):
        X, y, w, asked = zip(*operations[start : start + size], strict=True)
        proba += model.run_rows(X, y, w, asked=asked)
    return proba


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("size", [1, 13, 1000])
def test_a_run_of_predictions_and_late_labels_gives_what_single_calls_give(variant, size):
    operations = late_rows(changing_samples(250))
    single, rows = model_of(variant), model_of(variant)
    expected = one_after_the_other(single, operations)
    assert run(rows, operations, size) == expected
    assert rows.digest() == single.digest()


def test_a_run_of_predictions_alone_changes_nothing():
    model = model_of("driftmoe")
    samples = [x for x, _ in changing_samples(60)]
    assert model.run_rows(samples, [None] * 60) == [{}] * 60
    model.step_rows(samples, ["yes", "no"] * 30)
    before = model.digest()
    assert model.run_rows(samples, [None] * 60) == model.predict_proba_rows(samples)
    assert model.digest() == before


def test_what_is_neither_predicted_nor_learnt_is_refused():
    model, x = model_of("driftmoe"), {"a": 1.0}
    with pytest.raises(ValueError, match="row 1 of 2 has no label and is not asked"):
        model.run_rows([x, x], ["yes", None], asked=[True, False])
    for wrong in ([True], [1, 0]):
        with pytest.raises(ValueError, match="for 2 samples; give True or False for each"):
            model.run_rows([x, x], ["yes", "no"], asked=wrong)
    with pytest.raises(TypeError, match="asked is of type bool; give a list of True or False"):
        model.run_rows([x], ["yes"], asked=True)
    with pytest.raises(TypeError, match="row 1 of 2: feature 'a' is 'text', a text, but was a number before"):
        model.run_rows([x, {"a": "text"}], ["yes", None])
    assert model.run_rows([], []) == []
