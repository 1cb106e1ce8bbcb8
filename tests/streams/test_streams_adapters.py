"""Adapters to and from scikit-multiflow and CapyMOA, against stand-ins with their documented interface."""

from __future__ import annotations

import sys
import types
from itertools import islice

import numpy as np
import pytest

from streams.adapters import ToScikitMultiflow, from_capymoa, from_scikit_multiflow, to_capymoa
from streams.files import CSVStream, records
from streams.synthetic import SEA

X = np.array([[0.5, 3.0], [1.5, 1.0], [2.5, np.nan], [3.5, 3.0]])
Y = np.array([2, 0, 2, 1])


class ScikitMultiflowStandIn:
    """`skmultiflow.data.base_stream.Stream` of version 0.5.3, as its documentation gives it, over arrays."""

    n_features = 2
    n_targets = 1
    feature_names = ("width", "kind")
    target_names = ("class",)
    target_values = (0, 1, 2)
    cat_features_idx = (1,)

    def __init__(self, is_endless=False):
        self.is_endless = is_endless
        self.sample_idx = 0

    def restart(self):
        self.sample_idx = 0

    def n_remaining_samples(self):
        return -1 if self.is_endless else len(Y) - self.sample_idx

    def has_more_samples(self):
        return self.is_endless or self.sample_idx < len(Y)

    def next_sample(self, batch_size=1):
        rows = np.arange(self.sample_idx, self.sample_idx + batch_size) % len(Y)
        self.sample_idx += batch_size
        return X[rows], Y[rows]


class Header:
    """MOA's `InstancesHeader`; the class stands between the features."""

    names = ("width", "class", "kind")

    def numAttributes(self):  # noqa: N802
        return len(self.names)

    def classIndex(self):  # noqa: N802
        return 1

    def attribute(self, i):
        return types.SimpleNamespace(name=lambda: self.names[i])


class CapyMOASchema:
    def is_classification(self):
        return True

    def get_moa_header(self):
        return Header()

    def get_nominal_attributes(self):
        return {"kind": ["round", "flat", "deep", "high"]}

    def get_label_values(self):
        return ["0", "1", "2"]


class CapyMOAStandIn:
    """`capymoa.stream.Stream` over arrays."""

    schema = CapyMOASchema()

    def __init__(self):
        self.index = 0

    def restart(self):
        self.index = 0

    def has_more_instances(self):
        return self.index < len(Y)

    def next_instance(self):
        self.index += 1
        return types.SimpleNamespace(x=X[self.index - 1], y_index=int(Y[self.index - 1]))

    def get_schema(self):
        return self.schema


def test_from_scikit_multiflow_gives_the_same_samples_each_time():
    stream = from_scikit_multiflow(ScikitMultiflowStandIn())
    expected = [
        ({"width": 0.5, "kind": 3}, 2),
        ({"width": 1.5, "kind": 1}, 0),
        ({"width": 2.5}, 2),
        ({"width": 3.5, "kind": 3}, 1),
    ]
    assert list(stream) == expected
    assert list(stream) == expected
    assert (stream.n_samples, stream.n_features, stream.classes) == (4, 2, [0, 1, 2])
    assert stream.features[1].values == [3, 1]
    sizes = [len(block.y) for block in stream.blocks(3)]
    assert sizes == [3, 1]


def test_from_scikit_multiflow_without_end():
    stream = from_scikit_multiflow(ScikitMultiflowStandIn(is_endless=True))
    assert stream.n_samples is None
    assert [y for _, y in islice(stream, 9)] == [2, 0, 2, 1, 2, 0, 2, 1, 2]


def test_from_scikit_multiflow_wants_one_target():
    foreign = ScikitMultiflowStandIn()
    foreign.n_targets = 3
    with pytest.raises(ValueError, match="the stream has 3 targets"):
        from_scikit_multiflow(foreign)


def test_from_capymoa_gives_the_same_samples_each_time():
    stream = from_capymoa(CapyMOAStandIn())
    expected = [
        ({"width": 0.5, "kind": "high"}, 2),
        ({"width": 1.5, "kind": "flat"}, 0),
        ({"width": 2.5}, 2),
        ({"width": 3.5, "kind": "high"}, 1),
    ]
    assert list(stream) == expected
    assert list(stream) == expected
    assert [f.name for f in stream.features] == ["width", "kind"]
    assert (stream.n_samples, stream.classes) == (None, [0, 1, 2])


def test_from_capymoa_refuses_regression_and_missing_labels():
    foreign = CapyMOAStandIn()
    foreign.next_instance = lambda: types.SimpleNamespace(x=X[0], y_index=-1)
    with pytest.raises(ValueError, match="an instance without label"):
        list(from_capymoa(foreign))
    foreign.schema = types.SimpleNamespace(is_classification=lambda: False)
    with pytest.raises(ValueError, match="one of regression"):
        from_capymoa(foreign)


@pytest.mark.parametrize(
    ("adapt", "foreign"), [(from_scikit_multiflow, ScikitMultiflowStandIn), (from_capymoa, CapyMOAStandIn)]
)
def test_a_second_reading_ends_the_first_one_loudly(adapt, foreign):
    stream = adapt(foreign())
    first = stream.blocks(1)
    next(first)
    second = stream.blocks(1)
    next(second)
    with pytest.raises(RuntimeError, match="another reading of this stream was started"):
        next(first)
    assert len(list(second)) == 3


@pytest.fixture
def weather(tmp_path):
    path = tmp_path / "weather.csv"
    path.write_text("degrees,sky,rain\n14.5,grey,yes\n21,blue,no\n?,grey,no\n")
    return CSVStream(path)


def test_to_scikit_multiflow_has_its_interface(weather):
    stream = ToScikitMultiflow(weather)
    assert (stream.n_features, stream.n_num_features, stream.n_cat_features, stream.cat_features_idx) == (
        2,
        1,
        1,
        [1],
    )
    assert (stream.n_targets, stream.n_classes, stream.target_values) == (1, 2, [0, 1])
    assert (stream.feature_names, stream.target_names) == (["degrees", "sky"], ["class"])
    assert stream.last_sample() == (None, None)
    stream.prepare_for_use()
    assert "2 classes, 2 features" in stream.get_data_info()
    assert stream.has_more_samples()
    given, labels = stream.next_sample()
    assert (given.tolist(), labels.tolist()) == ([[14.5, 0.0]], [0])
    given, labels = stream.next_sample(10)
    np.testing.assert_array_equal(given, [[21.0, 1.0], [np.nan, 0.0]])
    assert labels.tolist() == [1, 1]
    assert stream.last_sample()[0] is given
    assert not stream.has_more_samples()
    assert stream.next_sample() == (None, None)
    stream.restart()
    assert stream.next_sample(3)[1].tolist() == [0, 1, 1]


def test_to_scikit_multiflow_counts_what_is_left(weather):
    stream = ToScikitMultiflow(SEA(seed=3, n_samples=5))
    assert stream.n_remaining_samples() == 5
    stream.next_sample(3)
    assert stream.n_remaining_samples() == 2
    stream.next_sample(3)
    assert stream.n_remaining_samples() == 0
    assert ToScikitMultiflow(weather).n_remaining_samples() == -1, "a CSV file does not tell its length"


def test_there_and_back_through_scikit_multiflow():
    stream = SEA(seed=3, n_samples=3000)
    back = from_scikit_multiflow(ToScikitMultiflow(stream))
    assert back.n_samples == 3000
    for ours, theirs in zip(stream.blocks(700), back.blocks(700), strict=True):
        np.testing.assert_array_equal(ours.X, theirs.X)
        np.testing.assert_array_equal(ours.y, theirs.y)


@pytest.fixture
def capymoa(monkeypatch):
    """Put modules with CapyMOA's names and signatures in its place, as the suite needs no Java."""
    core, stream = types.ModuleType("capymoa.core"), types.ModuleType("capymoa.stream")

    class LabeledInstance:
        @classmethod
        def from_array(cls, schema, instance, y_index):
            return types.SimpleNamespace(schema=schema, x=instance, y_index=y_index)

    class Schema:
        @staticmethod
        def from_custom(features, target, categories=None, name="unnamed"):
            return types.SimpleNamespace(features=features, target=target, categories=categories, name=name)

    class Stream:
        def __iter__(self):
            return self

        def __next__(self):
            return self.next_instance()

    core.LabeledInstance, stream.Schema, stream.Stream = LabeledInstance, Schema, Stream
    for name, module in (
        ("capymoa", types.ModuleType("capymoa")),
        ("capymoa.core", core),
        ("capymoa.stream", stream),
    ):
        monkeypatch.setitem(sys.modules, name, module)


@pytest.mark.usefixtures("capymoa")
def test_to_capymoa_has_its_interface(weather):
    stream = to_capymoa(weather, name="weather")
    schema = stream.get_schema()
    assert (schema.features, schema.target, schema.name) == (["degrees", "sky", "rain"], "rain", "weather")
    assert schema.categories == {"sky": ["grey", "blue"], "rain": ["yes", "no"]}
    instances = list(stream)
    np.testing.assert_array_equal([i.x for i in instances], [[14.5, 0.0], [21.0, 1.0], [np.nan, 0.0]])
    assert [i.y_index for i in instances] == [0, 1, 1]
    assert not stream.has_more_instances()
    stream.restart()
    assert stream.has_more_instances()
    assert stream.next_instance().y_index == 0


@pytest.mark.usefixtures("capymoa")
def test_to_capymoa_refuses_a_label_that_its_schema_lacks(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "PIECE_BYTES", 4096)
    path = tmp_path / "late.csv"
    path.write_text("a,y\n" + "1,0\n" * 3000 + "2,1\n")
    stream = to_capymoa(CSVStream(path))
    with pytest.raises(ValueError, match="CapyMOA's fixed schema lacks"):
        list(stream)
    known = to_capymoa(CSVStream(path, classes=[0, 1]))
    assert sum(i.y_index for i in known) == 1
