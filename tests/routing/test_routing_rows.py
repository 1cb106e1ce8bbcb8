"""One row in numpy is routed as torch routes it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from many_policies import COMPOSED, INDICES, POLICIES, each_policy, normal, quick

from driftmoe.routing import EntropyHybrid, GroupTopK, Routing, WithShared, route, top_k_mask

GROUPED = {
    "groups": GroupTopK(3, n_groups=4, n_kept=2, best=1),
    "groups softmax": GroupTopK(2, n_groups=2, n_kept=1, best=2, renorm=False, score="softmax"),
}


@each_policy(POLICIES | COMPOSED)
@pytest.mark.parametrize("n", [4, 12, 64])
def test_a_row_in_numpy_is_routed_as_torch_routes_it(policy, n):
    for scale in (0.1, 1.0, 3.0, 20.0):
        logits = normal(150, n, seed=n, scale=scale).numpy()
        logits[::4, 1] = -np.inf
        logits[3] = 0.0
        logits[4] = np.round(logits[4])  # ties
        block = route(policy, logits)
        for i, row in enumerate(logits):
            choice = route(policy, row)
            assert choice.weights.dtype == np.float64
            assert choice.mask.tolist() == block.mask[i].tolist()
            np.testing.assert_allclose(choice.weights, block.weights[i], rtol=1e-12, atol=1e-300)


@each_policy(GROUPED)
@pytest.mark.parametrize("n", [4, 12, 64])
def test_groups_in_a_row_in_numpy_are_those_of_torch(policy, n):
    """Unless the scores of two groups differ by rounding alone, as saturated sigmoids do."""
    logits = normal(300, n, seed=n).numpy()
    logits[::4, 1] = -np.inf
    logits[1::4, : n // 4] = -np.inf  # a whole group of four
    logits[3] = 0.0
    block = route(policy, logits)
    for i, row in enumerate(logits):
        choice = route(policy, row)
        assert choice.mask.tolist() == block.mask[i].tolist()
        np.testing.assert_allclose(choice.weights, block.weights[i], rtol=1e-12)
    with pytest.raises(ValueError, match="GroupTopK: 5 experts in n_groups"):
        route(policy, np.zeros(5))


@quick
@given(row=st.lists(st.floats(-100, 100, width=32), min_size=4, max_size=20))
def test_any_row_in_numpy_is_routed_as_torch_routes_it(row):
    logits = np.array(row)
    for policy in POLICIES.values():
        alone, block = route(policy, logits), route(policy, logits[None])
        assert alone.mask.tolist() == block.mask[0].tolist()
        np.testing.assert_allclose(alone.weights, block.weights[0], rtol=1e-9, atol=1e-300)


@pytest.mark.parametrize("q", [*INDICES, 1 + 1e-9])
@pytest.mark.parametrize("measure", ["softmax", "first-right"])
def test_the_entropy_of_a_row_decides_as_torch_decides(q, measure):
    logits = normal(100, 12, seed=31, dtype=torch.float64)
    reference = EntropyHybrid(q=q, measure=measure)(logits)
    for i in range(100):
        entropy = reference.entropy[i].item()
        dense = EntropyHybrid(q=q, threshold=entropy - 1e-7, p=0.1, min_k=1, inclusive=True, measure=measure)
        sparse = replace(dense, threshold=min(entropy + 1e-7, 1.0))
        assert route(dense, logits[i].numpy()).mask.all()
        assert route(sparse, logits[i].numpy()).mask.sum() < 12


def test_a_function_is_a_policy_too():
    def cubed(logits):
        weights = logits.relu() ** 3
        return Routing(weights / weights.sum(-1, keepdim=True), weights > 0, logits)

    logits = np.array([1.0, -1.0, 2.0])
    choice = route(cubed, logits)
    assert choice.mask.tolist() == [True, False, True]
    np.testing.assert_allclose(choice.weights, [1 / 9, 0, 8 / 9])
    np.testing.assert_allclose(route(WithShared(cubed, 1), logits).weights, [1.0, 1 / 9, 0, 8 / 9])
    np.testing.assert_allclose(route(cubed, logits[None]).weights[0], choice.weights)


def test_top_k_mask_of_scores_equals_a_stable_sort():
    scores = normal(300, 20, seed=32).mul(2).round()  # many ties
    for k in (1, 3, 20):
        order = np.argsort(-scores.numpy(), axis=-1, kind="stable")[:, :k]
        expected = np.zeros(scores.shape, dtype=bool)
        np.put_along_axis(expected, order, True, axis=-1)
        assert top_k_mask(scores, k).tolist() == expected.tolist()
