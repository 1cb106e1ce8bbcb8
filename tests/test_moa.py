"""MOA's learners: what CapyMOA's own evaluation gives, on exactly our samples, by our metrics."""

from __future__ import annotations

import builtins
import gc

import numpy as np
import pytest
from typer.testing import CliRunner

import streams
from driftmoe import moa, models, own
from driftmoe.cli import app
from driftmoe.evaluation import prequential
from driftmoe.experiment import JobFolder, planned, read_results, run_grid
from streams.files import open_file
from streams.opening import open_stream


@pytest.fixture(scope="module")
def capymoa():
    """CapyMOA, which starts Java; tests that need it are skipped where it is not installed."""
    return pytest.importorskip("capymoa", reason="the extra driftmoe[capymoa] is not installed")


def predictions(stream, spec, *, seed=3, window=400):
    """Predictions of a run, in windows that do not end with the stream."""
    run = prequential(stream, models.make(spec, seed=seed), window=window, keep_predictions=True)
    return [prediction for checkpoint in run for _, prediction in checkpoint.predictions]


def by_capymoa(learner, stream):
    """Predictions of a learner in CapyMOA's loop in Python; its "none" is class 0 in MOA's."""
    from capymoa.evaluation import prequential_evaluation

    results = prequential_evaluation(stream, learner, store_predictions=True, progress_bar=False)
    return [0 if prediction is None else int(prediction) for prediction in results.predictions()]


@pytest.mark.parametrize(
    ("spec", "name", "arguments"),
    [
        ("moa-arf(ensemble_size=3)", "AdaptiveRandomForestClassifier", {"ensemble_size": 3}),
        ("moa-srp(ensemble_size=3)", "StreamingRandomPatches", {"ensemble_size": 3}),
        ("moa-levbag", "LeveragingBagging", {"ensemble_size": 10}),
        ("moa-ozaboost", "OzaBoost", {"boosting_iterations": 10}),
        ("moa-samknn", "SAMkNN", {}),
        ("moa-dems(ensemble_size=3)", "DynamicEnsembleMemberSelection", {"ensemble_size": 3}),
        ("moa-csmote", "CSMOTE", {}),
        # By the name of the class in Java, with MOA's options: CapyMOA's class with the same settings.
        (
            "moa:meta.StreamingRandomPatches(ensembleSize=3)",
            "StreamingRandomPatches",
            {"ensemble_size": 3},
        ),
        ("moa:meta.OzaBag(ensembleSize=4)", "OnlineBagging", {"ensemble_size": 4}),
        (
            "moa:trees.EFDT(gracePeriod=50, splitConfidence=0.001, noPrePrune=True, stopMemManagement=True)",
            "EFDT",
            {"grace_period": 50},
        ),
    ],
)
def test_predictions_are_those_of_capymoas_own_evaluation(capymoa, spec, name, arguments):
    from capymoa import classifier
    from capymoa.stream import NumpyStream

    stream = streams.make("rbf_f", seed=3, n_samples=1500)
    theirs = NumpyStream(*next(stream.blocks(1500)), target_type="categorical")
    learner = getattr(classifier, name)(theirs.get_schema(), random_seed=3, **arguments)
    assert predictions(stream, spec) == by_capymoa(learner, theirs)


def test_nominal_features_are_nominal_in_java(capymoa):
    """As CapyMOA's generator gives LED, whose features are 0 and 1."""
    from capymoa import classifier
    from capymoa.stream.generator import LEDGeneratorDrift

    theirs = LEDGeneratorDrift(instance_random_seed=3, number_of_attributes_with_drift=1)
    learner = classifier.HoeffdingTree(theirs.get_schema(), random_seed=3)
    from capymoa.evaluation import prequential_evaluation

    expected = prequential_evaluation(theirs, learner, max_instances=3000)["cumulative"].accuracy()
    stream = streams.make("led_drift", seed=3, n_samples=3000)
    *_, last = prequential(stream, models.make("moa-ht", seed=3), count_warm_up=True)  # as CapyMOA counts
    assert last.cumulative["accuracy"] == pytest.approx(expected / 100, abs=1e-12)


@pytest.mark.parametrize("name", moa.LEARNERS)
def test_every_learner_learns_and_tells_time_and_memory(capymoa, name):
    gc.collect()  # frees what earlier learners hold in Java
    learner = models.make(name, seed=1 if "seed" in moa.parameters(name) else None)
    checkpoints = list(prequential(streams.make("sea", seed=1, n_samples=1000), learner, window=300))
    assert [c.n_samples for c in checkpoints] == [300, 600, 900, 1000]
    for_rare_classes = name in ("moa-rusboost", "moa-adac2", "moa-underover")
    assert checkpoints[-1].cumulative["accuracy"] > (0.6 if for_rare_classes else 0.7)
    assert checkpoints[-1].cumulative["g_mean"] > 0.2
    assert all(c.window_seconds > 0 for c in checkpoints)
    assert learner._raw_memory_usage > 0


def test_a_learner_within_a_learner_is_the_text_of_moa(capymoa):
    stream = streams.make("rbf_f", seed=3, n_samples=1200)
    nested = "moa:meta.OzaBag(ensembleSize=3, baseLearner=moa:trees.HoeffdingTree(gracePeriod=20, splitConfidence=0.1))"
    text = "moa:meta.OzaBag(ensembleSize=3, baseLearner='trees.HoeffdingTree -g 20 -c 0.1')"
    answers = predictions(stream, nested)
    assert answers == predictions(stream, text)
    assert answers != predictions(stream, "moa:meta.OzaBag(ensembleSize=3)")


def test_an_option_named_as_a_word_of_python_ends_in_an_underscore(capymoa):
    learner = models.make("moa:meta.StreamingRandomPatches(lambda_=2, ensembleSize=3)", seed=5)
    assert (learner.arguments["lambda_"], learner.arguments["seed"]) == (2, 5)
    assert "-a 2.0" in learner.text
    assert learner._get_params()["class"] == "meta.StreamingRandomPatches"


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (
            "moa:trees.HoefdingTree",
            "MOA has no classifier 'trees.HoefdingTree'; did you mean 'trees.Hoeffding",
        ),
        ("moa:java.lang.Runtime", "MOA has no classifier 'java.lang.Runtime'; there are "),
        ("moa:AbstractClassifier", "MOA has no classifier 'AbstractClassifier'"),
        ("moa:trees.FIMTDD", "trees.FIMTDD predicts numbers"),
        ("moa:bayes.NaiveBayes(a=1)", "has no argument 'a'; there are none"),
        ("moa:meta.BOLE(trees=3)", "no argument 'trees'; there are baseLearner, ensembleSize, pureBoost, "),
        ("moa:trees.HoeffdingTree(gracePeriod=0.5)", "gracePeriod=0.5; give a whole number"),
        ("moa:trees.HoeffdingTree(gracePeriod=-3)", "gracePeriod=-3 is refused by MOA: .*less than 0"),
        ("moa:trees.HoeffdingTree(tieThreshold='a')", "tieThreshold='a'; give a number"),
        ("moa:trees.HoeffdingTree(binarySplits=1)", "binarySplits=1; choose True or False"),
        ("moa:trees.HoeffdingTree(leafprediction='X')", "leafprediction='X'; choose one of 'MC', 'NB', 'NBA"),
        (
            "moa:trees.HoeffdingTree(splitCriterion=3)",
            "give text, as MOA writes it: 'InfoGainSplitCriterion'",
        ),
        ("moa:trees.HoeffdingTree(splitCriterion='java.lang.Runtime')", "is refused by MOA"),
        ("moa:meta.OzaBag(baseLearner=moa-arf)", "moa-arf has CapyMOA's arguments and cannot be within"),
        ("moa-bole(seed=1, baseLearner=__import__('os'))", "unknown name '__import__'"),
    ],
)
def test_what_moa_does_not_have_is_refused_with_what_it_has(capymoa, spec, said):
    with pytest.raises(ValueError, match=said) as caught:
        own.make(spec)
    assert "\n" not in str(caught.value)


def test_the_command_lists_the_options_of_a_java_class(capymoa):
    for name, told in (
        ("moa:trees.HoeffdingTree", "gracePeriod=200: The number of instances a leaf should"),
        ("moa-bole", "ensembleSize=10: The number of models to boost."),
        ("moa-dems", "ensemble_size=10"),
    ):
        done = CliRunner().invoke(app, ["models", name])
        assert done.exit_code == 0, done.output
        assert told in done.output
        assert max(map(len, done.output.splitlines())) <= 80


def test_windows_do_not_change_predictions_and_the_seed_does(capymoa):
    stream = streams.make("led_a", seed=3, n_samples=1200)
    alone = predictions(stream, "moa-arf(ensemble_size=3)", window=1200)
    assert predictions(stream, "moa-arf(ensemble_size=3)", window=7) == alone
    for spec in ("moa-arf(ensemble_size=3)", "moa-srp(ensemble_size=3)", "moa-levbag(ensemble_size=3)"):
        assert predictions(stream, spec, seed=4) != predictions(stream, spec, seed=3)


def test_names_missing_values_and_labels_reach_java(capymoa, tmp_path):
    """A Hoeffding tree with one nominal feature that decides, shown late values and labels as text."""
    rng = np.random.default_rng(1)
    colours = rng.choice(["red", "blue"], 900)
    rows = [(colour, "" if rng.random() < 0.1 else f"{rng.random():.3f}") for colour in colours]
    rows += [("green", "0.5")] * 300
    label = {"red": "no", "blue": "yes", "green": "maybe"}
    lines = [f"{colour},{number},{label[colour]}" for colour, number in rows]
    (tmp_path / "colours.csv").write_text("\n".join(["colour,number,answer", *lines]) + "\n")
    answers = predictions(open_file(tmp_path / "colours.csv"), "moa-ht")
    assert set(answers) == {"yes", "no", "maybe"}
    assert np.mean([p == label[colour] for p, (colour, _) in zip(answers, rows, strict=True)]) > 0.9


def test_java_that_holds_other_samples_is_noticed(capymoa):
    header = moa.java_header([None, 2], 2)
    X, y = np.array([[0.1, 1.0], [np.nan, 0.0]]), np.array([0, 1])
    instances = moa.java_instances(header, X, y)
    moa.check_same(instances, X, y)
    with pytest.raises(RuntimeError, match="sample 1 is not the same in Java"):
        moa.check_same(instances, X, np.array([0, 0]))


def test_a_grid_has_the_same_files_for_moas_learners(capymoa, tmp_path):
    specs = ["moa-levbag(ensemble_size=2)", "moa-ht(grace_period='x')", "ht"]
    runs = planned(["sea_a"], specs, [2], open_stream, limit=600, window=250)
    states = {
        event.run.model: event
        for event in run_grid(runs, open_stream, JobFolder(tmp_path), executor="processes")
        if event.state != "started"
    }
    failure = states.pop("moa-ht(grace_period='x')")
    assert "moa-ht failed in Java" in failure.error.read_text()
    of_moa, of_river = (states[spec].result for spec in (specs[0], "ht"))
    assert of_moa.keys() == of_river.keys()
    assert of_moa["parameters"]["ensemble_size"] == 2
    assert of_moa["parameters"]["seed"] == 2
    assert of_moa["versions"]["capymoa"] == capymoa.__version__
    assert of_moa["versions"].keys() - of_river["versions"].keys() == {"capymoa", "java"}


def test_the_command_evaluates_moas_learners(capymoa, tmp_path):
    arguments = [
        "evaluate",
        "sea_a",
        "-m",
        "moa-ht",
        "--limit",
        "500",
        "--window",
        "200",
        "--out",
        str(tmp_path),
    ]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    (result,), points = read_results(tmp_path)
    assert result["n_samples"] == 500
    assert len(points) == 3


@pytest.mark.parametrize(
    ("options", "said"),
    [({"delay": 10}, "delay"), ({"warm_start": 5}, "warm_start"), ({"weight": "w"}, "weight")],
)
def test_what_the_loop_in_java_cannot_do_is_refused(capymoa, options, said):
    stream = streams.make("sea", seed=1, n_samples=50)
    with pytest.raises(ValueError, match=f"MoaLearner tests and trains itself.*{said}"):
        list(prequential(stream, models.make("moa-ht"), **options))
    with pytest.raises(ValueError, match=r"takes only streams of `streams`"):
        list(prequential(list(stream), models.make("moa-ht")))


def test_a_wrong_argument_is_refused_at_once(capymoa):
    with pytest.raises(
        ValueError, match="model 'moa-arf' has no argument 'n_models'; there are seed, base_learner"
    ):
        models.make("moa-arf(n_models=3)")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ModuleNotFoundError("No module named 'capymoa'"), "No module"),
        (RuntimeError("Java not found."), "Java not"),
    ],
)
def test_without_capymoa_or_java_one_line_says_what_to_install(monkeypatch, error, reason):
    really = builtins.__import__

    def fails(name, *arguments, **keywords):
        if name == "capymoa":
            raise error
        return really(name, *arguments, **keywords)

    moa.parameters.cache_clear()
    monkeypatch.setattr(builtins, "__import__", fails)
    with pytest.raises(ValueError, match=f"moa-arf needs CapyMOA and Java.*{reason}.*pip install") as caught:
        models.make("moa-arf")
    assert "\n" not in str(caught.value)
