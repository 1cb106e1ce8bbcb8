"""The table of arguments: what applies changes something, what does not is refused and would change nothing."""

from __future__ import annotations

import inspect
import json
from contextlib import nullcontext

import numpy as np
import pytest
from places import ROOT
from river import dummy, naive_bayes

from benchmarks import ablation
from driftmoe import DriftMoEClassifier, classifier, moa, models
from driftmoe.arguments import EVERYWHERE, IDLE, unmet
from driftmoe.classifier import VARIANTS
from driftmoe.experts import EXTRAS, Neighbours
from driftmoe.mixture import MIXTURES
from driftmoe.nn import NeuralMoEClassifier
from driftmoe.routing import TopK, WithNull
from driftmoe.trees import HoeffdingTreeClassifier, TreePool

OTHERS = {
    "n_experts": 2, "top_k": 1, "policy": WithNull(TopK(1), n_null=1), "correction": 0.5, "extras": ("network",),
    "memory": 64, "monitors": False, "gate": "equal", "leverage": 1.0, "min_trust": 1e-9, "min_awake": 1,
    "max_waiting": 1, "hidden": (3,), "learning_rate": 0.05, "batch_size": 8, "dropout": 0.5, "n_threads": 2, "seed": 9,
    "expert_hidden": (3,), "expert_rate": 0.1,
    "expert": HoeffdingTreeClassifier(grace_period=20, leaf_prediction="mc"), "max_features": 1,
    "max_classes": 1, "max_bytes": 10**9, "decision_costs": {0: 9.0}, "records": False,
    "class_weight": "balanced",
}  # fmt: skip
"""For each argument a value that is not its default."""

HARMFUL = {("dropout", "driftmoe"), ("correction", "moe-task")}
"""Refused because it would do harm, not because it would do nothing."""

TELLING = {"monitors": True}
"""What to give instead of a value that asks for nothing."""

QUICK_TREES = HoeffdingTreeClassifier(grace_period=25, delta=0.05)

CASES = {
    "trees and all extras": {},
    "trees alone": {"extras": ()},
    "without costly extras": {"extras": ("history", "linear", "head")},
    "without neighbours": {"extras": ("head", dummy.PriorClassifier())},
    "without head": {"extras": ("neighbours", "history")},
    "router's gate": {"gate": "router", "extras": ("relevant-neighbours",)},
    "memories' gate": {"gate": "recency", "extras": ("neighbours", "history")},
    "memories' gate and head": {"gate": "recency", "extras": ("neighbours", "head")},
    "equal gate": {"gate": "equal", "extras": ("neighbours", "history")},
    "equal gate and head": {"gate": "equal", "extras": ("neighbours", "head")},
    "policy": {"policy": TopK(2), "extras": ("history",)},
    "fixed router": {"learning_rate": 0.0, "extras": ("neighbours", "head")},
    "river experts": {"expert": naive_bayes.GaussianNB(), "extras": ("history", "head")},
    "vote": {"variant": "moe-vote"},
    "vote, policy": {"variant": "moe-vote", "policy": TopK(2)},
    "vote, fixed router": {"variant": "moe-vote", "learning_rate": 0.0},
    "vote, no hidden units": {"variant": "moe-vote", "hidden": ()},
    "data": {"variant": "moe-data"},
    "data, policy": {"variant": "moe-data", "policy": TopK(2)},
    "data, river experts": {"variant": "moe-data", "expert": naive_bayes.GaussianNB()},
    "task": {"variant": "moe-task"},
    "task, river experts": {"variant": "moe-task", "expert": naive_bayes.GaussianNB()},
    "networks": {"class": NeuralMoEClassifier},
    "networks, equal gate": {"class": NeuralMoEClassifier, "gate": "equal", "extras": ()},
    "networks, memories' gate": {"class": NeuralMoEClassifier, "gate": "recency", "extras": ()},
    "networks, fixed router": {"class": NeuralMoEClassifier, "learning_rate": 0.0},
    "networks, vote": {"class": NeuralMoEClassifier, "variant": "moe-vote"},
    "networks, data, policy": {"class": NeuralMoEClassifier, "variant": "moe-data", "policy": TopK(2)},
}
"""Arguments beside which each other argument is tried."""


def a_drift():
    """One number tells three classes apart, which trees find and neighbours do not; later the classes change places."""
    rng = np.random.default_rng(3)
    X = rng.normal(size=(1800, 12))
    y = np.digitize(X[:, 0], (-0.4, 0.4))
    y[::9] = rng.integers(0, 3, 200)
    y[600:] = (y[600:] + 1) % 3
    return X, y


X, Y = a_drift()
PRIOR = HoeffdingTreeClassifier(grace_period=20)
for row, label in zip(X[:200], Y[:200].tolist(), strict=True):
    PRIOR.learn_one(dict(enumerate(row.tolist())), label)
OTHERS["prior"] = PRIOR
LEGEND = {"names": list(range(X.shape[1])), "values": [None] * X.shape[1], "classes": [0, 1, 2]}


def make(case, **more):
    given = {"seed": 1, **CASES[case], **more}
    of = given.pop("class", DriftMoEClassifier)
    if of is DriftMoEClassifier:
        given.setdefault("expert", QUICK_TREES)
    if given.get("variant") != "moe-task":
        given.setdefault("n_experts", 4)
    return of(**given)


def figures(case, *, is_late=True, **more):
    model = make(case, **more)
    n_rows = (
        400 if model.expert is not None and not isinstance(model.expert, HoeffdingTreeClassifier) else 1800
    )
    labels = model.step_many(X[:n_rows], Y[:n_rows], **LEGEND)
    if is_late:  # the labels of a hundred samples come when all have been predicted
        late = np.repeat([0.0, 1.0], 100)
        model.step_many(np.tile(X[:100], (2, 1)), np.tile(Y[:100], 2), w=late, awaits=True, **LEGEND)
    proba = [list(model.predict_proba_one(dict(enumerate(row))).values()) for row in X[:20].tolist()]
    return labels, proba


def differ(these, those):
    """Whether two models gave other answers; without hidden units dropout rounds otherwise."""
    return these[0] != those[0] or not np.allclose(these[1], those[1], rtol=0.0, atol=1e-6)


def taken_by(case):
    """The arguments that can be given beside those of a case."""
    parameters = inspect.signature(CASES[case].get("class", DriftMoEClassifier)).parameters
    return [name for name in parameters if name not in ("variant", *CASES[case])]


@pytest.mark.filterwarnings("ignore:features beyond", "ignore:samples of new classes")
@pytest.mark.parametrize("case", CASES)
def test_an_argument_applies_and_changes_something_or_is_refused_and_would_change_nothing(case, monkeypatch):
    monkeypatch.setattr("driftmoe.mixture.shedding.START", 0.97)  # trees sleep soon, not after 1400 samples
    plain, at_once, context = figures(case), figures(case, is_late=False), make(case)._context()
    for name in taken_by(case):
        applies = unmet(name, context) is None
        if not applies:
            with pytest.raises(ValueError, match=rf"{name}=.* does not apply .*; leave it out"):
                make(case, **{name: TELLING.get(name, OTHERS[name])})
            if (name, context.variant) in HARMFUL or name in ("max_bytes", "class_weight"):  # which need more
                continue
        with monkeypatch.context() as bypass:
            bypass.setattr(classifier, "check_effects", lambda given, context: None)
            if name == "policy" and not applies:  # TopK would leave some out
                continue
            is_late = name != "max_bytes"  # which leaves no room for samples that wait
            changed = figures(case, is_late=is_late, **{name: OTHERS[name]})
        if (
            name == "batch_size" and context.learning_rate == 0.0
        ):  # how many rows go through at once, if no more
            continue
        assert differ(changed, plain if is_late else at_once) == (
            applies and name not in ("n_threads", "max_bytes", "records")
        ), (
            name,
            applies,
        )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"top_k": 99}, "top_k=99 does not apply to variant='driftmoe', where all experts learn"),
        ({"top_k": 3}, "top_k=3 does not apply to variant='driftmoe', where all experts learn"),
        ({"variant": "moe-task", "n_experts": 99}, "n_experts=99 does not apply to variant='moe-task', which has one"),
        ({"variant": "moe-task", "n_experts": 12}, "n_experts=12 does not apply to variant='moe-task'"),
        ({"variant": "moe-task", "top_k": 99}, "top_k=99 does not apply to variant='moe-task'"),
        ({"variant": "moe-data", "policy": TopK(1), "top_k": 5}, "top_k=5 does not apply beside policy=TopK.k=1, .*"),
        ({"gate": "equal", "extras": (), "hidden": (7,)}, "hidden=.* does not apply with gate='equal' and"),
        ({"gate": "equal", "extras": (), "learning_rate": 0.1}, "learning_rate=0.1 does not apply with gate='equal'"),
        ({"extras": ("head",), "memory": 128}, "memory=128 does not apply to extras=.'head',.: none of"),
        ({"expert": naive_bayes.GaussianNB(), "n_threads": 4}, "n_threads=4 does not apply to experts of GaussianNB"),
        ({"expert": naive_bayes.GaussianNB(), "monitors": True}, "monitors=True does not apply to experts of"),
        ({"expert": naive_bayes.GaussianNB(), "class_weight": {1: 2}}, "class_weight={1: 2} does not apply to experts"),
        ({"extras": (naive_bayes.GaussianNB(),), "class_weight": {1: 2}}, "learn_one of GaussianNB takes no weight"),
        ({"variant": "moe-data", "leverage": 6.0}, "leverage=6.0 .* variant='moe-data', only to 'driftmoe';"),
        ({"dropout": 0.5}, "dropout=0.5 .* variant='driftmoe', only to 'moe-vote', 'moe-data', 'moe-task';"),
        ({"extras": ("linear",), "min_trust": 0.1}, "min_trust=0.1 does not apply to extras=.'linear',.: none"),
        ({"variant": "moe-vote", "dropout": 0.1, "learning_rate": 0.0}, "dropout=0.1 does not apply with learning"),
    ],
)  # fmt: skip
def test_an_argument_without_effect_is_refused_also_where_it_has_its_defaults_value(given, message):
    with pytest.raises(ValueError, match=message):
        DriftMoEClassifier(**given)


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_asks_for_nothing_may_be_given_everywhere(variant):
    DriftMoEClassifier(variant, expert=naive_bayes.GaussianNB(), **IDLE)


def described(model):
    """Its settings as text; an empty tuple is a list in a clone."""
    return {name: repr([] if value == () else value) for name, value in model.settings.items()}


@pytest.mark.parametrize("case", CASES)
def test_a_clone_is_given_what_its_model_was_and_has_the_same_settings(case):
    model = make(case)
    clone = model.clone()
    for name, value in model._get_params().items():
        assert repr(clone._get_params()[name]) == repr(value)
    assert described(clone) == described(model)


def test_a_clone_may_change_the_variant():
    assert DriftMoEClassifier(seed=1).clone({"variant": "moe-data"}).settings["top_k"] == 3
    assert DriftMoEClassifier("moe-data", seed=1).clone({"variant": "moe-task"}).variant == "moe-task"


@pytest.mark.parametrize("leaf_prediction", ["mc", "nba", "nb"])
def test_a_trees_threshold_of_naive_bayes_is_for_leaves_that_ask_it_alone(leaf_prediction):
    settings = {"leaf_prediction": leaf_prediction, "nb_threshold": 50}
    trees = [TreePool(1, leaf_prediction=leaf_prediction, nb_threshold=n) for n in (0, 50)]
    plain, changed = (tree.step(X, Y).tolist() for tree in trees)
    assert (plain != changed) == (leaf_prediction == "nb")
    if leaf_prediction == "nb":
        assert HoeffdingTreeClassifier(**settings).nb_threshold == 50
    else:
        with pytest.raises(
            ValueError, match=f"nb_threshold=50 does not apply to leaf_prediction='{leaf_prediction}'"
        ):
            HoeffdingTreeClassifier(**settings)


def test_settings_are_those_in_force():
    assert DriftMoEClassifier("moe-task", seed=4).settings == {
        "variant": "moe-task", "expert": None, "hidden": (256, 128), "learning_rate": 0.002, "batch_size": 256,
        "dropout": 0.0, "n_threads": 1, "seed": 4,
    }  # fmt: skip
    adaptive = DriftMoEClassifier(n_experts=3).settings
    assert (adaptive["n_experts"], adaptive["hidden"], adaptive["batch_size"]) == (3, (128, 64), 32)
    assert not {"top_k", "dropout", "correction"} & set(adaptive)
    neural = NeuralMoEClassifier().settings
    assert (neural["extras"], neural["batch_size"], neural["expert_hidden"]) == (("head",), 16, (64,))


@pytest.mark.parametrize("variant", ["moe-vote", "moe-data"])
def test_fewer_experts_than_the_default_of_top_k_all_learn(variant):
    assert DriftMoEClassifier(variant, n_experts=2).settings["top_k"] == 2
    assert DriftMoEClassifier(variant, n_experts=2, policy=TopK(1)).settings["policy"] == TopK(1)
    with pytest.raises(ValueError, match="top_k=3 but there are 2 experts; choose 1 <= top_k <= 2"):
        DriftMoEClassifier(variant, n_experts=2, top_k=3)


def test_every_default_is_described_and_belongs_to_an_argument():
    for of in (DriftMoEClassifier, NeuralMoEClassifier):
        parameters = inspect.signature(of).parameters
        for mixture in MIXTURES.values():
            taken = {**EVERYWHERE, **mixture.ARGUMENTS, **of._own_arguments}
            for name in set(parameters) & set(taken):
                default = parameters[name].default  # `None` where it depends on the variant
                assert default is None or default == taken[name].default
    of_variants = [{*mixture.ARGUMENTS, *mixture.REASONS} for mixture in MIXTURES.values()]
    every = set(inspect.signature(DriftMoEClassifier).parameters)
    assert set(EVERYWHERE).union(*(mixture.ARGUMENTS for mixture in MIXTURES.values())) == every
    assert set().union(*of_variants) <= every
    assert all(not set(mixture.ARGUMENTS) & set(mixture.REASONS) for mixture in MIXTURES.values())
    assert set(OTHERS) >= set(inspect.signature(DriftMoEClassifier).parameters) - {"variant"}


def test_models_of_the_kept_results_and_of_the_studies_can_be_made():
    names = {name for study in ablation.STUDIES.values() for name in study}
    for path in (ROOT / "benchmarks" / "results").rglob("*.jsonl"):
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        names |= {line["model"] for line in lines if "stream" in line and "model" in line}
    ours = [
        name for name in names if name.startswith(("driftmoe", "moe-", "neural")) and name not in moa.LEARNERS
    ]
    assert len(ours) > 20
    for name in ours:
        models.make(name, seed=1)


def test_a_new_kind_of_extra_says_in_one_line_which_arguments_concern_it(monkeypatch):
    kind = EXTRAS["history"]
    for name, line in {
        "cheap": kind,
        "remembering": kind._replace(remembers=True),
        "costly": kind._replace(experts=Neighbours),
    }.items():
        monkeypatch.setitem(EXTRAS, name, line)
    for name, argument, applies in [
        ("cheap", {"memory": 128}, False),
        ("cheap", {"min_trust": 0.1}, False),
        ("remembering", {"memory": 128}, True),
        ("costly", {"min_trust": 0.1}, True),
    ]:
        with nullcontext() if applies else pytest.raises(ValueError, match="does not apply to extras"):
            DriftMoEClassifier(n_experts=2, extras=(name, "head"), **argument)
    assert not {"cheap", "remembering", "costly"} & set(DriftMoEClassifier().settings["extras"])


@pytest.mark.parametrize("name", EXTRAS)
def test_reports_call_extra_experts_what_users_call_them(name):
    experts = EXTRAS[name].make(64, np.random.default_rng(1))
    assert experts.kind == name
    assert type(experts) is EXTRAS[name].experts


@pytest.mark.parametrize("name", [*EXTRAS, "head"])
def test_a_river_classifier_is_no_built_in_expert_although_its_class_has_the_name_of_one(name):
    own = type(name, (naive_bayes.GaussianNB,), {})()
    DriftMoEClassifier(n_experts=2, extras=(own,), min_trust=0.1)
    mixture = DriftMoEClassifier(n_experts=2, extras=(own, "history", "head"))._mixture
    assert mixture._is_costly.tolist() == [True, False]
    assert len(set(mixture.expert_names([]))) == mixture.n_experts
    for given in {"memory": 128}, {"gate": "equal", "hidden": (7,)}:
        with pytest.raises(ValueError, match="does not apply"):
            DriftMoEClassifier(n_experts=2, extras=(own,), **given)
