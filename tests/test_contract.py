"""What river, pickle and deepcopy ask of an estimator, for each variant, with no check left out."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from fractions import Fraction

import narwhals.stable.v2 as nw
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from river import checks, compose, datasets, preprocessing, tree

from driftmoe import DriftMoEClassifier
from driftmoe.classifier import VARIANTS
from driftmoe.memory import n_bytes
from driftmoe.network_kernels import N_KEPT

SIZES = {
    "driftmoe": {"n_experts": 4}, "moe-vote": {"n_experts": 4, "top_k": 2}, "moe-data": {"n_experts": 4, "top_k": 2},
    "moe-task": {},
}  # fmt: skip


CHECKS = list(checks.yield_checks(DriftMoEClassifier()))


def name_of(check):
    while hasattr(check, "func"):  # functools.partial
        check = check.func
    return check.__name__


def small(variant, **arguments):
    settings = {"hidden": (16, 8), "batch_size": 32, "seed": 7}
    return DriftMoEClassifier(variant, **(settings | SIZES[variant] | arguments))


def trained(variant, n_samples=300, **arguments):
    model = small(variant, **arguments)
    for x, y in datasets.ImageSegments().take(n_samples):
        model.learn_one(x, y)
    return model


@pytest.mark.parametrize("variant", VARIANTS)
def test_no_check_of_river_is_skipped(variant):
    assert small(variant)._unit_test_skips() == set()


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("check", CHECKS, ids=[f"{i}-{name_of(check)}" for i, check in enumerate(CHECKS)])
def test_river_check(check, variant):
    check(small(variant))


def test_default_model_passes_river_as_a_whole():
    checks.check_estimator(DriftMoEClassifier(seed=42))


def test_unseeded_model_passes_river_as_a_whole():
    checks.check_estimator(DriftMoEClassifier(n_experts=3, hidden=(8,)))


@pytest.mark.parametrize("variant", VARIANTS)
def test_predict_changes_nothing(variant):
    model = trained(variant)
    before = pickle.dumps(model)
    for x, _ in datasets.ImageSegments().take(50):
        model.predict_one(x)
        model.predict_proba_one(x)
        model.predict_one({**x, "new number": 1.0, "new text": "a"})
        model.predict_one({})
    frame = pd.DataFrame([x for x, _ in datasets.ImageSegments().take(20)])
    model.predict_many(frame)
    model.predict_proba_many(frame)
    assert pickle.dumps(model) == before


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))], ids=["deepcopy", "pickle"]
)
@pytest.mark.parametrize("variant", VARIANTS)
def test_copy_goes_on_as_the_original_would(variant, copied):
    original = trained(variant)
    twin = copied(original)
    rest = list(datasets.ImageSegments().take(600))[300:]
    for x, y in rest:
        assert twin.predict_proba_one(x) == original.predict_proba_one(x)
        original.learn_one(x, y)
        twin.learn_one(x, y)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("rows", [1, 7, 32, 100])
def test_learning_many_equals_learning_one_by_one(variant, rows):
    samples = list(datasets.ImageSegments().take(300))
    X = pd.DataFrame([x for x, _ in samples])
    y = pd.Series([label for _, label in samples])
    one, many = small(variant), small(variant)
    for start in range(0, len(X), rows):
        block = slice(start, start + rows)
        if start > 0:  # a fresh model has no columns to compare
            expected = [one.predict_proba_one(x) for x, _ in samples[block]]
            proba = many.predict_proba_many(X.iloc[block]).to_dict("records")
            assert proba == expected
        for x, label in samples[block]:
            one.learn_one(x, label)
        many.learn_many(X.iloc[block], y.iloc[block])
    for x, _ in samples:
        assert many.predict_proba_one(x) == one.predict_proba_one(x)
    assert [model._mixture.router._counts[N_KEPT] for model in (one, many)] == [300 % 32] * 2


def test_columns_may_be_named_by_numbers():
    X = pd.DataFrame({0: [1.0, 2.0, 3.0, 4.0], 1: [True, False, True, False]})
    by_number, by_text = small("moe-data"), small("moe-data")
    for _ in range(20):
        by_number.learn_many(X, [0, 1, 0, 1])
        by_text.learn_many(X.rename(columns=str), [0, 1, 0, 1])
    assert by_number.predict_many(X).tolist() == by_text.predict_many(X.rename(columns=str)).tolist()


FRAMES = {
    "pandas": (pd.DataFrame, pd.Series),
    "polars": (pl.DataFrame, pl.Series),
    "pyarrow": (lambda data: pa.table(data), lambda values: pa.chunked_array([values])),
}


@pytest.mark.parametrize("kind", FRAMES)
def test_any_eager_frame_gives_the_same(kind):
    make_frame, make_series = FRAMES[kind]
    rng = np.random.default_rng(0)
    numbers, words = rng.normal(size=60).tolist(), rng.choice(["red", "blue"], 60).tolist()
    numbers[5], words[6] = None, None
    labels = ["big" if (v or 0.0) > 0.0 else "small" for v in numbers]
    many = small("driftmoe")
    many.learn_many(make_frame({"number": numbers, "word": words}), make_series(labels))
    one = small("driftmoe")
    for number, word, label in zip(numbers, words, labels, strict=True):
        one.learn_one({"number": number, "word": word}, label)
    X = make_frame({"number": numbers, "word": words})
    expected = [one.predict_one({"number": n, "word": w}) for n, w in zip(numbers, words, strict=True)]
    predicted = many.predict_many(X)
    assert (predicted.to_pylist() if kind == "pyarrow" else list(predicted)) == expected
    assert type(many.predict_proba_many(X)) is type(X)


def test_frame_keeps_its_index():
    X = pd.DataFrame({"a": [0.0, 1.0]}, index=["first", "second"])
    model = small("driftmoe")
    model.learn_many(X, pd.Series([False, True], index=X.index))
    assert list(model.predict_many(X).index) == ["first", "second"]
    assert list(model.predict_proba_many(X).columns) == [False, True]


def test_fresh_model_answers_frames_too():
    X = pd.DataFrame({"a": [0.0, 1.0]})
    assert list(small("driftmoe").predict_many(X)) == [None, None]
    assert small("driftmoe").predict_proba_many(X).shape == (2, 0)


@pytest.mark.parametrize("variant", VARIANTS)
def test_bad_row_in_a_frame_leaves_the_model_as_it_was(variant):
    model = trained(variant, 100)
    before = pickle.dumps(model)
    good = next(iter(datasets.ImageSegments()))[0]
    frame = pd.DataFrame([good, {**good, next(iter(good)): np.inf}])
    with pytest.raises(ValueError, match=r"row 1 of 2: .* no row has been learnt"):
        model.learn_many(frame, pd.Series(["a", "b"]))
    with pytest.raises(ValueError, match="2 rows and y has 1 labels"):
        model.learn_many(pd.DataFrame([good, good]), pd.Series(["a"]))
    with pytest.raises(ValueError, match="label is None"):
        model.learn_many(pd.DataFrame([good, good]), pd.Series(["a", None]))
    assert pickle.dumps(model) == before


def figures_of_a_sample():
    """What each variant says of a sample, with the seed of `trained`."""
    x, _ = next(iter(datasets.ImageSegments()))
    return {variant: list(trained(variant).predict_proba_one(x).values()) for variant in VARIANTS}


def test_same_seed_gives_the_same_figures_in_another_process():
    script = "import sys; sys.path[:0] = ['tests']; import test_contract; print(test_contract.figures_of_a_sample())"
    there = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert there.strip() == repr(figures_of_a_sample())


def test_seeds_differ():
    def figures(seed):
        return trained("driftmoe", seed=seed)._mixture.router.logits(np.ones((1, 18), np.float32)).tolist()

    assert figures(1) != figures(2)


def test_works_in_a_pipeline():
    pipeline = compose.Discard("path") | preprocessing.StandardScaler() | small("driftmoe")
    for x, y in datasets.ImageSegments().take(50):
        pipeline.predict_one(x)
        pipeline.learn_one(x, y)
    assert pipeline.predict_one(x) is not None


def test_memory_counts_weights_and_their_two_moments_once():
    sizes = []
    for hidden in ((1,), (4096,)):
        model = DriftMoEClassifier("moe-vote", n_experts=2, top_k=1, hidden=hidden, batch_size=4, seed=1)
        for x, y in datasets.ImageSegments().take(8):
            model.learn_one(x, y)
        sizes.append(model._raw_memory_usage)
    n_weights = (18 + 1 + 2) * 4095
    n_kept = 4 * 4095  # what the hidden units said of each row of the mini-batch
    assert sizes[1] - sizes[0] == pytest.approx(4 * (3 * n_weights + n_kept), rel=0.01)  # float32


def test_memory_counts_shared_numbers_once():
    array = np.zeros(1000)
    tensor = torch.zeros(1000)
    assert n_bytes([array]) - n_bytes([np.zeros(0)]) == 8000
    assert n_bytes([array, array[1:], array[::2].reshape(5, -1)[1:]]) < 9000
    assert n_bytes([tensor, tensor.numpy(), *tensor.split(300)]) < 4000 + 2000
    assert n_bytes({"a": [array, tensor]}) > 8000 + 4000


def test_global_random_state_is_not_touched():
    import random

    torch.manual_seed(0)
    before = (torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist())  # noqa: NPY002
    trained("driftmoe")
    trained("moe-vote", dropout=0.5)
    after = (torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist())  # noqa: NPY002
    assert after == before


def test_clone_forgets_what_was_learnt_and_keeps_the_arguments():
    model = small("moe-data", expert=tree.HoeffdingTreeClassifier(grace_period=10))
    for x, y in datasets.ImageSegments().take(30):
        model.learn_one(x, y)
    clone = model.clone()
    assert clone._get_params().keys() == model._get_params().keys()
    assert clone.expert.grace_period == 10
    assert clone.predict_proba_one(x) == {}


@pytest.mark.parametrize("argument", ["extras", "hidden"])
def test_an_empty_tuple_can_be_cloned(argument):
    model = DriftMoEClassifier(seed=1, **{argument: ()})
    clone = model.clone()
    assert list(getattr(clone, argument)) == []
    for x, y in datasets.Phishing().take(40):
        model.learn_one(x, y)
        clone.learn_one(x, y)
    assert clone.predict_proba_one(x) == model.predict_proba_one(x)


def test_labels_of_an_array_are_plain_values():
    model = small("driftmoe")
    model.learn_many(pd.DataFrame({"a": [1.0, 2.0]}), np.array([3, 4]))
    assert [type(label) for label in model.predict_proba_one({"a": 1.0})] == [int, int]


def test_labels_of_an_arrow_column_are_plain_values():
    model = small("driftmoe")
    model.learn_many(pa.table({"a": [1.0, 2.0, 3.0]}), pa.chunked_array([["x", "y", "x"]]))
    model.learn_one({"a": 1.0}, "x")
    assert list(model.predict_proba_one({})) == ["x", "y"]


def test_labels_with_the_same_text_are_not_merged():
    model = small("driftmoe")
    model.learn_one({"a": 1.0}, 1)
    model.learn_one({"a": 2.0}, "1")
    assert list(model.predict_proba_many(pd.DataFrame({"a": [1.0]})).columns) == [1, "1"]
    with pytest.raises(ValueError, match="have equal texts"):
        model.predict_proba_many(pl.DataFrame({"a": [1.0]}))


def of_two_labels(*labels):
    """Return a model that answers the first label where `a` is 0, the second where it is 1."""
    model = small("moe-data")
    for i in range(400):
        model.learn_one({"a": float(i % 2)}, labels[i % 2])
    return model


class Colour(Enum):
    RED = 1
    BLUE = 2


UNFIT = {  # of which no series of polars or pyarrow gives both back
    "number and text": (1, "a"),
    "boolean and number": (True, 2),
    "bytes and text": (b"a", "b"),
    "large number": (10**40, 3),
    "day and time": (date(2020, 1, 1), datetime(2020, 1, 2)),
    "fractions": (Fraction(1, 2), Fraction(1, 3)),
    "enumeration": (Colour.RED, Colour.BLUE),
    "tuples of several types": ((1, "a"), (2, "b")),
    "tuple and number": ((1, 2), 3),
    "tuples of two levels": (((1, 2), 3), ((4, 5), 6)),
    "number that no float holds": (2**53 + 1, 0.5),
    "no Unicode": ("\ud800", "a"),
}


@pytest.mark.parametrize(
    "labels",
    [*UNFIT.values(), ((1, 2), (3,)), ((1, 2), (3, 4))],
    ids=[*UNFIT, "tuples of two lengths", "pairs"],
)
def test_pandas_holds_any_labels(labels):
    model, X = of_two_labels(*labels), pd.DataFrame({"a": [0.0, 1.0]}, index=[5, 6])
    predicted, proba = model.predict_many(X), model.predict_proba_many(X)
    assert (
        predicted.to_list() == [model.predict_one({"a": 0.0}), model.predict_one({"a": 1.0})] == list(labels)
    )
    assert proba.to_dict("records") == [model.predict_proba_one({"a": a}) for a in (0.0, 1.0)]
    assert list(predicted.index) == list(proba.index) == [5, 6]


@pytest.mark.parametrize("values", [[0.0, 1.0], [0.0], [1.0], []], ids=["both", "first", "second", "none"])
@pytest.mark.parametrize("make_frame", [pl.DataFrame, pa.table], ids=["polars", "pyarrow"])
@pytest.mark.parametrize("labels", UNFIT.values(), ids=UNFIT)
def test_labels_that_no_series_holds_are_refused_whichever_are_predicted(labels, make_frame, values):
    X = pd.DataFrame({"a": values}, dtype=float)
    X = make_frame({"a": X["a"].to_numpy()})
    with pytest.raises(
        ValueError, match=r"do not fit into a series of .* use predict_one, a pandas frame, or"
    ):
        of_two_labels(*labels).predict_many(X)


def test_labels_that_do_not_fit_are_named():
    model = of_two_labels(1, "a")
    with pytest.raises(
        ValueError, match=r"labels \[1, 'a'\] of type int, str do not fit into a series of polars"
    ):
        model.predict_many(pl.DataFrame({"a": [0.0]}))
    with pytest.raises(
        ValueError, match=r"labels \[1, 'a'\] of type int, str do not fit into a series of pyarrow"
    ):
        model.predict_many(pa.table({"a": [0.0]}))


FIT = {
    "texts": ("a", "b"),
    "booleans": (False, True),
    "numbers": (-3, 7),
    "halves": (0.5, 1.5),
    "days": (date(2020, 1, 1), date(2020, 1, 2)),
    "bytes": (b"a", b"b"),
    "decimals": (Decimal("1.5"), Decimal("2")),
}


@pytest.mark.parametrize("make_frame", [pl.DataFrame, pa.table], ids=["polars", "pyarrow"])
@pytest.mark.parametrize("labels", FIT.values(), ids=FIT)
def test_series_of_labels_of_one_type_has_one_type(labels, make_frame):
    model = of_two_labels(*labels)
    answers = [model.predict_many(make_frame({"a": values})) for values in ([0.0, 1.0, 0.0], [1.0])]
    both, second = (nw.from_native(answer, series_only=True) for answer in answers)
    assert both.to_list() == [labels[0], labels[1], labels[0]]
    assert second.to_list() == [labels[1]]
    assert both.dtype == second.dtype


@pytest.mark.parametrize("make_frame", [pl.DataFrame, pa.table], ids=["polars", "pyarrow"])
def test_label_whose_text_names_no_column_is_refused(make_frame):
    X = make_frame({"a": [0.0]})
    with pytest.raises(ValueError, match=r"label '\\ud800' has a text that is not valid Unicode"):
        of_two_labels("\ud800", "a").predict_proba_many(X)
    with pytest.raises(ValueError, match=r"labels \[1, '1'\] have equal texts"):
        of_two_labels(1, "1").predict_proba_many(X)
    assert list(nw.from_native(of_two_labels(10**40, "a").predict_proba_many(X)).columns) == [
        str(10**40),
        "a",
    ]
