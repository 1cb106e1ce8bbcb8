"""Policies of all kinds, and logits to try them on."""

from __future__ import annotations

import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st

from driftmoe.routing import (
    STREAM,
    Dense,
    EntropyHybrid,
    LinearK,
    Rank,
    Scheduled,
    TopK,
    TopP,
    WithNull,
    WithShared,
)

P = torch.tensor([0.5, 0.3, 0.15, 0.05], dtype=torch.float64)
INDICES = (0.5, 0.9, 1.0, 1.001, 1.1, 2.0)

POLICIES = {
    "dense": Dense(),
    "top-1": TopK(1),
    "top-2": TopK(2),
    "top-2 raw": TopK(2, renorm=False),
    "top-2 sigmoid": TopK(2, score="sigmoid"),
    "top-2 sigmoid raw": TopK(2, renorm=False, score="sigmoid"),
    "second": Rank(2),
    "third raw": Rank(3, renorm=False),
    "top-p": TopP(0.75),
    "top-p exclusive": TopP(0.75, min_k=2, inclusive=False, renorm=True),
    "top-p bounded": TopP(0.9, min_k=2, max_k=3),
    "top-p first right": TopP(0.9, measure="first-right", renorm=True),
    "hybrid": EntropyHybrid(),
    "hybrid, q below 1": EntropyHybrid(q=0.5, threshold=0.8, p=0.6, min_k=1, inclusive=True, renorm=True),
    "stream": STREAM,
}

COMPOSED = {
    "null": WithNull(TopK(2), 1),
    "null raw": WithNull(TopK(2, renorm=False), 1, renorm=False),
    "null over all": WithNull(TopK(2), 1, renorm=False),
    "null best": WithNull(TopK(1), 1, on_empty="best"),
    "null hybrid": WithNull(EntropyHybrid(), 1),
    "shared": WithShared(TopK(2), 2),
    "shared mean": WithShared(TopP(0.75), 1, renorm=True),
    "scheduled": Scheduled(TopK(1), LinearK(1, 3, n_steps=10)).at(5),
}


def each_policy(policies):
    return pytest.mark.parametrize("policy", policies.values(), ids=policies.keys())


def normal(*shape, seed=0, scale=1.0, dtype=torch.float32):
    return (
        scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    ).to(dtype)


quick = settings(max_examples=40, deadline=None, derandomize=True)
steps = st.integers(-640, 640)

rows = st.lists(steps, min_size=4, max_size=16, unique=True).map(
    lambda z: torch.tensor(z, dtype=torch.float64) / 64.0
)
"""Logits without ties, on a grid: shifted by a step of the grid they stay exact."""
