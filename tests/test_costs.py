"""Costs of decisions: what is chosen, by hand and beside a loop over all answers, and which costs are refused."""

from __future__ import annotations

import copy
import pickle
from itertools import pairwise

import numpy as np
import pandas as pd
import polars as pl
import pytest
from compiled_or_not import plain
from river import checks, metrics
from small_models import SEA, learnt, small

import driftmoe
import streams
from driftmoe import DriftMoEClassifier, models
from driftmoe.costs import DecisionCosts
from driftmoe.evaluation import prequential
from driftmoe.metrics import MeanCost
from driftmoe.mixture.mixing import most_gain
from driftmoe.nn import NeuralMoEClassifier

VARIANTS = ("driftmoe", "moe-vote", "moe-data", "moe-task")


def cheapest(proba, costs):
    """The label of least expected cost, by sums over all true labels."""
    given = DecisionCosts(costs)
    expected = {said: sum(p * given.of(true, said) for true, p in proba.items()) for said in proba}
    return min(expected, key=expected.get)


def chosen(proba, costs, kernel=most_gain):
    best = np.empty(1, np.int64)
    kernel(np.array([list(proba.values())]), DecisionCosts(costs).gains(list(proba)), best)
    return list(proba)[best[0]]


@pytest.mark.parametrize("is_compiled", [True, False])
def test_two_classes_with_a_weight_are_a_threshold(is_compiled):
    kernel = plain(most_gain, is_compiled)
    # Fraud is chosen where 10 p > 1 - p, so above 1/11 = 0.0909.
    for p, answer in [(0.05, "fine"), (0.0905, "fine"), (0.0913, "fraud"), (0.5, "fraud")]:
        assert chosen({"fine": 1.0 - p, "fraud": p}, {"fraud": 10}, kernel) == answer


def test_a_threshold_of_a_fifth_is_a_cost_of_four():
    assert chosen({"no": 0.81, "yes": 0.19}, {"yes": (1 - 0.2) / 0.2}) == "no"
    assert chosen({"no": 0.79, "yes": 0.21}, {"yes": (1 - 0.2) / 0.2}) == "yes"


def test_costs_of_pairs_by_hand():
    # Answer a costs 0.3·1 + 0.3·6 = 2.1, b 0.4·1 + 0.3·1 = 0.7, c 0.4·1 + 0.3·0.5 = 0.55.
    costs = {("c", "a"): 6, ("b", "c"): 0.5}
    assert chosen({"a": 0.4, "b": 0.3, "c": 0.3}, costs) == "c"
    # A right answer may cost, too: a 0.6·2 + 0.4 = 1.6, b 0.6.
    assert chosen({"a": 0.6, "b": 0.4}, {("a", "a"): 2}) == "b"


def test_a_tie_goes_to_the_class_learnt_first():
    assert chosen({"a": 0.25, "b": 0.5, "c": 0.25}, {"a": 2, "c": 2}) == "a"
    assert chosen({"c": 0.25, "b": 0.5, "a": 0.25}, {"a": 2, "c": 2}) == "c"
    assert chosen({"b": 0.5, "a": 0.25, "c": 0.25}, {"a": 2, "c": 2}) == "b"


@pytest.mark.parametrize("is_of_pairs", [False, True])
def test_the_chosen_class_costs_least_for_random_costs(is_of_pairs):
    rng = np.random.default_rng(4)
    for _ in range(200):
        labels = list(range(int(rng.integers(1, 6))))
        proba = dict(zip(labels, rng.dirichlet(np.ones(len(labels))).tolist(), strict=True))
        keys = [(int(a), int(b)) for a, b in rng.integers(0, 6, (4, 2))] if is_of_pairs else [0, 3]
        costs = {key: float(rng.exponential(3.0)) for key in keys}
        assert chosen(proba, costs) == cheapest(proba, costs)


def test_equal_costs_choose_the_most_probable_class_to_the_last_bit():
    rng = np.random.default_rng(5)
    for proba in rng.dirichlet(np.full(7, 50.0), 300):
        near = np.where(rng.random(7) < 0.5, proba[0], np.nextafter(proba[0], 1.0))
        assert chosen(dict(enumerate(near.tolist())), {3: 1}) == near.argmax()


@pytest.mark.parametrize(
    ("costs", "error", "message"),
    [
        ({}, ValueError, "decision_costs is empty; name a label"),
        ([1, 2], TypeError, r"decision_costs=\[1, 2\] is of type list; give a dict of labels"),
        (3.0, TypeError, "is of type float; give a dict"),
        ({"a": 1, ("a", "b"): 2}, ValueError, "mixes labels and pairs"),
        ({("a", "b", "c"): 1}, ValueError, "a tuple stands for a pair"),
        ({None: 1}, ValueError, "has the key None, but no sample has the label None"),
        ({("a", float("nan")): 1}, ValueError, "no sample has the label nan"),
        ({"a": "2"}, TypeError, "has the cost '2' for 'a'; give a number from 0 to 1e.15"),
        ({"a": True}, TypeError, "has the cost True for 'a'"),
        ({"a": -1}, ValueError, r"has the cost -1 for 'a'; choose 0 <= cost <= 1e.15"),
        ({"a": float("nan")}, ValueError, "has the cost nan"),
        ({"a": float("inf")}, ValueError, "has the cost inf"),
        ({"a": 1e16}, ValueError, "has the cost 1e.16"),
        ({"a": 10**400}, ValueError, "has the cost 1000.*000 for 'a'; choose"),
    ],
)
@pytest.mark.parametrize("make", [DriftMoEClassifier, NeuralMoEClassifier])
def test_wrong_costs_are_refused(make, costs, error, message):
    with pytest.raises(error, match=message):
        make(decision_costs=costs)


def with_and_without(variant, costs, samples=SEA):
    return learnt(variant, samples, decision_costs=costs), learnt(variant, samples)


@pytest.mark.parametrize("variant", VARIANTS)
def test_costs_change_decisions_but_no_probability(variant):
    costly, model = with_and_without(variant, {1: 0.1})
    rows = [x for x, _ in SEA[:200]]
    for x in rows:
        proba = model.predict_proba_one(x)
        assert costly.predict_proba_one(x) == proba
        assert costly.predict_one(x) == cheapest(proba, {1: 0.1})
    answers = [costly.predict_one(x) for x in rows]
    assert answers != [model.predict_one(x) for x in rows]
    assert costly.predict_many(pd.DataFrame(rows)).tolist() == answers
    assert costly.predict_many(pl.DataFrame(rows)).to_list() == answers


@pytest.mark.parametrize("costs", [{1: 0.05}, {(0, 1): 3, (1, 1): 0.2}, {"never": 4}], ids=str)
@pytest.mark.parametrize("variant", VARIANTS)
def test_blocks_and_the_evaluator_decide_as_single_samples_do(variant, costs):
    stream = streams.make("sea", seed=5, n_samples=400)
    one, block = (small(variant, decision_costs=costs) for _ in range(2))
    expected = []
    for x, y in stream:
        expected.append(one.predict_one(x))
        one.learn_one(x, y)
    legend = {
        "names": [f.name for f in stream.features], "values": [f.values for f in stream.features],
        "classes": stream.classes,
    }  # fmt: skip
    answers = [label for X, y in stream.blocks(50) for label in block.step_many(X, y, **legend)]
    assert answers == expected
    evaluated = prequential(
        stream, small(variant, decision_costs=costs), window=100, keep_predictions=True, count_warm_up=True
    )
    assert [said for checkpoint in evaluated for _, said in checkpoint.predictions] == expected


def test_the_evaluator_gives_the_mean_cost_of_all_and_of_each_window():
    costs, stream = {1: 0.05, 0: 2}, streams.make("sea", seed=5, n_samples=400)
    run = prequential(
        stream, small("driftmoe", decision_costs=costs), window=100, keep_predictions=True, count_warm_up=True
    )
    so_far = []
    for checkpoint in run:
        of_window = [DecisionCosts(costs).of(*pair) for pair in checkpoint.predictions]
        so_far += of_window
        assert checkpoint.window["mean_cost"] == pytest.approx(np.mean(of_window))
        assert checkpoint.cumulative["mean_cost"] == pytest.approx(np.mean(so_far))
    (plain_run,) = prequential(stream, small("driftmoe"), window=400)
    assert "mean_cost" not in plain_run.cumulative


def test_the_mean_cost_counts_weights_and_no_answer():
    costs = DecisionCosts({"a": 4})
    pairs = {("a", "a"): 2.0, ("a", None): 1.0, ("b", "a"): 3.0, ("b", None): 2.0}
    assert costs.mean(pairs) == (4 + 3 + 2) / 8
    assert costs.mean({}) == 0.0
    assert DecisionCosts({("a", "b"): 4}).of("a", None) == 1.0


def test_the_metric_of_costs_is_one_of_river():
    metric = MeanCost({("a", "b"): 3, ("b", "b"): 0.5})
    for true, said in zip("aabb", "abba", strict=True):
        metric.update(true, said)
    assert metric.get() == (0 + 3 + 0.5 + 1) / 4
    metric.revert("a", "b")
    assert metric.get() == 1.5 / 3
    assert metric.clone().get() == 0.0
    both = metrics.Accuracy() + MeanCost({"a": 2})
    both.update("a", "b")
    assert [one.get() for one in both] == [0.0, 2.0]
    assert not metric.bigger_is_better
    with pytest.raises(ValueError, match="costs is empty"):
        MeanCost({})


@pytest.mark.parametrize("costs", [{1: 5, "one": np.float64(2.0)}, {(0, 1): 0.25}], ids=str)
def test_costs_are_saved_cloned_pickled_and_copied(costs, tmp_path):
    model = learnt("moe-data", SEA[:60], decision_costs=costs)
    model.save(tmp_path / "costs.moe")
    copies = driftmoe.load(tmp_path / "costs.moe"), pickle.loads(pickle.dumps(model)), copy.deepcopy(model)
    for one in copies:
        assert one.settings["decision_costs"] == costs
        assert [one.predict_one(x) for x, _ in SEA] == [model.predict_one(x) for x, _ in SEA]
    assert copies[0].digest() == model.digest()
    assert model.clone().decision_costs == costs
    assert "decision_costs" not in small("moe-data").settings


def test_the_order_of_the_costs_does_not_matter():
    one, other = (
        learnt("moe-data", SEA[:60], decision_costs=costs) for costs in ({0: 2, 1: 3}, {1: 3, 0: 2})
    )
    assert one.digest() == other.digest()
    assert one.digest() != learnt("moe-data", SEA[:60], decision_costs={0: 2, 1: 4}).digest()


def test_a_trained_model_can_be_given_other_costs():
    model = learnt("driftmoe", SEA)
    other = model.clone({"decision_costs": {1: 0.1}}, include_attributes=True)
    answers = [other.predict_one(x) for x, _ in SEA]
    assert answers == [cheapest(model.predict_proba_one(x), {1: 0.1}) for x, _ in SEA]
    assert answers != [model.predict_one(x) for x, _ in SEA]


def test_deciding_changes_nothing_in_the_model():
    model = learnt("driftmoe", SEA[:60], decision_costs={0: 3})
    before = pickle.dumps(model)
    for x, _ in SEA[:5]:
        model.predict_one(x)
    model.predict_many(pd.DataFrame([x for x, _ in SEA[:5]]))
    assert pickle.dumps(model) == before


class Overtaken(list):
    """Classes that, whenever they are read, let another thread ask for the gains of others first."""

    def __init__(self, labels, ask_others):
        super().__init__(labels)
        self.ask_others, self.shapes = ask_others, []

    def __iter__(self):
        self.shapes.append(self.ask_others().shape)
        return super().__iter__()


@pytest.mark.parametrize(("costs", "n_rows"), [({"a": 3}, 1), ({("a", "b"): 3}, 3)], ids=str)
def test_gains_are_those_of_the_classes_asked_for_while_others_ask(costs, n_rows):
    of = DecisionCosts(costs)
    classes = Overtaken(["a", "b"], lambda: of.gains(["a", "b", "c"]))
    for _ in range(3):
        assert of.gains(classes).shape == (min(n_rows, 2), 2)
    assert set(classes.shapes) == {(n_rows, 3)}


def test_probabilities_of_other_classes_are_not_decided_on():
    model = small("moe-data", decision_costs={"a": 2})
    with pytest.raises(ValueError, match="probabilities of 3 classes"):
        model._chosen(np.full((1, 3), 1 / 3), ["a", "b"])


def test_a_later_change_of_the_given_costs_changes_nothing(tmp_path):
    costs, neural = {1: 5}, {1: 5}
    models_of = [
        learnt("moe-data", SEA[:60], decision_costs=costs), NeuralMoEClassifier(decision_costs=neural, seed=1)
    ]  # fmt: skip
    metric = MeanCost(costs)
    costs[1] = neural[1] = -3
    costs["new"] = neural["new"] = "nonsense"
    for model in models_of:
        assert model.settings["decision_costs"] == {1: 5}
        model.save(tmp_path / "costs.moe")
        assert driftmoe.load(tmp_path / "costs.moe").decision_costs == {1: 5}
        assert model.clone().decision_costs == {1: 5}
    assert metric.clone().costs == {1: 5}


def test_the_metric_of_costs_is_shown_as_a_number_and_not_as_a_share():
    metric = MeanCost({"a": 2500})
    metric.update("a", "b")
    assert repr(metric) == "MeanCost: 2,500."


def test_without_a_class_there_is_no_decision_and_one_class_is_always_chosen():
    model = small("driftmoe", decision_costs={"rare": 100})
    assert model.predict_one({"a": 1.0}) is None
    model.learn_one({"a": 1.0}, "often")
    assert model.predict_one({"a": 1.0}) == "often"
    model.learn_one({"a": 1.0}, "rare")
    assert model.predict_one({"a": 1.0}) == "rare"


def test_a_higher_cost_misses_fewer():
    recalls = []
    for cost in (0.2, 1, 5):
        model, stream = (
            small("driftmoe", decision_costs={1: cost}),
            streams.make("sea", seed=2, n_samples=1500),
        )
        (checkpoint,) = prequential(stream, model, window=1500, keep_predictions=True)
        positives = [said for true, said in checkpoint.predictions if true == 1]
        recalls.append(positives.count(1) / len(positives))
    assert all(lower < higher for lower, higher in pairwise(recalls))


def test_river_checks_hold_with_costs():
    checks.check_estimator(DriftMoEClassifier(n_experts=3, hidden=(8,), seed=1, decision_costs={True: 5}))


def test_a_model_with_costs_is_written_as_text():
    model = models.make("driftmoe(decision_costs={'1': 5, 1: 2})", seed=1)
    assert model.settings["decision_costs"] == {"1": 5, 1: 2}
    assert models.make("moe-data(decision_costs={('a', 'b'): 0.5})").decision_costs == {("a", "b"): 0.5}
    assert models.make("neural(decision_costs={1: 2})").decision_costs == {1: 2}
    with pytest.raises(ValueError, match=r"model 'driftmoe': decision_costs has the cost -1 for 'a'"):
        models.make("driftmoe(decision_costs={'a': -1})")
