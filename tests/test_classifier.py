"""`DriftMoEClassifier`: its arguments, and the experts that it is given."""

from __future__ import annotations

import pickle

import pandas as pd
import pytest
from river import base, datasets, forest, linear_model, multiclass, naive_bayes, preprocessing
from small_models import SEA, AlwaysSays, learnt, new_tree, small

import streams
from driftmoe import DriftMoEClassifier
from driftmoe.routing import Dense, TopK, TopP, WithNull, WithShared


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("n_experts", 6),
        ("top_k", 1),
        ("hidden", (6, 4)),
        ("learning_rate", 0.1),
        ("batch_size", 8),
        ("dropout", 0.5),
        ("seed", 4),
        ("expert", naive_bayes.GaussianNB()),
        ("variant", "moe-data"),
        ("variant", "moe-task"),
        ("variant", "driftmoe"),
        ("correction", 0.1),
        ("policy", Dense()),
        ("policy", TopP(0.5, renorm=True)),
        ("policy", WithNull(TopK(2), n_null=3)),
        ("learning_rate", 0.0),
    ],
)
def test_every_argument_changes_the_result(argument, value):
    default = {"variant": "moe-vote", "expert": new_tree(), "learning_rate": 0.02}
    samples = list(streams.make("waveform", seed=1, n_samples=200))

    def figures(arguments):
        model = small(arguments.pop("variant"), **arguments)
        for x, y in samples:
            model.learn_one(x, y)
        return [list(model.predict_proba_one(x).values()) for x, _ in samples]

    assert figures(default | {argument: value}) != figures(dict(default))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"variant": "moe"}, ValueError, "variant='moe'; available: driftmoe, moe-vote, moe-data, moe-task"),
        (
            {"variant": "moe-vote", "top_k": 13},
            ValueError,
            "top_k=13 but there are 12 experts; choose 1 <= top_k <= 12",
        ),
        ({"top_k": 0}, ValueError, "top_k=0; choose top_k >= 1"),
        ({"n_experts": 2.5}, TypeError, "n_experts=2.5 is of type float"),
        ({"batch_size": True}, TypeError, "batch_size=True is of type bool"),
        ({"dropout": 1.0}, ValueError, "dropout=1.0; choose 0 <= dropout < 1"),
        ({"learning_rate": -1.0}, ValueError, "learning_rate=-1.0"),
        ({"variant": "moe-vote", "correction": -0.1}, ValueError, "correction=-0.1; choose 0 or more"),
        ({"variant": "moe-vote", "correction": "a"}, TypeError, "correction='a' is of type str"),
        ({"correction": 0.1}, ValueError, "correction=0.1 does not apply to variant='driftmoe'"),
        ({"variant": "moe-task", "correction": 0.1}, ValueError, "does not apply to variant='moe-task'"),
        ({"hidden": (0,)}, ValueError, r"hidden=\(0,\)"),
        ({"hidden": 256}, TypeError, "hidden=256"),
        ({"seed": -1}, ValueError, "seed=-1"),
        ({"seed": "a"}, TypeError, "seed='a'"),
        ({"policy": "top-k"}, TypeError, "policy='top-k' is not a policy; give one of"),
        ({"variant": "moe-vote", "policy": TopK(13)}, ValueError, "k=13"),
        (
            {"policy": lambda logits: Dense()(logits[..., 1:])},
            ValueError,
            "chooses among 25 experts but there are 26",
        ),
        (
            {"variant": "moe-data", "policy": WithShared(TopK(1), 1)},
            ValueError,
            "shared experts do not work with variant='moe-data'",
        ),
        ({"expert": "ht"}, TypeError, "expert='ht' is not a river classifier"),
        ({"expert": linear_model.LogisticRegression()}, ValueError, "distinguishes only two classes"),
    ],
)
def test_wrong_argument_is_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        DriftMoEClassifier(**arguments)


def test_a_wrapped_binary_expert_is_welcome():
    expert = multiclass.OneVsRestClassifier(linear_model.LogisticRegression())
    model = learnt("driftmoe", list(datasets.ImageSegments().take(60)), expert=expert)
    assert sum(model.predict_proba_one({}).values()) == pytest.approx(1.0)


def test_an_expert_that_only_predicts_has_a_whole_vote():
    class Parrot(base.Classifier):
        _multiclass = True

        def __init__(self):
            self.last = None

        def learn_one(self, x, y):
            self.last = y

        def predict_one(self, x):
            return self.last

    model = learnt("driftmoe", SEA[:20], expert=Parrot())
    assert sorted(model.predict_proba_one({}).values())[-1] > 0.0
    assert sum(model.predict_proba_one({}).values()) == pytest.approx(1.0)


def test_seeds_reach_the_parts_of_an_expert():
    def figures():
        expert = preprocessing.StandardScaler() | forest.ARFClassifier(n_models=2, grace_period=10)
        model = learnt("driftmoe", SEA[:120], expert=expert, n_experts=3)
        return [list(model.predict_proba_one(x).values()) for x, _ in SEA[:20]]

    assert figures() == figures()


def test_before_any_vote_the_classes_are_equally_likely():
    class Silent(AlwaysSays):
        _multiclass = True

        def predict_proba_one(self, x):
            return {}

    model = learnt("moe-vote", [({"v": 0.0}, "a"), ({"v": 1.0}, "b")], expert=Silent(0))
    assert model.predict_proba_one({}) == {"a": 0.5, "b": 0.5}


def test_experts_with_a_seed_differ():
    model = DriftMoEClassifier(expert=forest.AMFClassifier(n_estimators=1, seed=1), n_experts=3, seed=1)
    assert len({expert.seed for expert in model._mixture.experts._experts}) == 3


def test_the_prototype_is_not_touched():
    prototype = naive_bayes.GaussianNB()
    before = pickle.dumps(prototype)
    learnt("driftmoe", SEA[:50], expert=prototype)
    assert pickle.dumps(prototype) == before


class Touchy(base.Classifier):
    """Counts labels, and what it learnt; raises where it is asked about, or taught, what it does not like."""

    _multiclass = True

    def __init__(self, dislikes="", seed=None):
        self.dislikes, self.seed = dislikes, seed
        self.learnt = []

    def predict_proba_one(self, x):
        if self.dislikes == "asked" and x["a"] == 13.0:
            raise ArithmeticError("asked about 13")
        return {y: 1.0 for _, y in self.learnt[-1:]}

    def learn_one(self, x, y):
        if self.dislikes == "taught" and x["a"] == 13.0:
            raise ArithmeticError("taught 13")
        self.learnt.append((x["a"], y))


@pytest.mark.parametrize("dislikes", ["asked", "taught"])
@pytest.mark.parametrize("in_a_block", [False, True], ids=["one by one", "in a block"])
def test_what_an_expert_raises_comes_through_when_all_others_have_learnt(dislikes, in_a_block):
    arguments = {"n_experts": 2, "hidden": (4,), "batch_size": 8, "seed": 1}
    patient, model = (
        DriftMoEClassifier(extras=(Touchy(), Touchy(whom), "history"), **arguments) for whom in ("", dislikes)
    )
    samples = [({"a": float(i)}, i % 2) for i in range(40)]
    for x, y in samples:
        patient.learn_one(x, y)
    if in_a_block:
        with pytest.raises(ArithmeticError, match=f"{dislikes} "):
            model.learn_many(pd.DataFrame([x for x, _ in samples]), [y for _, y in samples])
    else:
        for i, (x, y) in enumerate(samples):
            if i == 13:
                with pytest.raises(ArithmeticError, match=f"{dislikes} "):
                    model.learn_one(x, y)
            else:
                model.learn_one(x, y)
    (ours, touchy, history), (theirs, calm, other) = (m._mixture._extras for m in (model, patient))
    assert ours._experts[0].learnt == theirs._experts[0].learnt
    assert touchy._experts[0].learnt == [row for row in calm._experts[0].learnt if row[0] != 13.0]
    assert history._transition_counts.tolist() == other._transition_counts.tolist()
    assert [model.describe(e) for e in range(2)] == [patient.describe(e) for e in range(2)]
    assert model.routing_report().cumulative.n_samples == 40
    assert model._mixture.router.n_batches == 5
