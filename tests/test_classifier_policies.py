"""Policies on streams: any policy serves single samples and blocks alike."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from batches import batch
from river import naive_bayes
from small_models import SEA, learnt, small

import streams
from driftmoe import DriftMoEClassifier
from driftmoe.routing import (
    ADAMOE,
    DYNMOLE,
    STREAM,
    Dense,
    EntropyHybrid,
    GroupTopK,
    LinearK,
    Scheduled,
    TopK,
    TopP,
    WithNull,
    WithShared,
)
from driftmoe.transaction import StepPlan


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_logits_that_choose_nobody_are_refused(wrong):
    model = DriftMoEClassifier("moe-vote", n_experts=3, top_k=1)
    model.learn_one({"a": 1.0}, 0)
    model._mixture.router._weights[-3:] = wrong
    with pytest.raises(ValueError, match="one expert at least must be in service"):
        model.predict_one({"a": 1.0})


POLICIES = [
    Dense(),
    TopP(0.8),
    EntropyHybrid(renorm=True),
    DYNMOLE,
    STREAM,
    ADAMOE,
    WithNull(TopK(2), n_null=2, on_empty="best"),
    WithShared(TopK(1), n_shared=1, renorm=True),
    WithShared(WithNull(TopK(2), n_null=2), n_shared=1, renorm=True),
    Scheduled(TopK(1), LinearK(1, 4, n_steps=12)),
]


@pytest.mark.parametrize(
    ("variant", "policy"),
    [
        ("moe-vote" if variant == "moe-data" and isinstance(policy, WithShared) else variant, policy)
        for variant in ("driftmoe", "moe-data")
        for policy in POLICIES
    ]
    + [("moe-vote", GroupTopK(1, n_groups=2, n_kept=1, best=1))],
    ids=str,
)
def test_any_policy_serves_single_samples_and_blocks_alike(variant, policy):
    stream = streams.make("sea", seed=2, n_samples=300)
    one, many = (small(variant, policy=policy) for _ in range(2))
    expected = []
    for x, y in stream:
        expected.append(one.predict_one(x))
        one.learn_one(x, y)
    (block,) = stream.blocks(300)
    names, values = [f.name for f in stream.features], [f.values for f in stream.features]
    assert many.step_many(*block, names=names, values=values, classes=stream.classes) == expected
    assert many._mixture.router._weights.tobytes() == one._mixture.router._weights.tobytes()


@pytest.mark.parametrize("variant", ["moe-data", "moe-vote"])
def test_river_experts_all_count_alike_where_only_nulls_are_chosen(variant):
    policy = WithNull(TopK(1), n_null=12)
    model = small(variant, expert=naive_bayes.GaussianNB(), policy=policy, learning_rate=0.0)
    for x, y in SEA[:100]:
        model.learn_one(x, y)
    n_checked = 0
    for x, _ in SEA[100:200]:
        sample = model._encoder.order(model._encoder.clean(x))
        inputs = model._encoder.inputs(model._encoder.vector(sample)[np.newaxis], is_learning=False)
        votes = model._mixture.experts.predict_proba(batch([sample], 2))[0]
        if (
            model._mixture._choose(model._mixture.router.logits(inputs), StepPlan()).weights.any()
            or np.ptp(votes[:, 0]) < 1e-6
        ):
            continue
        n_checked += 1
        assert list(model.predict_proba_one(x).values()) == pytest.approx(
            votes[votes.any(axis=1)].mean(axis=0)
        )
    assert n_checked > 3


@pytest.mark.parametrize("policy", [TopK(2), TopP(0.8), WithNull(TopK(2), n_null=2)], ids=str)
def test_a_single_sample_chooses_without_tensors(policy, monkeypatch):
    model = DriftMoEClassifier(policy=policy, n_experts=3, hidden=(8,), seed=1)
    for x, y in SEA[:20]:
        model.learn_one(x, y)

    def refuse(self, logits):
        raise AssertionError("a tensor for one row")

    monkeypatch.setattr(type(policy), "__call__", refuse)
    model.predict_one(SEA[20][0])
    model.learn_one(*SEA[20])


@pytest.mark.parametrize("learning_rate", [0.002, 0.0])
def test_a_schedule_counts_mini_batches_of_the_router(learning_rate):
    policy = Scheduled(TopK(1), LinearK(1, 3, n_steps=2))
    model = small("moe-vote", policy=policy, learning_rate=learning_rate)
    used = []
    for x, y in SEA[:64]:
        before = model.routing_report().cumulative
        model.learn_one(x, y)
        used.append((model.routing_report().cumulative - before).experts_used)
    assert used == [1.0] * 16 + [2.0] * 16 + [3.0] * 32


def test_a_policy_of_the_users_own_is_welcome():
    def last_two(logits):
        routing = Dense()(logits)
        mask = torch.zeros_like(routing.mask)
        mask[..., -2:] = True
        return replace(routing, mask=mask, weights=mask / 2.0)

    model = learnt("moe-vote", SEA, policy=last_two)
    assert [int(n) for n in model._mixture.experts.pool.weight_seen] == [0, 0, 400, 400]


def test_with_nulls_a_sample_that_everybody_gets_right_is_learnt_by_fewer():
    samples = [({"v": float(i % 2)}, i % 2) for i in range(600)]
    policy = WithNull(TopK(4), n_null=4)
    model = small("moe-vote", policy=policy, learning_rate=0.05)
    weight_seen = []
    for x, y in samples:
        model.learn_one(x, y)
        weight_seen.append(model._mixture.experts.pool.weight_seen.sum())
    assert weight_seen[599] - weight_seen[499] < 0.7 * (weight_seen[100] - weight_seen[0])
