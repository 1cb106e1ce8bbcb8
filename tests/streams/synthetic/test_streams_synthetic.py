"""The synthetic streams are MOA's, sample for sample.

The vectors are what MOA itself gave: `python -m benchmarks.moa_parity --vectors tests/vectors` writes
`moa_*.npz`, the others hold 2 000 samples as CapyMOA gives them. With NUMBA_DISABLE_JIT=1 fewer samples
are compared.
"""

import hashlib
import importlib
import itertools
import json
import pickle
import pkgutil

import numba
import numpy as np
import pytest
from places import VECTORS
from river.datasets import base

from streams import java_random, synthetic
from streams.synthetic import STREAMS

GENERATORS = [
    "LED",
    "LEDDrift",
    "SEA",
    "RandomRBF",
    "RandomRBFDrift",
    "Agrawal",
    "Hyperplane",
    "RandomTree",
    "Sine",
    "STAGGER",
    "Mixed",
    "Waveform",
    "WaveformDrift",
    "AssetNegotiation",
]
PARTS = [
    importlib.import_module(f"streams.synthetic.{part.name}")
    for part in pkgutil.iter_modules(synthetic.__path__)
]
IS_COMPILED = not numba.config.DISABLE_JIT

# Settings in which every part of a generator works.
BUSY = {
    "RandomRBFDrift": {"speed": 0.01},
    "Hyperplane": {"mag_change": 0.01},
    "Agrawal": {"function": 10, "balance": True},
    "SEA": {"balance": True},
    "Waveform": {"irrelevant_features": True},
    "WaveformDrift": {"n_drift_features": 7},
}


def busy_stream(name, **kwargs):
    return getattr(synthetic, name)(**BUSY.get(name, {}), **kwargs)


def moa_cases():
    for name in GENERATORS:
        for i, case in enumerate(json.loads(str(np.load(VECTORS / f"moa_{name}.npz")["cases"]))):
            text = ",".join(f"{key}={value}" for key, value in case["kwargs"].items())
            yield pytest.param(name, i, case["kwargs"], case["sha256"], id=f"{name}-{text}")


@pytest.mark.parametrize(("name", "i", "kwargs", "sha256"), list(moa_cases()))
def test_samples_are_moas(name, i, kwargs, sha256):
    vectors = np.load(VECTORS / f"moa_{name}.npz")
    read = getattr(synthetic, name)(**kwargs).reader()
    X, y = read(50)
    np.testing.assert_array_equal(X, vectors[f"X{i}"])
    np.testing.assert_array_equal(y, vectors[f"y{i}"])
    if IS_COMPILED:  # the hash is over 2 000 samples
        more_X, more_y = read(1950)
        # Adding 0.0 makes -0.0 the same bytes as the 0.0 that it equals.
        X, y = np.concatenate([X, more_X]) + 0.0, np.concatenate([y, more_y])
        assert hashlib.sha256(X.tobytes() + y.tobytes()).hexdigest() == sha256


@pytest.mark.parametrize("seed", [1, 42])
@pytest.mark.parametrize(
    ("file", "name", "kwargs"),
    [
        *((f"led_drift{k}", "LEDDrift", {"n_drift_features": k}) for k in (1, 3, 5, 7)),
        *((f"sea_f{f}", "SEA", {"function": f}) for f in (1, 2, 3, 4)),
        ("rbf_m", "RandomRBFDrift", {"speed": 0.0001}),
        ("rbf_f", "RandomRBFDrift", {"speed": 0.001}),
    ],
)
def test_samples_are_capymoas(file, name, kwargs, seed):
    vectors = np.load(VECTORS / f"{file}_seed{seed}.npz")
    if name == "RandomRBFDrift":
        kwargs = {**kwargs, "model_seed": seed}
    n = 2000 if IS_COMPILED else 100
    X, y = getattr(synthetic, name)(seed=seed, **kwargs).reader()(n)
    np.testing.assert_array_equal(X, vectors["X"][:n])
    np.testing.assert_array_equal(y, vectors["y"][:n])


@pytest.mark.parametrize("name", GENERATORS)
def test_compiled_equals_interpreted(name, monkeypatch):
    compiled = busy_stream(name, seed=3).reader()(40)
    for module in (java_random, *PARTS):
        for attribute, value in vars(module).items():
            if hasattr(value, "py_func"):
                monkeypatch.setattr(module, attribute, value.py_func)
    interpreted = busy_stream(name, seed=3).reader()(40)
    np.testing.assert_array_equal(interpreted.X, compiled.X)
    np.testing.assert_array_equal(interpreted.y, compiled.y)


@pytest.mark.parametrize("name", GENERATORS)
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_block_size_changes_no_sample(name, size):
    n = 120 if IS_COMPILED else 30
    X, y = busy_stream(name).reader()(n)
    blocks = list(busy_stream(name, n_samples=n).blocks(size))
    np.testing.assert_array_equal(np.concatenate([block.X for block in blocks]), X)
    np.testing.assert_array_equal(np.concatenate([block.y for block in blocks]), y)


@pytest.mark.parametrize("name", GENERATORS)
def test_readers_do_not_disturb_each_other(name):
    stream = busy_stream(name)
    first, second = stream.reader(), stream.reader()
    for _ in range(3):
        block, again = first(20), second(20)
        np.testing.assert_array_equal(block.X, again.X)
        np.testing.assert_array_equal(block.y, again.y)


@pytest.mark.parametrize("name", GENERATORS)
def test_dictionaries_hold_the_values_of_the_block(name):
    stream = busy_stream(name, n_samples=30)
    X, y = stream.reader()(30)
    for (x, label), row, target in zip(stream, X, y, strict=True):
        assert list(x) == [feature.name for feature in stream.features]
        for feature, value in zip(stream.features, row, strict=True):
            expected = feature.values[int(value)] if feature.is_nominal else value
            assert x[feature.name] == expected
        assert label == stream.classes[target]


@pytest.mark.parametrize("name", GENERATORS)
def test_length_is_kept(name):
    read = getattr(synthetic, name)(n_samples=10).reader()
    assert [len(read(n).y) for n in (4, 4, 4, 4)] == [4, 4, 2, 0]


@pytest.mark.parametrize("name", GENERATORS)
def test_stream_is_a_river_dataset(name):
    stream = getattr(synthetic, name)()
    assert isinstance(stream, base.Dataset)
    assert stream.n_samples is None
    assert len(list(stream.take(3))) == 3
    assert stream.n_features == len(stream.features)
    assert stream.n_classes == len(stream.classes)
    assert name in repr(stream)


@pytest.mark.parametrize("name", GENERATORS)
def test_stream_can_be_pickled(name):
    stream = busy_stream(name, seed=4)
    copy = pickle.loads(pickle.dumps(stream))
    np.testing.assert_array_equal(copy.reader()(10).X, stream.reader()(10).X)


@pytest.mark.parametrize("name", GENERATORS)
def test_seed_is_1_by_default_and_matters(name):
    def samples(seed):
        return busy_stream(name, seed=seed).reader()(50).X

    np.testing.assert_array_equal(samples(None), samples(1))
    assert not np.array_equal(samples(1), samples(2))


@pytest.mark.parametrize("name", GENERATORS)
def test_every_parameter_changes_the_samples(name):
    other = {
        "balance": True,
        "first_leaf_level": 1,
        "function": 2,
        "irrelevant_features": name.startswith("Waveform"),
        "leaf_fraction": 0.9,
        "mag_change": 0.05,
        "max_depth": 3,
        "model_seed": 2,
        "n_centroids": 20,
        "n_classes": 4,
        "n_drift_centroids": 3,
        "n_drift_features": 3,
        "n_features": 4,
        "n_nominal": 3,
        "n_numeric": 2,
        "n_samples": 5,
        "n_values": 3,
        "noise": 0.5,
        "perturbation": 0.5,
        "seed": 2,
        "sigma": 0.9,
        "speed": 0.05,
    }
    kind = getattr(synthetic, name)
    moving = (
        {"mag_change": 0.02} if name == "Hyperplane" else {"speed": 0.02} if name == "RandomRBFDrift" else {}
    )
    n = 400 if IS_COMPILED else 60
    X, y = kind(**moving).reader()(n)
    for parameter in kind.__init__.__kwdefaults__:
        other_X, other_y = kind(**{**moving, parameter: other[parameter]}).reader()(n)
        assert not (np.array_equal(X, other_X) and np.array_equal(y, other_y)), parameter


@pytest.mark.parametrize("name", GENERATORS)
def test_features_keep_to_their_values(name):
    stream = busy_stream(name)
    X, y = stream.reader()(1000 if IS_COMPILED else 100)
    assert np.isfinite(X).all()
    assert set(y) <= set(range(stream.n_classes))
    for column, feature in zip(X.T, stream.features, strict=True):
        if feature.is_nominal:
            assert set(column) <= set(range(len(feature.values)))


@pytest.mark.parametrize(
    ("name", "bounds"),
    [
        ("SEA", dict.fromkeys(["attrib1", "attrib2", "attrib3"], (0, 10))),
        ("Hyperplane", {"att1": (0, 1), "att10": (0, 1)}),
        ("Sine", {"att1": (0, 1), "att2": (0, 1), "att3": (0, 1), "att4": (0, 1)}),
        ("Mixed", {"x": (0, 1), "y": (0, 1)}),
        ("RandomTree", {"numeric1": (0, 1), "numeric5": (0, 1)}),
        (
            "Agrawal",
            {
                "salary": (20_000, 150_000),
                "commission": (0, 75_000),
                "age": (20, 80),
                "hvalue": (45_000, 135_000),
                "hyears": (1, 30),
                "loan": (0, 500_000),
            },
        ),
    ],
)
def test_numeric_features_keep_to_their_range_and_fill_it(name, bounds):
    stream = getattr(synthetic, name)()
    X = stream.reader()(2000).X
    names = [feature.name for feature in stream.features]
    for feature, (low, high) in bounds.items():
        column = X[:, names.index(feature)]
        assert low <= column.min() < low + 0.1 * (high - low)
        assert high - 0.1 * (high - low) < column.max() <= high


@pytest.mark.parametrize("name", ["SEA", "Agrawal", "Sine", "STAGGER", "Mixed"])
def test_balanced_classes_alternate(name):
    noise = {"noise": 0.0} if name == "SEA" else {}
    y = getattr(synthetic, name)(balance=True, **noise).reader()(50).y
    np.testing.assert_array_equal(y, [1, 0] * 25)


def test_led_without_noise_shows_the_digit():
    read = synthetic.LED(noise=0.0, irrelevant_features=False).reader()
    X, y = read(200)
    assert len(np.unique(np.column_stack([X, y]), axis=0)) == 10
    np.testing.assert_array_equal(X[y == 8], 1.0)
    assert X[y == 1].sum(axis=1).max() == 2


def test_led_drift_moves_the_first_segments():
    plain = synthetic.LED(seed=5).reader()(100).X
    moved = synthetic.LEDDrift(seed=5, n_drift_features=2).reader()(100).X
    np.testing.assert_array_equal(moved[:, [7, 8, 0, 1]], plain[:, [0, 1, 7, 8]])
    np.testing.assert_array_equal(
        np.delete(moved, [7, 8, 0, 1], axis=1), np.delete(plain, [0, 1, 7, 8], axis=1)
    )


def test_more_moving_centroids_than_centroids_move_all():
    few = {"n_centroids": 5, "speed": 0.01}
    all_move = synthetic.RandomRBFDrift(n_drift_centroids=5, **few).reader()(50).X
    np.testing.assert_array_equal(
        synthetic.RandomRBFDrift(n_drift_centroids=50, **few).reader()(50).X, all_move
    )


@pytest.mark.parametrize(
    ("name", "kwargs", "message"),
    [
        ("LED", {"seed": 2**31}, "seed=2147483648 is out of range; choose -2147483648 <= seed <= 2147483647"),
        ("LED", {"seed": 1.5}, "seed=1.5 is not an integer"),
        ("LED", {"n_samples": -1}, "n_samples=-1 is out of range; choose n_samples >= 0"),
        ("LED", {"noise": 0.105}, "noise=0.105; MOA counts it in whole percent"),
        ("LED", {"noise": 10}, "noise=10; MOA counts it in whole percent"),
        (
            "LEDDrift",
            {"n_drift_features": 8},
            "n_drift_features=8 is out of range; choose 0 <= n_drift_features <= 7",
        ),
        ("SEA", {"function": 5}, "function=5 is out of range; choose 1 <= function <= 4"),
        ("SEA", {"function": 0}, "function=0 is out of range; choose 1 <= function <= 4"),
        ("RandomRBF", {"n_classes": 1}, "n_classes=1 is out of range; choose n_classes >= 2"),
        ("RandomRBF", {"n_features": 0}, "n_features=0 is out of range"),
        ("RandomRBF", {"n_centroids": 0}, "n_centroids=0 is out of range"),
        ("RandomRBF", {"model_seed": "a"}, "model_seed='a' is not an integer"),
        ("RandomRBFDrift", {"speed": -0.1}, "speed=-0.1 is out of range"),
        ("RandomRBFDrift", {"speed": float("nan")}, "speed=nan is out of range"),
        ("RandomRBFDrift", {"n_drift_centroids": -1}, "n_drift_centroids=-1 is out of range"),
        ("Agrawal", {"function": 11}, "function=11 is out of range; choose 1 <= function <= 10"),
        ("Agrawal", {"perturbation": 1.1}, "perturbation=1.1 is out of range"),
        ("Hyperplane", {"n_features": 3, "n_drift_features": 4}, "n_drift_features=4 is out of range"),
        ("Hyperplane", {"mag_change": 2}, "mag_change=2 is out of range"),
        ("Hyperplane", {"sigma": 0.001}, "sigma=0.001; MOA counts it in whole percent"),
        ("RandomTree", {"n_values": 1}, "n_values=1 is out of range"),
        ("RandomTree", {"n_nominal": 2, "n_numeric": 0}, "max_depth=5 but a path splits once on each"),
        ("RandomTree", {"leaf_fraction": 1.5}, "leaf_fraction=1.5 is out of range"),
        ("Sine", {"function": 5}, "function=5 is out of range"),
        ("STAGGER", {"function": 4}, "function=4 is out of range"),
        ("Mixed", {"function": 3}, "function=3 is out of range"),
        ("WaveformDrift", {"n_drift_features": 41}, "n_drift_features=41 is out of range"),
        ("AssetNegotiation", {"function": 6}, "function=6 is out of range"),
        ("AssetNegotiation", {"noise": -0.5}, "noise=-0.5 is out of range"),
    ],
)
def test_wrong_argument_is_named_with_what_is_allowed(name, kwargs, message):
    with pytest.raises(ValueError, match="^" + message.replace("(", r"\(").replace(".", r"\.")):
        getattr(synthetic, name)(**kwargs)


def test_names_cover_every_generator():
    made = {type(make(None, None)).__name__ for make in STREAMS.values()}
    assert made == {*GENERATORS, "Fleet"}  # which is no stream of MOA: test_streams_fleet.py


@pytest.mark.parametrize("name", STREAMS)
def test_named_stream_takes_seed_and_length(name):
    stream = STREAMS[name](7, 20)
    assert (stream.seed, stream.n_samples) == (7, 20)
    assert len(list(stream)) == 20
    other = STREAMS[name](8, 20)
    assert any(a != b for a, b in itertools.zip_longest(stream, other))


def test_named_streams_differ():
    samples = [make(1, None).reader()(100).X.tobytes() for make in STREAMS.values()]
    assert len(set(samples)) == len(samples)
