"""The fleet: many keys in one stream, with a common concept and own ones. It is no stream of MOA."""

import pickle

import numba
import numpy as np
import pytest

import streams
from streams import java_random
from streams.synthetic import Fleet, fleet

FEW = {"n_keys": 6, "least": 20, "most": 60}


def samples(**arguments):
    block = next(Fleet(**{**FEW, **arguments}).blocks(10**6))
    return block.X, block.y


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_block_size_changes_no_sample(size):
    X, y = samples(seed=3)
    blocks = list(Fleet(seed=3, **FEW).blocks(size))
    np.testing.assert_array_equal(np.concatenate([block.X for block in blocks]), X)
    np.testing.assert_array_equal(np.concatenate([block.y for block in blocks]), y)


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="nothing is compiled")
def test_compiled_equals_interpreted(monkeypatch):
    compiled = samples(seed=3)
    for module in (java_random, fleet):
        for name, value in list(vars(module).items()):
            if hasattr(value, "py_func"):
                monkeypatch.setattr(module, name, value.py_func)
    interpreted = samples(seed=3)
    np.testing.assert_array_equal(interpreted[0], compiled[0])
    np.testing.assert_array_equal(interpreted[1], compiled[1])


def test_every_parameter_changes_the_samples():
    other = {
        "n_keys": 5, "least": 10, "most": 50, "own": 0.9, "n_drifts": 9.0, "noise": 0.4, "n_numeric": 3, "depth": 2,
        "model_seed": 2, "seed": 2, "n_samples": 30,
    }  # fmt: skip
    assert set(other) == set(Fleet.__init__.__kwdefaults__)
    X, y = samples()
    for name, value in other.items():
        other_X, other_y = samples(**{name: value})
        assert not (np.array_equal(X, other_X) and np.array_equal(y, other_y)), name


def test_seed_and_model_seed_are_1_by_default():
    X, y = samples()
    of_one = samples(seed=1, model_seed=1)
    np.testing.assert_array_equal(of_one[0], X)
    np.testing.assert_array_equal(of_one[1], y)


def test_keys_have_as_many_events_as_asked_for_and_come_in_turn():
    X, _ = samples(n_keys=40)
    counts = np.bincount(X[:, 0].astype(np.int64), minlength=40)
    assert counts.min() >= 20
    assert counts.max() <= 60
    assert len(set(counts)) > 10
    firsts = [int(np.flatnonzero(X[:, 0] == key)[0]) for key in range(40)]
    assert max(firsts) > len(X) / 4  # keys start at different times
    assert np.mean(X[1:, 0] != X[:-1, 0]) > 0.8


def test_samples_hold_the_name_of_the_key():
    stream = Fleet(seed=3, **FEW)
    X, _ = samples(seed=3)
    assert [x["key"] for x, _ in stream] == [f"key{int(key) + 1}" for key in X[:, 0]]
    assert list(next(iter(stream))[0]) == [feature.name for feature in stream.features]


def test_fleets_of_one_model_seed_share_the_common_concept_alone():
    exact = {"noise": 0.0, "own": 0.0, "depth": 1, "n_keys": 3, "least": 400, "most": 400}
    (X, y), (other_X, other_y) = samples(seed=1, **exact), samples(seed=2, **exact)
    assert not np.array_equal(X, other_X)
    column, threshold = split_of(X, y)
    side, other_side = (rows[:, column] < threshold for rows in (X, other_X))
    assert len(set(y[side])) == len(set(y[~side])) == 1
    assert np.mean(other_y == np.where(other_side, y[side][0], y[~side][0])) > 0.99


def split_of(X, y):
    """The column and the threshold that tell the classes apart."""
    for column in range(1, X.shape[1]):
        ordered = y[np.argsort(X[:, column])]
        if np.count_nonzero(np.diff(ordered)) == 1:
            place = int(np.flatnonzero(np.diff(ordered))[0])
            return column, np.sort(X[:, column])[place : place + 2].mean()
    raise AssertionError("no column tells the classes apart")


@pytest.mark.parametrize(("own", "is_plane"), [(1.0, True), (0.0, False)])
def test_own_concepts_are_planes_through_the_middle_that_differ_between_keys(own, is_plane):
    X, y = samples(own=own, noise=0.0, n_drifts=0.0, n_numeric=2, n_keys=2, least=400, most=400)
    normals = []
    for key in (0, 1):
        rows = X[:, 0] == key
        centred, signs = 2.0 * X[rows, 1:] - 1.0, 2.0 * y[rows] - 1.0
        angles = np.linspace(0.0, 2.0 * np.pi, 3600)
        scores = centred @ np.array([np.cos(angles), np.sin(angles)]) * signs[:, np.newaxis]
        share = (scores > 0.0).mean(axis=0)
        assert (share.max() > 0.995) == is_plane
        normals.append(angles[share.argmax()])
    if is_plane:
        assert abs(normals[0] - normals[1]) > 0.05


def test_drifts_change_the_plane_of_a_key():
    exact = {"own": 1.0, "noise": 0.0, "n_keys": 1, "least": 600, "most": 600, "n_numeric": 1}
    X, y = samples(n_drifts=0.0, **exact)
    assert len(set((X[:, 1] > 0.5) == y)) == 1  # one number: one of two planes
    X, y = samples(n_drifts=20.0, **exact)
    agrees = (X[:, 1] > 0.5) == y
    assert 1 <= np.count_nonzero(np.diff(agrees)) <= 30


def test_a_stream_by_name_has_as_many_keys_as_its_length_needs():
    stream = streams.make("fleet", seed=2, n_samples=5000)
    assert isinstance(stream, Fleet)
    assert stream.n_samples == 5000 == sum(len(block.y) for block in stream.blocks())
    assert 2 <= stream.n_keys <= 5
    np.testing.assert_array_equal(stream.reader()(5000).X[:, 0].max(), stream.n_keys - 1)


def test_a_copy_gives_the_same_samples():
    stream = Fleet(seed=4, **FEW)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(stream)).reader()(50).X, stream.reader()(50).X)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_keys": 0}, "n_keys=0 is out of range; choose n_keys >= 1"),
        ({"most": 10}, "most=10 is out of range; choose most >= 20"),
        ({"own": 1.5}, "own=1.5 is out of range; choose 0.0 <= own <= 1.0"),
        ({"noise": -1}, "noise=-1 is out of range"),
        ({"n_drifts": 21}, "n_drifts=21 is out of range; choose 0.0 <= n_drifts <= 20"),
        ({"depth": 17}, "depth=17 is out of range; choose 0 <= depth <= 16"),
        ({"seed": "a"}, "seed='a' is not an integer"),
        ({"n_samples": -1}, "n_samples=-1 is out of range"),
    ],
)
def test_a_wrong_argument_is_named_with_what_is_allowed(arguments, message):
    with pytest.raises(ValueError, match="^" + message.replace(".", r"\.")):
        Fleet(**{**FEW, **arguments})
