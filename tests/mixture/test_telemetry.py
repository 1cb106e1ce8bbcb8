"""What the routing did, counted: by a readable twin, by hand, and by what has to add up."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from reference.telemetry import tally_slowly
from river import base, naive_bayes

import streams
from driftmoe import DriftMoEClassifier
from driftmoe.classifier import VARIANTS
from driftmoe.evaluation import prequential
from driftmoe.mixture.routing_figures import CHOSEN, ENTROPY, MISSED, NULL, RIGHT, VOTED, WAS_RIGHT, WEIGHT
from driftmoe.mixture.telemetry import RoutingLog, tally
from driftmoe.mixture.watch import NO_VOTE, SAID_RIGHT
from driftmoe.routing import STREAM, Dense, TopK, TopP, WithNull, WithShared, first_right, tsallis_entropy

SMALL = {"hidden": (8,), "batch_size": 32, "seed": 3}


def small(variant, **arguments):
    sizes = {} if variant == "moe-task" else {"n_experts": 4}
    if variant in ("moe-data", "moe-vote") and arguments.get("policy") is None:
        sizes["top_k"] = 2
    return DriftMoEClassifier(variant, **(SMALL | sizes | arguments))


def learnt(model, samples):
    for x, y in samples:
        model.learn_one(x, y)
    return model


@pytest.mark.parametrize("is_compiled", [True, False])
@pytest.mark.parametrize("kind", ["logits", "weights", "one against the rest"])
def test_the_sums_are_those_of_the_readable_twin(kind, is_compiled):
    rng = np.random.default_rng(4)
    n, n_experts, n_classes = 200, 5, 5
    mask = rng.random((n, n_experts)) < 0.5
    weights = rng.random((n, n_experts)) * mask
    weights /= np.maximum(weights.sum(axis=1, keepdims=True), 1e-300)
    n_null = rng.integers(0, 3, n)
    logits = rng.normal(scale=3.0, size=(n, 7))
    logits[::5, 2] = -np.inf
    if kind == "one against the rest":
        expert_proba = rng.random((n, n_experts, 1))
        votes = expert_proba[:, :, 0].tolist()
    else:
        expert_proba = rng.integers(0, 4, (n, n_experts, n_classes)) / 4.0  # ties, and rows without a vote
        expert_proba[rng.random((n, n_experts)) < 0.2] = 0.0
        votes = expert_proba.tolist()
    proba = rng.integers(1, 4, (n, n_classes)).astype(float)
    targets = np.minimum(rng.integers(0, n_classes, n), np.arange(n) // 10)
    rows = [
        {
            "target": int(targets[i]), "logits": logits[i].tolist() if kind == "logits" else None,
            "weights": weights[i].tolist(), "mask": mask[i].tolist(), "n_null": int(n_null[i]),
            "votes": votes[i], "answer": proba[i].tolist(),
        }
        for i in range(n)
    ]  # fmt: skip
    totals, experts, n_known = tally_slowly(rows, 1)

    sums, of_experts, said = np.zeros(4), np.zeros((4, n_experts)), np.empty((n, n_experts + 1), np.int8)
    belief = logits if kind == "logits" else weights
    function = tally if is_compiled else tally.py_func
    seen = np.array([7, 1])  # samples and classes before
    function(
        belief, kind == "logits", weights, mask, n_null, expert_proba, kind == "one against the rest", proba,
        targets, seen, sums, of_experts, said,
    )  # fmt: skip
    assert seen.tolist() == [7 + n, n_known]
    expected = [totals["entropy"], totals["null"], totals["right"], totals["missed"]]
    np.testing.assert_allclose(sums[[ENTROPY, NULL, RIGHT, MISSED]], expected, rtol=1e-12)
    for place, name in ((CHOSEN, "chosen"), (WEIGHT, "weight"), (VOTED, "voted"), (WAS_RIGHT, "right")):
        np.testing.assert_allclose(of_experts[place], [e[name] for e in experts], rtol=1e-12)
    assert (said != NO_VOTE).sum(axis=0).tolist() == [*(e["voted"] for e in experts), n]
    assert (said == SAID_RIGHT).sum(axis=0).tolist() == [*(e["right"] for e in experts), totals["right"]]


def test_the_entropy_is_that_of_routing():
    logits = np.random.default_rng(5).normal(scale=3.0, size=(50, 12))
    expected = tsallis_entropy(first_right(torch.from_numpy(logits)), q=1.0).sum().item()
    sums = np.zeros(4)
    weights, votes = np.ones((50, 12)) / 12, np.ones((50, 12, 2))
    tally(
        logits, True, weights, weights > 0, np.empty(0, np.int64), votes, False, votes[:, 0],
        np.zeros(50, np.int64), np.array([0, 2]), sums, np.zeros((4, 12)), np.empty((50, 13), np.int8),
    )  # fmt: skip
    assert sums[ENTROPY] == pytest.approx(expected, rel=1e-8)


def test_no_logit_is_too_large_for_the_entropy():
    sums, weights, votes = np.zeros(4), np.ones((2, 2)), np.ones((2, 2, 2))
    logits = np.array([[2000.0, -2000.0], [-2000.0, -2000.0]])
    tally(
        logits, True, weights, weights > 0, np.empty(0, np.int64), votes, False, votes[:, 0],
        np.zeros(2, np.int64), np.array([0, 2]), sums, np.zeros((4, 2)), np.empty((2, 3), np.int8),
    )  # fmt: skip
    assert sums[ENTROPY] == 1.0


class Says(base.Classifier):
    """Always gives one answer, the first class of the stream or the second, once it has learnt it."""

    def __init__(self, place=0):
        self.place = place
        self.seen = set()

    def learn_one(self, x, y):
        self.seen.add(y)

    def predict_proba_one(self, x):
        return {self.place: 1.0} if self.place in self.seen else {}

    @property
    def _multiclass(self):
        return True


def test_figures_by_hand():
    # Labels a, a, b, a: two experts that always say a; the first sample of a class cannot be right.
    model = DriftMoEClassifier("moe-vote", expert=Says(0), n_experts=2, top_k=2, batch_size=8, seed=1)
    learnt(model, [({"v": 1.0}, label) for label in "aaba"])
    figures = model.routing_report().cumulative
    assert figures.experts == ("Says 1", "Says 2")
    assert (figures.n_samples, figures.experts_used, figures.null_share) == (4, 2.0, 0.0)
    assert (figures.accuracy, figures.best_single, figures.oracle_gap, figures.missed) == (0.5, 0.5, 0.0, 0.0)
    assert figures.expert_accuracy.tolist() == [2 / 3, 2 / 3]  # of three samples on which they had a vote
    assert figures.usage.tolist() == [1.0, 1.0]
    assert figures.weight.sum() == pytest.approx(1.0)


def test_what_an_expert_knew_and_the_mixture_did_not_was_missed():
    # One extra says a, one b: on all samples but the first of each class one of them is right.
    model = DriftMoEClassifier(n_experts=1, extras=(Says(0), Says(1)), batch_size=8, min_trust=0.0, seed=1)
    rng = np.random.default_rng(1)
    learnt(model, [({"v": 1.0}, label) for label in ["a", "b", *rng.choice(["a", "b"], 98)]])
    figures = model.routing_report().cumulative
    assert figures.experts == ("tree 1", "Says", "Says 2")
    assert figures.missed == pytest.approx(0.98 - figures.accuracy)
    assert figures.best_single == figures.of_experts[WAS_RIGHT].max() / 100
    assert figures.oracle_gap == figures.best_single - figures.accuracy


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("expert", [None, naive_bayes.GaussianNB()], ids=["trees", "river"])
def test_the_mixture_is_as_often_right_as_the_evaluator_says(variant, expert):
    stream = streams.make("led_a", seed=2, n_samples=600)
    model = small(variant, expert=expert)
    *_, last = prequential(stream, model, window=200, count_warm_up=True)  # the report knows of no warm-up
    assert model.routing_report().cumulative.accuracy == pytest.approx(last.cumulative["accuracy"])
    assert last.routing.window.accuracy == pytest.approx(last.window["accuracy"])
    assert last.routing.window.n_samples == 200


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_report_changes_nothing_and_can_be_asked_for_at_any_time(variant):
    samples = list(streams.make("agrawal", seed=1, n_samples=150))
    asked, left_alone = (small(variant) for _ in range(2))
    report = asked.routing_report()
    assert report.cumulative.n_samples == 0
    assert math.isnan(report.cumulative.experts_used)
    for x, y in samples:
        asked.routing_report()
        assert asked.predict_proba_one(x) == left_alone.predict_proba_one(x)
        asked.learn_one(x, y)
        left_alone.learn_one(x, y)
    ours, theirs = asked.routing_report().cumulative, left_alone.routing_report().cumulative
    assert ours.of_experts.tolist() == theirs.of_experts.tolist()
    assert ours.sums.tolist() == theirs.sums.tolist()


def test_a_later_report_less_an_earlier_one_is_about_the_samples_between():
    samples = list(streams.make("led_a", seed=2, n_samples=500))
    model = small("moe-task")
    earlier = learnt(model, samples[:5]).routing_report().cumulative
    later = learnt(model, samples[5:]).routing_report().cumulative
    between = later - earlier
    assert len(earlier.experts) < len(later.experts) == len(between.experts) == 10
    assert between.experts[0] == f"class {samples[0][1]}"
    assert between.n_samples == 495
    assert 5 * earlier.accuracy + 495 * between.accuracy == pytest.approx(500 * later.accuracy)
    assert math.isnan(between.oracle_gap)
    assert math.isnan(between.missed)
    assert (earlier.of_all()["missed"], earlier.of_all()["experts_used"]) == (None, earlier.experts_used)


@pytest.mark.parametrize("batch_size", [1, 32, 300, 2500])
def test_the_window_slides_in_bounded_memory(batch_size):
    model = DriftMoEClassifier("moe-data", n_experts=2, top_k=1, hidden=(4,), batch_size=batch_size, seed=1)
    before = model.routing_report().cumulative
    reports = {}
    for i, (x, y) in enumerate(streams.make("sea", seed=1, n_samples=3000), start=1):
        model.learn_one(x, y)
        reports[i] = model.routing_report()
    for i in (1, 500, 1000, 1600, 2999, 3000):
        window, so_far = reports[i].window, reports[i].cumulative
        assert min(i, 1000) <= window.n_samples < 1000 + batch_size
        before = reports[i - window.n_samples].cumulative if window.n_samples < i else reports[1].window
        if window.n_samples < i:
            assert window.of_experts.tolist() == (so_far - before).of_experts.tolist()
            assert window.sums.tolist() == (so_far - before).sums.tolist()
    assert len(model._mixture.log._router_steps) <= 1000 / batch_size + 2


def test_each_null_expert_takes_the_place_of_an_expert():
    policy = WithNull(TopK(3), n_null=4)
    for variant in ("moe-vote", "driftmoe"):
        model = small(variant, policy=policy)
        figures = learnt(model, streams.make("sea", seed=1, n_samples=700)).routing_report().cumulative
        assert 0.05 < figures.null_share < 0.95
        if variant == "moe-vote":  # all have a vote there
            assert figures.experts_used == pytest.approx(3 * (1 - figures.null_share))


def test_experts_used_follow_the_policy():
    samples = list(streams.make("sea", seed=1, n_samples=300))
    used = {}
    for policy in (TopK(1), TopK(3), Dense(), WithShared(TopK(1), n_shared=1), TopP(1.0), TopP(0.0)):
        model = learnt(small("moe-vote", policy=policy), samples)
        used[policy] = model.routing_report().cumulative.experts_used
    assert list(used.values()) == [1.0, 3.0, 4.0, 2.0, 4.0, 1.0]


def test_experts_of_each_kind_are_named_and_seldom_asked_ones_say_so():
    model = DriftMoEClassifier(
        n_experts=2, extras=("neighbours", naive_bayes.GaussianNB(), "history", "head"), min_trust=1.0, seed=1
    )
    figures = learnt(model, streams.make("led", seed=1, n_samples=3000)).routing_report().window
    assert figures.experts == (
        "tree 1", "tree 2", "neighbours (0.0003)", "neighbours (0.002)", "neighbours (0.016)", "neighbours (like now)",
        "GaussianNB", "history", "head",
    )  # fmt: skip
    assert figures.of_each()["neighbours (0.002)"]["usage"] < 0.5
    assert figures.of_each()["history"]["usage"] == 1.0
    assert figures.weight.sum() == pytest.approx(1.0)


def test_trees_that_drift_ends_are_counted_in_the_window_where_it_does():
    model = DriftMoEClassifier(n_experts=3, extras=("head",), seed=1)
    stream = streams.make("led_a", seed=1, n_samples=6000)
    curve = [(c.n_samples, c.routing.window.n_replaced) for c in prequential(stream, model, window=500)]
    assert sum(n for _, n in curve) == model._mixture.experts.pool.n_replaced.sum() > 0
    assert model.routing_report().cumulative.n_replaced == model._mixture.experts.pool.n_replaced.sum()


@pytest.mark.parametrize("step", [100, 300])
def test_the_evaluators_window_slides_over_the_routing_too(step):
    model = small("moe-vote", policy=STREAM)
    learnt(model, streams.make("sea", seed=9, n_samples=50))  # before the run: not in its figures
    stream = streams.make("sea", seed=1, n_samples=900)
    checkpoints = list(prequential(stream, model, window=300, step=step))
    assert [c.routing.window.n_samples for c in checkpoints] == [min(c.n_samples, 300) for c in checkpoints]
    assert [c.routing.cumulative.n_samples for c in checkpoints] == [c.n_samples for c in checkpoints]
    thirds = checkpoints[300 // step - 1 :: 300 // step]
    mean = np.mean([c.routing.window.experts_used for c in thirds])
    assert checkpoints[-1].routing.cumulative.experts_used == pytest.approx(mean)


def test_a_model_without_routing_has_no_report():
    checkpoints = prequential(streams.make("sea", seed=1, n_samples=50), naive_bayes.GaussianNB())
    assert [c.routing for c in checkpoints] == [None]


def test_an_empty_log_can_be_read():
    figures = RoutingLog(reads_logits=True, is_one_vs_rest=False).report([], np.zeros(0, np.int64)).window
    assert figures.of_all() | {"n_replaced": 0} == dict.fromkeys(figures.of_all()) | {"n_replaced": 0}


# --------------------------------------------------------------------------------------------------
# What it tells of a stream
# --------------------------------------------------------------------------------------------------

QUICK = {"n_experts": 6, "hidden": (16,), "batch_size": 32, "learning_rate": 0.01, "seed": 1}


def figures_of(model, samples):
    before = model.routing_report().cumulative
    return learnt(model, samples).routing_report().cumulative - before


def easy_and_hard(n, seed, *, region):
    """In region 0 the sign of a number is the label, in region 1 a coin is."""
    rng = np.random.default_rng(seed)
    for v, coin, r in zip(rng.normal(size=n), rng.random(n), rng.integers(0, 2, n), strict=True):
        r = int(r if region is None else region)
        yield {"v": v, "r": r}, int((coin if r else v) > 0.5 * r)


def used_on_easy_and_hard(variant, policy, **others):
    model = DriftMoEClassifier(variant, policy=policy, **(QUICK | others))
    learnt(model, easy_and_hard(3000, 1, region=None))
    return [figures_of(model, easy_and_hard(600, 2, region=r)).experts_used for r in (0, 1)]


def test_easy_samples_use_fewer_experts_than_hard_ones():
    easy, hard = used_on_easy_and_hard("moe-vote", STREAM)
    assert easy < 1.5
    assert hard > 2.0 * easy


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_softmax_of_beliefs_would_use_more_experts_on_the_easy_ones(seed):
    """It hardly tells easy from hard; how far, 3.5 to 5 of 6 experts on the easy ones, depends on the first weights."""
    easy, hard = used_on_easy_and_hard("moe-vote", TopP(0.9), seed=seed)
    measure = TopP(0.9, measure="first-right")
    first_right_easy, first_right_hard = used_on_easy_and_hard("moe-vote", measure, seed=seed)
    assert easy > 3.0 * first_right_easy
    assert hard < 2.0 * easy
    assert first_right_hard > 2.0 * first_right_easy


def one_drift(n, seed):
    """The sign of a, then from the middle on the sign of b."""
    rng = np.random.default_rng(seed)
    for i, (a, b) in enumerate(rng.normal(size=(n, 2)).tolist()):
        yield {"a": a, "b": b}, int((a if i < n // 2 else b) > 0)


def test_experts_used_and_entropy_rise_after_a_drift_and_fall_again():
    model, samples = DriftMoEClassifier("moe-vote", policy=STREAM, **QUICK), list(one_drift(6000, 1))
    learnt(model, samples[:2500])
    before, _, after, _, at_the_end = [
        figures_of(model, samples[i:j])
        for i, j in ((2500, 3000), (3000, 3500), (3500, 4500), (4500, 5500), (5500, 6000))
    ]
    assert after.experts_used > 1.15 * max(before.experts_used, at_the_end.experts_used)
    assert after.entropy > 1.15 * max(before.entropy, at_the_end.entropy)
    assert at_the_end.accuracy > 0.98
