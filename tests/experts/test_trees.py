"""Trees as experts."""

from __future__ import annotations

import numpy as np
import pytest
from batches import batch

from driftmoe.experts import MulticlassTrees, OneVsRestTrees, TreePrototype, prototype_of
from driftmoe.trees import HoeffdingTreeClassifier, TreePool

QUICK = {"grace_period": 10, "delta": 0.1}


def rows_of(n_rows, n_classes, seed=1):
    """Return vectors and targets: which class it is depends on the first value."""
    vectors = np.random.default_rng(seed).random((n_rows, 2))
    return vectors, (vectors[:, 0] * n_classes).astype(np.int64)


def test_votes_are_those_of_the_pool_and_zero_for_classes_that_no_tree_has_seen():
    vectors, targets = rows_of(200, 2)
    taught = np.random.default_rng(2).choice([0.0, 1.0, 3.0], (200, 3))
    trees, pool = MulticlassTrees(TreePool(3, **QUICK)), TreePool(3, **QUICK)
    votes = trees.step(batch(vectors, 2, targets), taught)
    assert votes.tolist() == pool.step(vectors, targets, taught).tolist()
    assert pool.n_nodes.min() > 1
    wider = trees.predict_proba(batch(vectors, 4))
    assert wider[:, :, :2].tolist() == pool.predict_proba(vectors).tolist()
    assert not wider[:, :, 2:].any()


def test_all_trees_learn_a_row_with_its_weight_if_no_other_is_given():
    vectors, targets = rows_of(100, 2)
    weights = np.random.default_rng(2).choice([1.0, 0.5, 3.0], 100)
    trees, pool = MulticlassTrees(TreePool(2, **QUICK)), TreePool(2, **QUICK)
    trees.step(batch(vectors, 2, targets, weights))
    pool.learn(vectors, targets, weights=np.repeat(weights[:, np.newaxis], 2, axis=1))
    assert trees.predict_proba(batch(vectors, 2)).tolist() == pool.predict_proba(vectors).tolist()


def test_the_tree_of_a_class_is_one_that_learns_since_then_whether_a_row_is_of_this_class():
    vectors, targets = rows_of(300, 3)
    order = np.argsort(targets[:150] == 2, kind="stable")  # class 2 comes late
    vectors[:150], targets[:150] = vectors[:150][order], targets[:150][order]
    first = [0, 0, int(np.argmax(targets == 2))]
    weights = np.random.default_rng(2).choice([1.0, 2.0], 300)
    trees = OneVsRestTrees(TreePool(0, **QUICK))
    pieces = slice(0, first[2]), slice(first[2], 300)
    votes = [
        trees.step(batch(vectors[rows], n_classes, targets[rows], weights[rows]))
        for n_classes, rows in zip((2, 3), pieces, strict=True)
    ]
    assert first[2] > 60
    assert (trees.n_experts, trees.sizes()) == (3, {"n_features": 2, "n_classes": 3})
    for c in range(3):
        alone, rows = TreePool(1, **QUICK), slice(first[c], 300)
        expected = alone.step(vectors[rows], (targets[rows] == c).astype(np.int64), weights[rows, np.newaxis])
        ours = np.concatenate([of_piece[:, c] for of_piece in votes if of_piece.shape[1] > c])
        own = expected[:, 0, 1] if expected.shape[2] > 1 else np.zeros(len(expected))
        assert ours.tolist() == own.tolist()
    last = trees.predict_proba(batch(vectors, 4))
    assert not last[:, 3].any()
    assert (last[:, :3].argmax(axis=1) == targets).mean() > 0.9


def test_a_prototype_hands_on_the_settings_of_its_tree_and_those_of_the_mixture():
    tree = HoeffdingTreeClassifier(max_nodes=3, grace_period=10, delta=0.1, nominal_attributes=["colour"])
    prototype = prototype_of(tree)
    assert isinstance(prototype, TreePrototype)
    assert (prototype.nominal, prototype.arguments) == (
        ["colour"],
        {"class_weight", "max_bytes", "monitors", "n_threads"},
    )
    detectors = {"warning_delta": 0.3, "drift_delta": 0.2}
    watched = prototype.multiclass(2, np.random.default_rng(1), n_threads=1, detectors=detectors)
    unwatched = prototype.multiclass(2, np.random.default_rng(1), n_threads=1, detectors={})
    vectors, targets = rows_of(600, 2)
    targets[300:] = 1 - targets[300:]
    for trees in (watched, unwatched):
        trees.step(batch(vectors, 2, targets))
        assert trees.pool.n_nodes.tolist() == [3, 3]
    assert watched.n_replaced.min() > 0
    assert unwatched.n_replaced.tolist() == [0, 0]
    assert prototype.one_vs_rest(np.random.default_rng(1), n_threads=1).n_experts == 0
    assert tree.n_nodes == 1


@pytest.mark.parametrize("of", [MulticlassTrees, OneVsRestTrees])
def test_a_state_of_trees_with_other_entries_is_refused(of):
    trees = of(TreePool(2))
    with pytest.raises(
        ValueError, match=f"the state of {of.__name__} has unknown 'leaves'; it must have the entries pool"
    ):
        trees.restore(trees.state() | {"leaves": 3})
