"""`driftmoe model explain`, and `driftmoe model show --importances`."""

from __future__ import annotations

import json

import commands
import pytest
from river import preprocessing

import driftmoe
import streams
from driftmoe import DriftMoEClassifier
from driftmoe.trees import HoeffdingTreeClassifier


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("explained")
    model = DriftMoEClassifier("moe-vote", n_experts=3, seed=1)
    pipeline = preprocessing.StandardScaler() | DriftMoEClassifier("moe-data", n_experts=3, seed=1)
    numbers, tree = DriftMoEClassifier("moe-data", n_experts=3, seed=1), HoeffdingTreeClassifier()
    for x, y in streams.make("sea", seed=1, n_samples=300):
        for one in (model, pipeline, tree):
            one.learn_one(x, y)
        numbers.learn_one(dict(enumerate(x.values())), y)
    for name, one in {"model": model, "pipeline": pipeline, "numbers": numbers, "tree": tree}.items():
        driftmoe.save(one, place / f"{name}.moe")
    driftmoe.save(DriftMoEClassifier("moe-vote", n_experts=3, seed=1), place / "new.moe")
    return place


def explained(place, *arguments):
    return commands.driftmoe("model", "explain", *arguments, cwd=place)


def test_the_text_is_that_of_explain_one(place):
    model = driftmoe.load(place / "model.moe")
    x = {"attrib1": 1.5, "attrib2": None, "colour": "red"}
    done = explained(place, "model.moe", "--sample", json.dumps(x))
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{model.explain_one(x)}\n"


def test_a_row_of_a_stream_is_explained_and_its_label_told(place):
    model = driftmoe.load(place / "model.moe")
    *_, (x, y) = streams.make("sea", seed=4, n_samples=12)
    done = explained(place, "model.moe", "--stream", "sea", "--row", "12", "--seed", "4", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == model.explain_one(x).to_dict()
    assert f"driftmoe: sample 12 of sea; its label is {y!r}\n" in done.stderr


def test_the_label_of_the_row_stands_above_the_text(place):
    done = explained(place, "model.moe", "--stream", "sea", "--row", "12", "--seed", "4")
    *_, (x, y) = streams.make("sea", seed=4, n_samples=12)
    text = driftmoe.load(place / "model.moe").explain_one(x)
    assert done.stdout == f"Sample 12 of sea; its label is {y!r}.\n\n{text}\n"
    assert "its label" not in done.stderr


def test_a_pipeline_transforms_the_sample_first(place):
    pipeline = driftmoe.load(place / "pipeline.moe")
    x = {"attrib1": 1.5, "attrib2": 2.0, "attrib3": 3.0}
    done = explained(place, "pipeline.moe", "--sample", json.dumps(x))
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{pipeline[-1].explain_one(pipeline[0].transform_one(x))}\n"


def test_names_that_are_numbers_are_given_as_text(place):
    done = explained(place, "numbers.moe", "--sample", '{"0": 1.5, "1": 2, "2": 3}')
    assert done.returncode == 0, done.stderr
    assert "0 = 1.5" in done.stdout
    assert "never learnt" not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["model.moe"], "give the sample either by --sample or by --stream and --row"),
        (["model.moe", "--stream", "sea"], "give the sample either by --sample or by --stream and --row"),
        (["model.moe", "--sample", "{}", "--row", "3"], "give the sample either by --sample or by"),
        (["model.moe", "--sample", "{a: 1}"], "--sample is not JSON: Expecting property name"),
        (["model.moe", "--sample", '{"a": NaN}'], "--sample is not JSON: NaN is not a number in JSON"),
        (["model.moe", "--sample", "[1]"], '--sample is a list; give an object such as {"a": 1}'),
        (["model.moe", "--sample", '{"attrib1": "x"}'], "feature 'attrib1' is 'x', a text, but was a number"),
        (["model.moe", "--sample", '{"attrib1": [1]}'], "feature 'attrib1' is [1] of type list"),
        (["tree.moe", "--sample", "{}"], "`explain` is for mixtures of experts, and this is a HoeffdingTree"),
        (["nosuch.moe", "--sample", "{}"], "nosuch.moe: No such file or directory"),
    ],
)
def test_a_mistake_ends_in_one_line(place, arguments, message):
    done = explained(place, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_row_beyond_the_stream_is_a_mistake(place):
    (place / "three.csv").write_text("a,y\n1,p\n2,q\n3,p\n")
    done = explained(place, "model.moe", "--stream", "three.csv", "--row", "4")
    assert done.returncode == 2
    assert "--row 4: three.csv has fewer samples" in done.stderr


def test_show_lists_the_features_that_matter_and_draws_them(place):
    model = driftmoe.load(place / "model.moe")
    done = commands.driftmoe(
        "model", "show", "model.moe", "--importances", "--picture", "features.png", cwd=place
    )
    assert done.returncode == 0, done.stderr
    assert (place / "features.png").read_bytes().startswith(b"\x89PNG")
    lines = done.stdout[done.stdout.index("WHICH FEATURES MATTER NOW") :].splitlines()
    assert max(map(len, lines)) <= 79
    found = [line.split() for line in lines if line.startswith("  ")]
    importances = model.feature_importances()
    assert [words[0] for words in found] == list(importances)
    for words, (mean, spread) in zip(found, importances.values(), strict=True):
        assert float(words[1]) == pytest.approx(100.0 * mean, abs=0.051)
        assert float(words[3]) == pytest.approx(100.0 * spread, abs=0.051)


def test_what_importances_do_not_fit_is_refused(place):
    for arguments, message in (
        (
            ["model.moe", "--importances", "--picture", "f.png", "--depth", "1"],
            "--depth 1 is for a picture of a",
        ),
        (["tree.moe", "--importances"], "--importances is for mixtures of experts, and this is a Hoeffding"),
        (["new.moe", "--importances", "--picture", "f.png"], "there is nothing to draw"),
    ):
        done = commands.driftmoe("model", "show", *arguments, cwd=place)
        assert done.returncode == 2
        assert message in done.stderr
    done = commands.driftmoe("model", "show", "new.moe", "--importances", cwd=place)
    assert "learnt too few samples" in done.stdout
