"""The room that is made for splits before rows are learnt: enough for the worst rows, and not far more."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftmoe.trees import TreePool
from driftmoe.trees.nodes import LEAF, LEAF_STATE, NODE
from driftmoe.trees.room import most_attempts

GRACE = 200.0


def bound(lacking, weight):
    """The bound for leaves that lack so much weight until they look for a split; `None` for one that rests."""
    nodes, leaves = np.zeros(len(lacking), NODE), np.zeros(len(lacking), LEAF_STATE)
    nodes["kind"], nodes["slot"] = LEAF, np.arange(len(lacking))
    leaves["is_active"] = [one is not None for one in lacking]
    leaves["weight"] = [1000.0 + GRACE - (one or 0.0) for one in lacking]
    leaves["last_attempt"] = 1000.0
    return most_attempts(nodes, leaves, GRACE, weight)


def worst(lacking, weight):
    """The most attempts: rows go where least is lacking, again and again."""
    left, n = sorted(one for one in lacking if one is not None), 0
    while (left or weight >= GRACE) and weight >= (first := min([*left[:1], GRACE])):
        left, weight, n = left[1:], weight - first, n + 1
    return n


@settings(deadline=None)
@given(
    lacking=st.lists(st.none() | st.integers(1, 200).map(float), max_size=40),
    weight=st.integers(0, 1000).map(float),
)
def test_no_rows_lead_to_more_attempts_than_the_bound(lacking, weight):
    n_near = sum(one is not None and one <= weight for one in lacking)
    assert worst(lacking, weight) <= bound(lacking, weight) <= n_near + weight // GRACE


def test_the_bound_counts_leaves_that_share_the_weight_of_the_rows():
    lacking = [2.0 * i for i in range(1, 101)]
    assert worst(lacking, 200.0) == 13  # 2 + 4 + ... + 26 = 182
    assert bound(lacking, 200.0) == 12 + 8  # 12 lack less than 25, and of the others each takes 25 of the 200


@pytest.mark.parametrize("weight", [0.1, 1.0, 1.9])
def test_there_is_room_for_rows_that_all_lead_to_attempts(weight):
    """Features that tell classes apart in the next leaf, too: each attempt splits."""
    rng = np.random.default_rng(1)
    pool = TreePool(3, grace_period=2.0, delta=0.5, tau=1.0, nominal=[0])
    for n in (1, 7, 64, 200, 500):
        X = np.column_stack([rng.integers(0, 12, n), rng.normal(size=(n, 3))])
        y = (X[:, 0] + 12 * (X[:, 1] > 0.0)).astype(np.int64)
        pool.step(X, y, np.full((n, 3), weight))  # raises where there is too little
    assert pool.n_leaves.min() > 12
