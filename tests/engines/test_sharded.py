"""A pool of trees shared among workers: equal to the whole pool, to the last bit."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from driftmoe.engines.sharded import DaskActors, Shard, ShardedTrees, Threads
from driftmoe.trees import TreePool

SETTINGS = {
    "seed": 3, "warning_delta": 0.01, "drift_delta": 0.001, "max_features": 0.6, "grace_period": 50, "delta": 0.01,
}  # fmt: skip
N, N_TREES = 3000, 5


def pool():
    return TreePool(N_TREES, **SETTINGS)


def blocks():
    """Blocks of different lengths of a stream with a drift, a third class and a seventh feature from the middle on."""
    rng = np.random.default_rng(1)
    X = rng.normal(size=(N, 7))
    y = ((X[:, 0] > 0) ^ (X[:, 1] > 0.3)).astype(np.int64)
    y[N // 2 :] = 2 - y[N // 2 :]
    weights = rng.poisson(6.0, (N, N_TREES)).astype(np.float64)
    cuts = [0, 1, 400, 800, N // 2, 2000, N]
    return [(X[a:b, : 7 if a >= N // 2 else 6], y[a:b], weights[a:b]) for a, b in itertools.pairwise(cuts)]


@pytest.fixture(scope="module")
def whole():
    trees = pool()
    votes = [trees.step(*block) for block in blocks()]
    assert trees.n_replaced.sum() > 0  # a drift is noticed on the way
    return trees, votes


@pytest.mark.parametrize("n_shards", [1, 2, 5])
def test_votes_are_those_of_the_whole_pool(whole, n_shards):
    trees, expected = whole
    before = pool()
    with ShardedTrees(before, n_shards) as sharded:
        for block, votes in zip(blocks(), expected, strict=True):
            assert np.array_equal(sharded.step(*block), votes)
        X = blocks()[-1][0]
        assert np.array_equal(sharded.predict_proba(X), trees.predict_proba(X))
        gathered = sharded.gathered()
    assert np.array_equal(gathered.predict_proba(X), trees.predict_proba(X))
    assert before.n_classes < 2  # the pool itself has learnt nothing


def test_the_gathered_pool_goes_on_as_the_whole_one():
    trees, rows = pool(), blocks()
    with ShardedTrees(pool(), 2) as sharded:
        for block in rows[:4]:
            trees.step(*block)
            sharded.step(*block)
        gathered = sharded.gathered()
    for block in rows[4:]:
        assert np.array_equal(gathered.step(*block), trees.step(*block))


def test_weights_are_drawn_in_one_place():
    X, y, _ = blocks()[2]
    votes = []
    for n_shards, parts in ((1, 1), (3, 1), (5, 4)):
        with ShardedTrees(pool(), n_shards, seed=7) as sharded:
            cut = len(X) // parts
            votes.append(
                np.concatenate([sharded.step(X[i : i + cut], y[i : i + cut]) for i in range(0, len(X), cut)])
            )
        with ShardedTrees(pool(), n_shards, seed=8) as other:
            assert not np.array_equal(other.step(X, y), votes[0])
    assert np.array_equal(votes[0][:100], votes[1][:100])
    assert np.array_equal(votes[0][-1], votes[2][-1])


@pytest.mark.parametrize("number", [0, 2])
def test_a_block_that_was_lost_or_comes_twice_is_told(number):
    shard, (X, y, weights) = Shard([pool().clone(0)]), blocks()[1]
    shard.step(0, X, y, weights[:, :1])
    with pytest.raises(
        ValueError, match=rf"block {number} came, and 1 is the next; a block was lost or came twice"
    ):
        shard.step(number, X, y, weights[:, :1])


def test_a_worker_that_has_missed_a_block_is_told():
    rows = blocks()
    with ShardedTrees(pool(), 2, Forgetful) as sharded:
        sharded.step(*rows[0])
        with pytest.raises(ValueError, match="block 2 came, and 1 is the next"):
            [sharded.step(*block) for block in rows[1:3]]


class Forgetful(Threads):
    """Threads of which one does not get the second block."""

    def ask(self, method, arguments):
        if method == "step" and arguments[0][0] == 1:
            return [self._shards[0].step(*arguments[0]), np.zeros((len(arguments[1][1]), 2, 2))]
        return super().ask(method, arguments)


@pytest.mark.parametrize("n_shards", [0, 6])
def test_there_is_at_least_a_tree_in_a_shard(n_shards):
    with pytest.raises(ValueError, match=f"n_shards={n_shards}; there are 5 trees, choose 1 to 5"):
        ShardedTrees(pool(), n_shards)


def test_actors_of_a_cluster_are_the_same(whole):
    distributed = pytest.importorskip("distributed", reason="the extra driftmoe[dask] is not installed")
    with (
        distributed.Client(
            n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None
        ) as client,
        ShardedTrees(pool(), 2, lambda shards: DaskActors(shards, client)) as sharded,
    ):
        for block, votes in zip(blocks(), whole[1], strict=True):
            assert np.array_equal(sharded.step(*block), votes)
