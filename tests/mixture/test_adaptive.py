"""The adaptive mixture: what each argument does, whom the gate trusts and asks, what it learns."""

from __future__ import annotations

import math

import numpy as np
import pytest
from river import base, naive_bayes

import streams
from driftmoe import DriftMoEClassifier
from driftmoe.evaluation import prequential
from driftmoe.experts import Batch
from driftmoe.mixture import PROBE
from driftmoe.routing import Dense, TopK, WithNull, WithShared
from driftmoe.transaction import StepPlan
from driftmoe.trees import HoeffdingTreeClassifier
from streams.drift import Switching
from streams.synthetic import LEDDrift

SMALL = {"n_experts": 3, "hidden": (8,), "seed": 2}


def accuracy(model, stream):
    *_, last = prequential(stream, model, window=10**9)
    return last.cumulative["accuracy"]


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("extras", ()),
        ("extras", ("head",)),
        ("extras", ("neighbours", "head")),
        ("extras", ("relevant-neighbours",)),
        ("extras", ("linear",)),
        ("extras", ("network",)),
        ("extras", ("products",)),
        ("extras", ("sequence",)),
        ("extras", ("history", naive_bayes.GaussianNB())),
        ("memory", 64),
        ("monitors", False),
        ("gate", "router"),
        ("gate", "recency"),
        ("gate", "equal"),
        ("leverage", 1.0),
        ("n_experts", 1),
        ("hidden", (9,)),
        ("batch_size", 16),
        ("learning_rate", 0.01),
        ("learning_rate", 0.0),
        ("seed", 3),
        ("policy", TopK(2)),
        ("policy", WithNull(TopK(2), n_null=8)),
        ("policy", WithShared(TopK(2), n_shared=1)),
        ("expert", HoeffdingTreeClassifier(grace_period=20)),
        ("expert", naive_bayes.GaussianNB()),
    ],
)
def test_every_argument_changes_the_result(argument, value):
    stream = list(streams.make("waveform", seed=1, n_samples=400))
    stream = stream[:250] + [(x, (y + 1) % 3) for x, y in stream[250:]]  # monitors want a drift

    def figures(arguments):
        model = DriftMoEClassifier(**arguments)
        for x, y in stream:
            model.learn_one(x, y)
        return [list(model.predict_proba_one(x).values()) for x, _ in stream[:50]]

    changed = SMALL | {argument: value}
    assert figures(changed) != figures(SMALL)
    assert figures(changed) == figures(changed)


def test_an_equal_gate_gives_all_that_vote_the_same_weight():
    model = DriftMoEClassifier(gate="equal", **SMALL)
    accuracy(model, streams.make("rbf_f", seed=1, n_samples=500))
    weights, expert_proba = model._mixture.votes(
        Batch(np.zeros((1, 10)), np.zeros((1, 10), np.float32), [], n_classes=2)
    )
    assert (expert_proba.sum(axis=2) > 0).all()
    np.testing.assert_allclose(weights, 1.0 / weights.shape[1])


@pytest.mark.parametrize(("gate", "follows"), [("router", False), ("recency", True), ("learnt", True)])
def test_only_a_gate_with_memories_follows_who_has_been_right_just_now(gate, follows):
    model = DriftMoEClassifier(gate=gate, **SMALL)
    accuracy(model, streams.make("rbf_f", seed=1, n_samples=600))
    row = Batch(np.full((1, 10), 0.5), np.zeros((1, 10), np.float32), [], n_classes=2)
    before, _ = model._mixture.votes(row)
    model._mixture._log_likelihood_memories[:, 0] = 0.0  # the first tree has never been wrong
    after, _ = model._mixture.votes(row)
    assert bool(after[0, 0] > before[0, 0] + 0.01) == follows


class Says(base.Classifier):
    """Says always the same class, once it has seen both."""

    def __init__(self, label):
        self.label = label
        self.seen = set()

    def learn_one(self, x, y):
        self.seen.add(y)

    def predict_proba_one(self, x):
        return {self.label: 0.9, 1 - self.label: 0.1} if len(self.seen) == 2 else {}

    @property
    def _multiclass(self):
        return True


@pytest.mark.parametrize(("learning_rate", "learns"), [(2e-3, True), (0.0, False)])
def test_the_router_learns_whom_to_trust_where(learning_rate, learns):
    """Two experts that learn nothing, each right in one half: only the router can tell the halves apart."""
    rng = np.random.default_rng(0)
    X = rng.uniform(-1.0, 1.0, (3000, 2))
    y = (X[:, 0] > 0.0).astype(int)
    model = DriftMoEClassifier(
        expert=Says(0), n_experts=1, extras=(Says(1),), gate="router", learning_rate=learning_rate, seed=1
    )
    names = {"names": ["a", "b"], "values": [None, None], "classes": [0, 1]}
    predicted = np.array(model.step_many(X, y, **names)[1:])
    of_late = (predicted[-1000:] == y[-1000:]).mean()
    assert (of_late > 0.9) == learns


@pytest.mark.parametrize(("learning_rate", "learns"), [(2e-3, True), (0.0, False)])
def test_the_head_learns_the_classes(learning_rate, learns):
    model = DriftMoEClassifier(n_experts=1, extras=("head",), learning_rate=learning_rate, seed=1)
    accuracy(model, streams.make("hyperplane", seed=1, n_samples=3000))
    assert (model.routing_report().window.of_each()["head"]["accuracy"] > 0.8) == learns


def test_memory_weights_grow_where_the_label_follows_the_past():
    """Labels in long runs, which two constant experts know in turn; features tell nothing."""
    rng = np.random.default_rng(0)
    y = np.repeat(rng.integers(0, 2, 60), 50)
    model = DriftMoEClassifier(expert=Says(0), n_experts=1, extras=(Says(1),), gate="recency", seed=1)
    before = model._mixture._memory_weights.copy()
    predicted = np.array(
        model.step_many(rng.random((3000, 1)), y, names=["a"], values=[None], classes=[0, 1])[1:]
    )
    assert (model._mixture._memory_weights > before).any()
    assert (predicted == y[1:]).mean() > 0.9


def test_a_policy_chooses_who_has_been_right_lately():
    rng = np.random.default_rng(0)
    y = np.repeat(rng.integers(0, 2, 60), 50)
    model = DriftMoEClassifier(
        expert=Says(0), n_experts=1, extras=(Says(1),), gate="recency", policy=TopK(1), min_trust=0.0, seed=1
    )
    predicted = np.array(
        model.step_many(rng.random((3000, 1)), y, names=["a"], values=[None], classes=[0, 1])[1:]
    )
    assert (
        predicted == y[1:]
    ).mean() > 0.6  # it learns of a change when the router steps, 16 of 50 samples late
    assert model.routing_report().cumulative.experts_used <= 1.0  # nobody votes before both classes are known


def test_shared_trees_do_not_keep_the_others_from_learning():
    model = DriftMoEClassifier(n_experts=3, extras=("history",), policy=WithShared(TopK(1), 1), seed=1)
    outputs = np.full((2, 4), -5.0, np.float32)
    outputs[0, 2] = outputs[1, 3] = 5.0  # the third tree; the history
    learning = model._mixture._learning(model._mixture._choose(outputs, StepPlan()))
    assert learning.tolist() == [[True, False, True], [True, True, True]]


def test_where_nulls_alone_are_chosen_no_expert_is_used():
    model = DriftMoEClassifier(
        n_experts=2, extras=(), policy=WithNull(TopK(1), n_null=5), learning_rate=0.0, gate="router", seed=1
    )
    for x, y in streams.make("sea", seed=1, n_samples=300):
        model.learn_one(x, y)
    figures = model.routing_report().cumulative
    assert 0.0 < figures.null_share < 1.0
    assert figures.experts_used == pytest.approx(1.0 - figures.null_share, abs=0.02)


@pytest.mark.parametrize("policy", [TopK(1), WithNull(TopK(1), n_null=5)], ids=str)
def test_trees_learn_where_none_is_chosen_unless_nulls_are(policy):
    model = DriftMoEClassifier(n_experts=2, extras=("history",), policy=policy, gate="router", seed=1)
    mixture = model._mixture
    n_null = mixture.n_logits - mixture.n_experts
    outputs = np.full((3, mixture.n_logits), -5.0, np.float32)
    outputs[0, 1] = outputs[1, 2] = outputs[2, -1] = (
        5.0  # a tree, the history, the last: a null where there are some
    )
    learning = mixture._learning(mixture._choose(outputs, StepPlan()))
    assert learning.tolist() == [[False, True], [True, True], [n_null == 0] * 2]


def asked_of_neighbours(stream, **arguments):
    """Run over a stream, and return for which samples each kind of neighbours was asked."""
    model = DriftMoEClassifier(seed=1, **arguments)
    asked = [[], []]
    for neighbours, of_kind in zip(model._mixture._extras[:2], asked, strict=True):
        plan = neighbours.plan

        def spy(rows, *, asked, changes, plan=plan, of_kind=of_kind):
            of_kind.extend(asked.tolist())
            return plan(rows, asked=asked, changes=changes)

        neighbours.plan, neighbours.is_repeatable = spy, False  # so that each step is planned
    for _ in prequential(stream, model):
        pass
    return np.array(asked)


def test_whom_the_gate_hardly_trusts_is_asked_now_and_then():
    stream = streams.make(
        "led", seed=1, n_samples=6000
    )  # of 24 features 17 mean nothing: neighbours are of no use
    late = asked_of_neighbours(stream)[:, 4500:]
    assert 1.0 / PROBE <= late.mean() < 0.6
    assert asked_of_neighbours(stream, min_trust=0.0).all()


def test_all_are_asked_again_when_the_loss_rises():
    concepts = [LEDDrift(n_drift_features=k, seed=k) for k in (1, 7)]
    asked = asked_of_neighbours(Switching(concepts, [6000], n_samples=6400))
    assert asked[:, 6040:6200].mean() > asked[:, 5000:6000].mean() + 0.4


def test_dense_is_no_policy():
    stream = list(streams.make("sea", seed=1, n_samples=200))
    labels = []
    for policy in (None, Dense()):
        model = DriftMoEClassifier(policy=policy, **SMALL)
        labels.append([])
        for x, y in stream:
            labels[-1].append(model.predict_one(x))
            model.learn_one(x, y)
    assert labels[0] == labels[1]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"extras": "head"}, TypeError, "give a tuple of neighbours"),
        (
            {"extras": ("trees",)},
            ValueError,
            "unknown 'trees'; available: neighbours, relevant-neighbours, history",
        ),
        ({"extras": (3,)}, TypeError, "3 is not a river classifier"),
        ({"extras": ("head", "head")}, ValueError, "names an expert twice"),
        ({"memory": 100}, ValueError, "memory=100; choose a multiple of 64"),
        ({"memory": 64.0}, TypeError, "memory=64.0 is of type float"),
        ({"monitors": "no"}, TypeError, "monitors='no'; choose True or False"),
        ({"gate": "none"}, ValueError, "gate='none'; available: learnt, router, recency, equal"),
        ({"gate": []}, ValueError, "gate=\\[\\]; available: learnt"),
        ({"policy": TopK(2), "gate": "equal"}, ValueError, "does not apply with gate='equal', which ignores"),
        ({"variant": "moe-task", "policy": TopK(2)}, ValueError, "does not apply to variant='moe-task'"),
        ({"variant": "moe-data", "memory": 64}, ValueError, "memory=64 does not apply to variant='moe-data'"),
        (
            {"variant": "moe-task", "extras": ()},
            ValueError,
            "extras=\\(\\) does not apply to variant='moe-task'",
        ),
        ({"leverage": 0.0}, ValueError, "leverage=0.0; choose 0 < leverage"),
        ({"leverage": "6"}, TypeError, "leverage='6' is of type str"),
        ({"min_trust": 1.5}, ValueError, "min_trust=1.5; choose 0 <= min_trust <= 1"),
        ({"dropout": 0.5}, ValueError, "does not apply to variant='driftmoe'"),
        ({"policy": TopK(99)}, ValueError, "k=99"),
    ],
)
def test_wrong_argument_is_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        DriftMoEClassifier(**arguments)


def test_an_expert_that_becomes_right_is_found_again():
    """Noise first, which makes all experts useless, then a concept that only neighbours know."""
    rng = np.random.default_rng(0)
    model = DriftMoEClassifier(extras=("neighbours",), n_experts=2, seed=1)
    X = rng.random((6000, 2))
    checker = ((X * 6).astype(int).sum(axis=1)) % 2
    y = np.where(np.arange(6000) < 2000, rng.integers(0, 2, 6000), checker)
    names = {"names": ["a", "b"], "values": [None, None], "classes": [0, 1]}
    predicted = np.array(model.step_many(X, y, **names)[1:])
    assert (predicted[-1000:] == y[-1000:]).mean() > 0.85
    assert model._mixture._average_gate_weights[1] > 0.5


@pytest.mark.parametrize("name", ["rbf_f", "led_a", "sea_a", "agrawal_a"])
def test_it_beats_each_variant_of_the_paper(name):
    def of(model):
        return accuracy(model, streams.make(name, seed=4, n_samples=5000))

    assert of(DriftMoEClassifier(seed=1)) > max(
        of(DriftMoEClassifier(v, seed=1)) for v in ("moe-data", "moe-task")
    )


def test_shuffled_labels_cannot_be_predicted():
    """No way from a label to its own prediction."""
    rng = np.random.default_rng(1)
    X, y = rng.random((3000, 4)), rng.integers(0, 2, 3000)
    model = DriftMoEClassifier(seed=1)
    names = {"names": list("abcd"), "values": [None] * 4, "classes": [0, 1]}
    predicted = np.array(model.step_many(X, y, **names)[1:])
    assert abs((predicted == y[1:]).mean() - 0.5) < 4 * math.sqrt(0.25 / 3000)


def test_a_river_classifier_is_one_expert_more():
    model = DriftMoEClassifier(extras=(naive_bayes.GaussianNB(), "head"), n_experts=2, seed=1)
    stream = list(streams.make("waveform", seed=1, n_samples=300))
    for x, y in stream:
        model.learn_one(x, y)
    assert model._mixture.n_experts == 4
    x = stream[0][0]
    assert sum(model.predict_proba_one(x).values()) == pytest.approx(1.0)
