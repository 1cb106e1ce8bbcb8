"""Nominal values beyond the codes of their feature share codes: that is warned of once, and counted."""

from __future__ import annotations

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from small_models import small

import driftmoe
from driftmoe.classifier import VARIANTS
from driftmoe.encoding import Encoder
from driftmoe.trees import HoeffdingTreeClassifier

pytestmark = pytest.mark.filterwarnings("ignore:features with too many nominal values")


@pytest.fixture(autouse=True)
def eight_codes(monkeypatch):
    monkeypatch.setattr("driftmoe.encoding.encoder.MAX_CODES", 8)


def samples_of(n):
    """A text of twelve values, a new text in every sample, a number, and missing values now and then."""
    for i in range(n):
        x = {"colour": f"c{i % 12}", "id": f"customer {i}", "a": float(i % 5)}
        if i % 4 == 3:
            x["id"] = None
        yield x, i % 3 == 0


MODELS = {variant: lambda variant=variant: small(variant) for variant in VARIANTS} | {
    "tree": lambda: HoeffdingTreeClassifier(grace_period=10)
}


def fed(model, samples):
    for x, y in samples:
        model.learn_one(x, y)
    return model


@pytest.mark.parametrize("name", MODELS)
def test_values_that_share_a_code_are_counted(name):
    model = fed(MODELS[name](), samples_of(30))
    n_colours = sum(i % 12 >= 8 for i in range(30))
    n_texts = sum(i % 4 != 3 for i in range(30)) - 8
    assert model.n_shared_values == n_colours + n_texts


@pytest.mark.parametrize("name", MODELS)
def test_without_such_values_the_state_has_no_counter(name):
    model = fed(MODELS[name](), [({"colour": f"c{i % 8}", "a": 1.0}, i % 2) for i in range(40)])
    assert model.n_shared_values == 0
    assert "n_shared_values" not in model.state()["encoder"]


@pytest.mark.parametrize("name", MODELS)
def test_the_first_such_value_warns_and_no_later_one_nor_one_after_loading(name):
    model = MODELS[name]()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fed(model, [({"id": str(i)}, i % 2) for i in range(12)])
        for again in (model, pickle.loads(pickle.dumps(model)), driftmoe.saving.from_bytes(model.to_bytes())):
            fed(again, [({"id": f"again {i}"}, 0) for i in range(3)])
            assert again.n_shared_values == 7
    (one,) = caught
    assert str(one.message).startswith("features with too many nominal values ('id'): later values share")
    assert one.filename == __file__


def in_blocks(model, samples, size):
    samples = list(samples)
    names = ["colour", "id", "a"]
    for start in range(0, len(samples), size):
        part = samples[start : start + size]
        values = [sorted({x["colour"] for x, _ in part}), [*(x["id"] for x, _ in part)], None]
        X = np.array([[values[0].index(x["colour"]), row, x["a"]] for row, (x, _) in enumerate(part)])
        X[::8, 1] = [
            row if samples[start + row][0]["id"] is not None else np.nan for row in range(0, len(part), 8)
        ]
        y = np.array([int(y) for _, y in part])
        model.step_many(X, y, names=names, values=values, classes=[False, True])
    return model


@pytest.mark.parametrize("max_listed", [0, 256])
@pytest.mark.parametrize("variant", VARIANTS)
def test_blocks_and_frames_count_as_single_samples(variant, max_listed, monkeypatch):
    monkeypatch.setattr("driftmoe.encoding.encoder.MAX_LISTED", max_listed)
    samples = list(samples_of(100))
    one_by_one = fed(small(variant), samples)
    assert one_by_one.n_shared_values > 60
    for size in (1, 7, 64):
        model = in_blocks(small(variant), samples, size)
        assert model.n_shared_values == one_by_one.n_shared_values
        assert model.digest() == one_by_one.digest()
    model = small(variant)
    for start in range(0, 100, 25):
        part = samples[start : start + 25]
        model.learn_many(pd.DataFrame([x for x, _ in part]), [y for _, y in part])
    assert model.digest() == one_by_one.digest()


def test_numbers_that_are_codes_are_counted_too():
    tree = HoeffdingTreeClassifier(nominal_attributes=["code"])
    fed(tree, [({"code": i % 10}, i % 2) for i in range(30)])
    assert tree.n_shared_values == 6
    tree.learn_one({"code": 9.0}, 0)
    tree.learn_one({"code": 3.0}, 0)
    assert tree.n_shared_values == 7


@pytest.mark.parametrize("name", MODELS)
def test_what_is_not_learnt_is_not_counted(name):
    model = fed(MODELS[name](), samples_of(30))
    before = model.digest()
    model.learn_one({"colour": "another"}, True, w=0.0)
    model.predict_one({"colour": "another"})
    with pytest.raises(TypeError):
        model.learn_one({"colour": "another", "a": "text"}, True)
    with pytest.raises(ValueError, match="label is None"):
        model.learn_one({"colour": "another"}, None)
    assert model.digest() == before


@pytest.mark.parametrize("name", MODELS)
def test_a_warning_that_is_an_error_comes_after_the_sample_has_been_learnt(name):
    model, other = MODELS[name](), MODELS[name]()
    fed(model, samples_of(8))
    fed(other, samples_of(30))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        n_raised = 0
        for x, y in list(samples_of(30))[8:]:
            try:
                model.learn_one(x, y)
            except UserWarning:
                n_raised += 1
    assert n_raised == 1
    assert model.digest() == other.digest()


def test_the_report_shows_how_many_values_share_a_code():
    model = fed(small("driftmoe"), samples_of(30))
    assert model.routing_report().ignored() == {"n_shared_values": model.n_shared_values}


@pytest.mark.parametrize(
    ("n", "message"), [(0, "is 0; it must be left out"), (-1, "is -1; it must be 0 or more")]
)
def test_a_counter_that_no_encoder_gives_is_refused(n, message):
    encoder = Encoder()
    encoder.enter({"a": 1.0}, 0)
    with pytest.raises(ValueError, match=message):
        Encoder().restore(encoder.state() | {"n_shared_values": n})
