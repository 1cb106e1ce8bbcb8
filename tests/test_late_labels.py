"""Labels that come late, in one call: each model gives what it gives sample by sample."""

from __future__ import annotations

import heapq
import random

import pandas as pd
import pytest
from river import base, naive_bayes

from driftmoe import DriftMoEClassifier
from driftmoe.nn import NeuralMoEClassifier
from driftmoe.routing import TopK, TopP, WithNull, WithShared

SMALL = {"hidden": (8,), "batch_size": 16, "seed": 1}
ALL_EXTRAS = ("neighbours", "relevant-neighbours", "history", "linear", "network", "head")


def of(variant="driftmoe", **arguments):
    return lambda: DriftMoEClassifier(variant, **(SMALL | arguments))


MODELS = {
    "defaults": lambda: DriftMoEClassifier(seed=1),
    "all extras": of(extras=ALL_EXTRAS, n_experts=2),
    "trees alone": of(extras=(), monitors=True),
    "equal gate": of(gate="equal"),
    "untrusted": of(extras=ALL_EXTRAS, min_trust=1.0, n_experts=2, memory=128),
    "null experts": of(policy=WithNull(TopP(0.7), 2)),
    "large steps": of(batch_size=300, n_experts=2),
    "moe-vote": of("moe-vote", n_experts=4),
    "moe-vote, null and shared": of("moe-vote", policy=WithShared(WithNull(TopK(2), 1), 1), n_experts=4),
    "moe-vote, corrected": of("moe-vote", correction=0.3, n_experts=4),
    "moe-data": of("moe-data", n_experts=4),
    "moe-data, corrected": of("moe-data", correction=0.3, n_experts=4),
    "moe-task": of("moe-task"),
    "networks": lambda: NeuralMoEClassifier(n_experts=3, hidden=(8,), seed=1),
    "networks, moe-data": lambda: NeuralMoEClassifier("moe-data", n_experts=3, hidden=(8,), seed=1),
    "few wait": of(extras=ALL_EXTRAS, n_experts=2, max_waiting=20),
    "class weights": of(extras=ALL_EXTRAS, n_experts=2, class_weight="balanced"),
    "bounded": of(max_features=5, max_classes=2),
    "little memory": of(max_bytes=400_000, n_experts=2),
    "threads": of(n_threads=2, n_experts=4, batch_size=128),
}
"""Name -> how it is made. None has experts that read dictionaries."""

ADAPTIVE = (
    "defaults",
    "all extras",
    "equal gate",
    "untrusted",
    "null experts",
    "large steps",
    "few wait",
    "class weights",
    "threads",
)
"""Names of models whose mixture is the adaptive one."""

OF_RIVER = {
    "river, driftmoe": of(extras=(naive_bayes.GaussianNB(), "linear"), n_experts=2),
    "river, moe-vote": of("moe-vote", expert=naive_bayes.GaussianNB(), n_experts=3, top_k=1),
    "river, moe-task": of("moe-task", expert=naive_bayes.GaussianNB()),
}


def drifting(n, seed=1, *, has_text=True):
    """Return samples of a concept that turns over; features, values and a class come, and some values lack."""
    rng, samples = random.Random(seed), []
    for i in range(n):
        x = {"a": rng.gauss(0.0, 1.0), "b": rng.randrange(4), "c": rng.gauss(3.0, 2.0)}
        if has_text:
            x["d"] = rng.choice("uvw") if rng.random() > 0.01 else f"rare {i}"
        if i > n // 3:
            x["e"] = rng.random()
        if has_text and rng.random() < 0.1:
            del x[rng.choice(sorted(x))]
        is_one = x.get("a", 0.0) + 0.3 * x.get("c", 3.0) > 1.0
        label = "two" if i > n // 2 and x.get("b") == 0 else ("one" if is_one != (i > 2 * n // 3) else "none")
        samples.append((x, label))
    return samples


def operations_of(samples, delay, seed=2, weights=(1.0,)):
    """Return (sample, label or None, weight, is asked) as they come if `delay` says how late each label is."""
    rng, waiting, operations = random.Random(seed), [], []
    for i, (x, y) in enumerate(samples):
        heapq.heappush(waiting, (i + delay(rng, x), i, x, y, rng.choice(weights)))
        is_first = waiting[0][:2] == (i, i)
        if not is_first:
            operations.append((x, None, 1.0, True))
        while waiting and waiting[0][0] <= i:
            _, j, *late = heapq.heappop(waiting)
            operations.append((*late, j == i and is_first))
    return operations


DELAYS = {
    "at once": lambda rng, x: 0,
    "1": lambda rng, x: 1,
    "30": lambda rng, x: 30,
    "0 to 50": lambda rng, x: rng.randint(0, 50),
    "by sample": lambda rng, x: 20 * int(x.get("b", 0)),
}


def one_after_the_other(model, operations, awaits):
    proba = []
    for x, y, w, is_asked in operations:
        ask = model.arrive_one if awaits and y is None else model.predict_proba_one
        proba.append(ask(x) if is_asked else None)
        if y is not None:
            model.learn_one(x, y, w)
    return proba


def together(model, operations, size, awaits):
    proba = []
    for start in range(0, len(operations), size):
        X, y, w, asked = zip(*operations[start : start + size], strict=True)
        proba += model.run_rows(X, y, w, asked=asked, awaits=awaits)
    return proba


def check(make, operations, sizes=(57, 10_000), *, awaits=False):
    single = make()
    expected = one_after_the_other(single, operations, awaits)
    for size in sizes:
        model = make()
        assert together(model, operations, size, awaits) == expected
        assert model.digest() == single.digest()
        assert (
            model.routing_report().cumulative.sums.tolist()
            == single.routing_report().cumulative.sums.tolist()
        )


@pytest.mark.filterwarnings("ignore:.*from now on")
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("delay", ["30", "0 to 50"])
def test_late_labels_give_what_single_calls_give(name, delay):
    check(MODELS[name], operations_of(drifting(500), DELAYS[delay]))


@pytest.mark.filterwarnings("ignore:.*from now on")
@pytest.mark.parametrize("name", ADAPTIVE)
@pytest.mark.parametrize("delay", ["30", "0 to 50"])
def test_samples_whose_labels_are_awaited_give_what_single_calls_give(name, delay):
    check(MODELS[name], operations_of(drifting(500), DELAYS[delay]), awaits=True)


@pytest.mark.parametrize("delay", DELAYS)
@pytest.mark.parametrize("name", ["all extras", "moe-data", "moe-task"])
def test_each_kind_of_delay_gives_what_single_calls_give(name, delay):
    operations = operations_of(drifting(300), DELAYS[delay], weights=(0.0, 0.5, 1.0, 3.0))
    check(MODELS[name], operations)
    check(MODELS[name], operations, awaits=True)


@pytest.mark.parametrize("name", OF_RIVER)
def test_late_labels_go_to_experts_that_read_dictionaries(name):
    """Their digest differs from run to run, so the models are compared by what they say and by the rest of them."""
    samples = drifting(170, has_text=False)
    operations, probes = operations_of(samples[:120], DELAYS["0 to 50"]), [x for x, _ in samples[120:]]
    single, model = OF_RIVER[name](), OF_RIVER[name]()
    assert together(model, operations, 57, True) == one_after_the_other(single, operations, True)
    assert model.predict_proba_rows(probes) == [single.predict_proba_one(x) for x in probes]
    ours, theirs = (one._mixture.router.state() for one in (model, single))
    assert ours["weights"].tobytes() == theirs["weights"].tobytes()


def test_trees_grow_and_are_replaced_as_with_single_calls():
    """Long enough that trees split and drift detectors fire."""
    operations = operations_of(drifting(3000, has_text=False), DELAYS["30"])
    model, single = MODELS["defaults"](), MODELS["defaults"]()
    assert together(model, operations, 700, True) == one_after_the_other(single, operations, True)
    assert model.digest() == single.digest()
    assert sum(model.routing_report().cumulative.replaced) > 0


def test_experts_that_are_asked_rarely_are_asked_as_by_single_calls():
    operations = operations_of(drifting(1500, has_text=False), DELAYS["30"])
    model, single = MODELS["untrusted"](), MODELS["untrusted"]()
    half = len(operations) // 2
    assert together(model, operations[:half], 300, True) == one_after_the_other(
        single, operations[:half], True
    )
    assert model._mixture._is_group_probed.any()
    assert together(model, operations[half:], 300, True) == one_after_the_other(
        single, operations[half:], True
    )
    assert model.digest() == single.digest()


def test_a_value_that_is_only_predicted_leaves_no_trace():
    """Its feature, value and number are not learnt, whatever is learnt in the same run."""
    model, other = MODELS["all extras"](), MODELS["all extras"]()
    samples = drifting(200)
    X, y = [x for x, _ in samples], [label for _, label in samples]
    strange = {"a": 1e6, "d": "never seen", "f": "nor this", "b": None}
    asked, labels = [], []
    for x, label in zip(X, y, strict=True):
        asked += [strange, x]
        labels += [None, label]
    model.run_rows(asked, labels)
    other.step_rows(X, y)
    assert model.digest() == other.digest()


class Counting(base.Classifier):
    """Says what it is asked for: a classifier that counts its predictions, over all its copies."""

    n_asked = 0

    def predict_proba_one(self, x):
        Counting.n_asked += 1
        return {0: 1.0}

    def learn_one(self, x, y):
        pass

    @property
    def _multiclass(self):
        return True


def asked_by(call):
    Counting.n_asked = 0
    call()
    return Counting.n_asked


@pytest.mark.parametrize(
    ("variant", "of_learnt", "of_predicted"), [("driftmoe", 1, 1), ("moe-data", 4, 1), ("moe-task", 2, 2)]
)
def test_experts_in_python_are_asked_no_more_than_by_single_calls(variant, of_learnt, of_predicted):
    """Where a router chooses the expert that answers, only it is asked for a sample that is not learnt."""
    experts = {"extras": (Counting(),), "n_experts": 2} if variant == "driftmoe" else {"expert": Counting()}
    model = of(variant, **(experts | ({"n_experts": 4} if variant == "moe-data" else {})))()
    X = [{"a": float(i)} for i in range(40)]
    model.step_rows(X, [i % 2 for i in range(40)])
    labels = [i % 2 if i % 3 == 0 else None for i in range(40)]
    n_learnt = sum(label is not None for label in labels)
    expected = of_learnt * n_learnt + of_predicted * (40 - n_learnt)
    assert asked_by(lambda: model.run_rows(X, labels)) == expected


def test_rows_of_no_weight_that_nobody_asks_for_are_not_predicted():
    model = of(extras=(Counting(),), n_experts=2)()
    frame, weights = pd.DataFrame({"a": range(40)}), [float(i % 4 == 0) for i in range(40)]
    model.learn_many(frame, [i % 2 for i in range(40)])
    assert asked_by(lambda: model.learn_many(frame, [i % 2 for i in range(40)], weights)) == 10


def test_rows_of_no_weight_change_no_frame():
    """The others are learnt as if they stood alone."""
    numbers = pd.DataFrame([x for x, _ in drifting(200, has_text=False)]).drop(columns="e")
    labels = [y for _, y in drifting(200, has_text=False)]
    weights = [float(i % 3) for i in range(200)]
    model, other = MODELS["all extras"](), MODELS["all extras"]()
    model.learn_many(numbers, labels, weights)
    kept = [i for i in range(200) if weights[i]]
    other.learn_many(numbers.iloc[kept], [labels[i] for i in kept], [weights[i] for i in kept])
    assert model.digest() == other.digest()
