"""A model that outlives its process: saved, loaded, and the future is the same to the last bit."""

from __future__ import annotations

import os
from decimal import Decimal

import commands
import numpy as np
import pytest
from river import compose, naive_bayes, preprocessing

import driftmoe
import streams
from benchmarks import faults
from driftmoe import DriftMoEClassifier, saving
from driftmoe.nn import NeuralMoEClassifier
from driftmoe.routing import ADAMOE, LinearK, Scheduled, TopK, TopP, WithNull
from driftmoe.saving.files import packed, unpacked
from driftmoe.trees import HoeffdingTreeClassifier

SMALL = {"n_experts": 3, "hidden": (4,), "seed": 1}

MODELS = {
    **faults.MODELS,
    "all defaults": lambda: DriftMoEClassifier(seed=2),
    "no seed": lambda: DriftMoEClassifier(n_experts=2, hidden=(4,)),
    "policy": lambda: DriftMoEClassifier("moe-vote", policy=WithNull(TopP(0.8), n_null=2), **SMALL),
    "preset": lambda: DriftMoEClassifier("moe-vote", policy=ADAMOE, **SMALL),
    "schedule": lambda: DriftMoEClassifier("moe-vote", policy=Scheduled(TopK(2), LinearK(3, 1, 99)), **SMALL),
    "trees": lambda: DriftMoEClassifier(
        expert=HoeffdingTreeClassifier(grace_period=30, tau=0.1), memory=64, **SMALL
    ),
    "nominal": lambda: HoeffdingTreeClassifier(grace_period=20, nominal_attributes={"number 0", "text"}),
}


def learn(model, samples):
    """Let a model predict and learn; return all that it says."""
    said = []
    for x, y in samples:
        said.append({label: p.hex() for label, p in model.predict_proba_one(x).items()})
        model.learn_one(x, y)
    return said


@pytest.mark.filterwarnings("ignore:features with too many nominal values")
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("compress", [False, True], ids=["as it is", "compressed"])
def test_a_loaded_model_goes_on_as_if_nothing_had_happened(name, compress, tmp_path):
    model, samples = MODELS[name](), faults.growing(260)
    for n, then in ((0, 13), (13, 180), (180, 260)):  # untrained; within a mini-batch; grown
        file = model.save(tmp_path / "sub" / "model.moe", compress=compress)
        loaded = type(model).load(file)
        assert loaded.digest() == model.digest()
        assert loaded.to_bytes() == model.to_bytes()
        assert learn(loaded, samples[n:then]) == learn(model, samples[n:then])
        assert loaded.digest() == model.digest()
    assert os.listdir(tmp_path / "sub") == ["model.moe"]


def test_reports_monitors_and_later_names_go_on_too(tmp_path):
    model = DriftMoEClassifier(n_experts=3, seed=1, memory=64)
    rows = list(streams.make("sea_a", seed=1, n_samples=900))
    learn(model, rows[:600])
    loaded = driftmoe.load(driftmoe.save(model, tmp_path / "m"))
    later = [({**x, "new": "text"}, f"class {y}") for x, y in rows[600:]]
    assert learn(loaded, later) == learn(model, later)
    assert str(loaded.routing_report()) == str(model.routing_report())
    assert loaded.describe() == model.describe()


NAMES = ["text", 7, 7.5, ("a", 1), b"\xff"]


def test_names_labels_and_values_come_back_as_they_were():
    model = DriftMoEClassifier("moe-data", **SMALL)
    labels = ["a", 1, 2.5, ("b", (None, 3)), b"c", False, Decimal("1.5"), frozenset({1, "x"})]
    for i in range(40):
        model.learn_one(
            {name: float(i % 3) for name in NAMES if name is not None} | {"colour": "rb"[i % 2]},
            labels[i % 8],
        )
    loaded = saving.from_bytes(model.to_bytes())
    assert [(type(one), one) for one in loaded._encoder.classes] == [(type(one), one) for one in labels]
    assert list(map(type, loaded._encoder.features)) == list(map(type, model._encoder.features))
    assert loaded._encoder.features == model._encoder.features


NETWORKS = {"n_experts": 2, "hidden": (4,), "seed": 1}

PIPELINES = {
    "Select, StandardScaler": lambda: (
        compose.Select("number 0", "number 1")
        | preprocessing.StandardScaler()
        | DriftMoEClassifier("moe-data", **SMALL)
    ),
    "Discard, MinMaxScaler": lambda: (
        compose.Discard("text") | preprocessing.MinMaxScaler() | HoeffdingTreeClassifier(grace_period=20)
    ),
    "OneHotEncoder": lambda: preprocessing.OneHotEncoder() | NeuralMoEClassifier("moe-data", **NETWORKS),
}


@pytest.mark.parametrize("name", PIPELINES)
def test_pipelines_of_known_transformers_go_on_too(name, tmp_path):
    pipeline = PIPELINES[name]()
    kept = ("number 0", "number 1", "text")
    samples = [({name: x[name] for name in kept}, y) for x, y in faults.growing(150)]
    learn(pipeline, samples[:100])
    loaded = driftmoe.load(driftmoe.save(pipeline, tmp_path / "pipeline.moe"))
    assert list(loaded.steps) == list(pipeline.steps)
    assert saving.digest(loaded) == saving.digest(pipeline)
    assert learn(loaded, samples[100:]) == learn(pipeline, samples[100:])


class Mine(DriftMoEClassifier):
    """A class that is not in the library."""


class Unpicklable(naive_bayes.GaussianNB):
    def __init__(self):
        super().__init__()
        self.function = lambda: None


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            naive_bayes.GaussianNB(),
            "GaussianNB cannot be described without code; what can be: DriftMoEClassifier",
        ),
        (preprocessing.RobustScaler() | HoeffdingTreeClassifier(), "RobustScaler cannot be described"),
        (preprocessing.StandardScaler(window_size=3) | HoeffdingTreeClassifier(), "window_size=3"),
        (
            DriftMoEClassifier("moe-data", expert=naive_bayes.GaussianNB()),
            "GaussianNB, which cannot be described",
        ),
        (3, "int cannot be described"),
        (
            Mine(seed=1),
            "Mine, a subclass of DriftMoEClassifier, cannot be described .* not subclasses, and pipelines",
        ),
    ],
)
def test_what_cannot_be_described_is_refused_by_name_and_writes_nothing(model, message, tmp_path):
    with pytest.raises(TypeError, match=message):
        driftmoe.save(model, tmp_path / "m")
    assert os.listdir(tmp_path) == []


def test_experts_of_river_are_pickled_and_unpickled_only_if_asked_for(tmp_path):
    model = DriftMoEClassifier("moe-data", expert=naive_bayes.GaussianNB(), **SMALL)
    samples = [({"number": x["number 0"]}, y) for x, y in faults.growing(80)]
    learn(model, samples[:60])
    with pytest.raises(TypeError, match="pickle_experts=True"):
        model.save(tmp_path / "m")
    model.save(tmp_path / "m", pickle_experts=True)
    with pytest.raises(ValueError, match=f"{tmp_path / 'm'}.*trust_pickle=True"):
        DriftMoEClassifier.load(tmp_path / "m")
    loaded = DriftMoEClassifier.load(tmp_path / "m", trust_pickle=True)
    assert learn(loaded, samples[60:]) == learn(model, samples[60:])


def test_experts_that_cannot_be_pickled_are_named():
    model = DriftMoEClassifier("moe-data", expert=Unpicklable(), **SMALL)
    with pytest.raises(
        TypeError, match=r"\(own\.expert\) is of type .*Unpicklable and cannot be pickled: .*; define"
    ):
        model.to_bytes(pickle_experts=True)


def test_pickles_whose_class_is_gone_are_refused_by_name(monkeypatch):
    monkeypatch.setattr(
        naive_bayes.gaussian, "Gone", type("Gone", (naive_bayes.GaussianNB,), {}), raising=False
    )
    naive_bayes.gaussian.Gone.__module__ = "river.naive_bayes.gaussian"
    content = DriftMoEClassifier("moe-data", expert=naive_bayes.gaussian.Gone(), **SMALL).to_bytes(
        pickle_experts=True
    )
    monkeypatch.delattr(naive_bayes.gaussian, "Gone")
    with pytest.raises(
        ValueError, match=r"pickled object cannot be read: .*Gone.*; define its class, or install"
    ):
        saving.from_bytes(content, trust_pickle=True)


def test_a_loaded_model_with_pickles_has_the_digest_that_it_was_saved_with():
    model = DriftMoEClassifier("moe-data", expert=naive_bayes.GaussianNB(), **SMALL)
    learn(model, [({"number": x["number 0"]}, y) for x, y in faults.growing(60)])
    for _ in range(3):
        loaded = saving.from_bytes(model.to_bytes(pickle_experts=True), trust_pickle=True)
        assert loaded.digest() == model.digest()
        model = loaded


def test_lists_are_equal_to_tuples():
    one, other = (
        DriftMoEClassifier(n_experts=2, hidden=hidden, extras=extras, seed=1)
        for hidden, extras in (([8], ["linear"]), ((8,), ("linear",)))
    )
    assert one.digest() == other.digest()
    assert one.to_bytes() == other.to_bytes()


def test_a_network_that_has_overflowed_is_refused_when_it_is_saved():
    model = DriftMoEClassifier("moe-data", **SMALL)
    learn(model, faults.growing(30))
    weights = model._mixture.router._weights
    weights[3] = np.inf
    with pytest.raises(
        ValueError,
        match="cannot be saved, because it could not be loaded: 'weights' in the state of Router has inf",
    ):
        model.to_bytes()
    weights[3] = 0.0
    assert saving.from_bytes(model.to_bytes()).digest() == model.digest()


@pytest.mark.parametrize("use", [lambda path: HoeffdingTreeClassifier().save(path), driftmoe.load])
def test_a_path_without_a_file_name_is_refused(use, tmp_path):
    with pytest.raises(ValueError, match="the path is empty; give the name of a file"):
        use("")
    with pytest.raises(IsADirectoryError, match=f"a folder; give the name of a file: '{tmp_path}'"):
        use(tmp_path)


def changed(name, feature, value):
    def change(state):
        state[name] = {**state[name], feature: value} if feature else value

    return change


@pytest.mark.parametrize(
    ("transformer", "change", "message"),
    [
        (preprocessing.StandardScaler(), changed("means", "x", "3"), "'means' .* StandardScaler has '3' for 'x'; it"),
        (preprocessing.StandardScaler(), changed("means", "x", None), "has None for 'x'; it must be a number"),
        (preprocessing.StandardScaler(), changed("vars", "x", True), "has True for 'x'"),
        (preprocessing.StandardScaler(), changed("counts", "x", -1), "has -1 for 'x'; it must be 0 or more"),
        (preprocessing.StandardScaler(), changed("counts", None, 3), "'counts' .* is of type int; it must be a dict"),
        (preprocessing.MinMaxScaler(), changed("min", "x", "0"), "'min' .* has '0' for 'x'; it must be a number"),
        (preprocessing.OneHotEncoder(), changed("values", "x", 3), "has 3 for 'x'; it must be a set"),
        (preprocessing.OneHotEncoder(), changed("_zero_dict", "x", 1), "has 1 for 'x'; it must be 0"),
    ],
)  # fmt: skip
def test_transformers_take_only_what_they_learn(transformer, change, message):
    pipeline = transformer | HoeffdingTreeClassifier()
    pipeline.learn_one({"x": 1.0}, 1)
    found = unpacked(saving.to_bytes(pipeline))
    change(found.model["steps"][0][1]["state"])
    with pytest.raises(ValueError, match=message):
        saving.from_bytes(packed(found.model, found.arrays, "0", compress=False))


def test_transformers_of_a_window_are_refused_in_files_too():
    pipeline = preprocessing.StandardScaler() | HoeffdingTreeClassifier()
    found = unpacked(saving.to_bytes(pipeline))
    found.model["steps"][0][1]["arguments"]["window_size"] = 3
    with pytest.raises(ValueError, match=r"window_size=3\) cannot be described"):
        saving.from_bytes(packed(found.model, found.arrays, "0", compress=False))


def test_numbers_of_numpy_are_kept(tmp_path):
    sizes = {
        "n_experts": np.int64(2),
        "hidden": (np.int64(4),),
        "learning_rate": np.float64(0.01),
        "seed": np.int64(3),
    }
    model = DriftMoEClassifier("moe-data", **sizes)
    samples = [({"x": i % 3}, np.int64(i % 2)) for i in range(50)]
    learn(model, samples)
    loaded = driftmoe.load(model.save(tmp_path / "m"))
    assert learn(loaded, samples) == learn(model, samples)
    assert loaded.digest() == model.digest()


def test_a_link_stays_a_link(tmp_path):
    tree = HoeffdingTreeClassifier()
    tree.save(tmp_path / "models" / "first.moe")
    (tmp_path / "latest.moe").symlink_to(tmp_path / "models" / "first.moe")
    tree.learn_one({"x": 1.0}, 1)
    tree.save(tmp_path / "latest.moe")
    assert (tmp_path / "latest.moe").is_symlink()
    assert driftmoe.load(tmp_path / "models" / "first.moe").digest() == tree.digest()


def test_another_class_is_refused(tmp_path):
    HoeffdingTreeClassifier().save(tmp_path / "m")
    with pytest.raises(ValueError, match="holds a HoeffdingTreeClassifier, not a DriftMoEClassifier"):
        DriftMoEClassifier.load(tmp_path / "m")


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    file = HoeffdingTreeClassifier().save(tmp_path / "m")
    before = file.read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        OSError, match="the model is not saved; a file of this name, if there was one, is as it was"
    ):
        DriftMoEClassifier(seed=1).save(file)
    assert file.read_bytes() == before
    assert os.listdir(tmp_path) == ["m"]


KILLED = """
import os, random, signal, sys, time
from pathlib import Path
from benchmarks import faults
from driftmoe import DriftMoEClassifier, load, save

model, samples, digests = DriftMoEClassifier("moe-data", n_experts=2, hidden=(4,), seed=1), faults.growing(400), set()
for i, (x, y) in enumerate(samples):
    model.learn_one(x, y)
    if i % 5 == 0:
        digests.add(model.digest())
n_found, rng = 0, random.Random(1)
for trial in range(40):
    if not (child := os.fork()):
        model = DriftMoEClassifier("moe-data", n_experts=2, hidden=(4,), seed=1)
        for i, (x, y) in enumerate(samples):
            model.learn_one(x, y)
            if i % 5 == 0:
                save(model, "model.moe", compress=trial % 2 == 1)
        os._exit(0)
    time.sleep(rng.uniform(0.0, 0.25))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    if Path("model.moe").exists():
        n_found += 1
        assert load("model.moe").digest() in digests
save(model, "model.moe")
# What a process leaves that is killed before it holds a lock is deleted after a minute.
print(n_found, [name for name in os.listdir() if not name.startswith(".driftmoe-part-")])
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_whenever_a_process_is_killed_the_file_is_a_model_that_existed(tmp_path):
    done = commands.python("-c", KILLED, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    n_found, files = done.stdout.split(maxsplit=1)
    assert int(n_found) > 30
    assert files == "['model.moe']\n"


LIMITED = """
import resource
from driftmoe import DriftMoEClassifier
DriftMoEClassifier("moe-data", n_experts=2, hidden=(4,), seed=1).save("model.moe")
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
DriftMoEClassifier(seed=1).save("model.moe")
"""


def test_a_disk_that_fills_up_leaves_the_old_file(tmp_path):
    pytest.importorskip("resource")
    done = commands.python("-c", LIMITED, cwd=tmp_path)
    assert done.returncode == 1
    assert (
        "the model is not saved; a file of this name, if there was one, is as it was: 'model.moe'"
        in done.stderr
    )
    assert os.listdir(tmp_path) == ["model.moe"]
    assert driftmoe.load(tmp_path / "model.moe").n_experts == 2


def test_an_argument_that_was_changed_is_named():
    model = DriftMoEClassifier("moe-data", **SMALL)
    model.top_k = 1
    with pytest.raises(ValueError, match=r"an attribute has changed: what is saved .* top_k=1"):
        model.to_bytes()


def test_a_seed_that_was_changed_is_named():
    """It would be saved with a model that did not draw from it."""
    model = DriftMoEClassifier("moe-data", **SMALL)
    model.seed = 7
    with pytest.raises(ValueError, match=r"what is saved .* seed=7, .* was built with seed=1"):
        model.to_bytes()


def test_a_digest_hangs_on_arguments_and_on_each_sample():
    models = [
        DriftMoEClassifier("moe-data", n_experts=n, hidden=(4,), seed=seed)
        for n, seed in [(2, 1), (2, 1), (2, 2), (3, 1)]
    ]
    first, same, seed, size = (model.digest() for model in models)
    assert first == same
    assert len({first, seed, size}) == 3
    models[0].learn_one({"x": 1.0}, 1)
    assert models[0].digest() != first


def test_sizes_are_of_what_is_used():
    model = DriftMoEClassifier(seed=1)
    fresh = len(model.to_bytes())
    for x, y in faults.growing(300):
        model.learn_one(x, y)
    grown = model.to_bytes()
    assert fresh < 60_000
    assert len(model.to_bytes(compress=True)) < 0.6 * len(grown)
