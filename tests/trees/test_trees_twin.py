"""Trees equal a readable twin; compiled code equals the same code without compilation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pools import EAGER, IS_COMPILED, MIXED_NOMINAL, mixed, python, size
from reference.trees import HoeffdingTree, Split
from river import tree

from driftmoe.trees import TreePool, leaf, split
from driftmoe.trees.nodes import GINI, HELLINGER, INFO_GAIN, RULES


@pytest.mark.parametrize("leaf_prediction", ["mc", "nb", "nba"])
@pytest.mark.parametrize("split_criterion", ["info_gain", "gini", "hellinger"])
@pytest.mark.parametrize("binary_split", [False, True])
def test_same_probabilities_as_the_twin(leaf_prediction, split_criterion, binary_split):
    arguments = EAGER | {
        "leaf_prediction": leaf_prediction, "split_criterion": split_criterion, "binary_split": binary_split,
    }  # fmt: skip
    X, y, weights = mixed(size(1500))
    pool = TreePool(nominal=MIXED_NOMINAL, **arguments)
    comp = pool.step(X, y, weights)[:, 0]
    twin = HoeffdingTree(3, MIXED_NOMINAL, **arguments)
    ref = np.empty_like(comp)
    for t, (row, target, w) in enumerate(zip(X.tolist(), y.tolist(), weights[:, 0].tolist(), strict=True)):
        x = [None if value != value else value for value in row]
        ref[t] = twin.predict_proba(x)
        twin.learn(x, target, w)
    np.testing.assert_allclose(comp, ref, rtol=0.0, atol=1e-9)
    assert not IS_COMPILED or isinstance(twin.root, Split)


def test_unseen_value_opens_a_branch_as_in_the_twin():
    X, y, weights = mixed(size(2000), p_missing=0.05)
    late = np.arange(len(y)) > len(y) * 0.7
    X[late & (X[:, 3] == 4), 3] = 6.0
    early_only = ~late & (X[:, 3] == 4)
    X[early_only, 3] = 0.0
    X[:, [0, 2]] *= 0.0  # leave the nominal features to tell the classes apart
    pool = TreePool(nominal=MIXED_NOMINAL, **EAGER)
    comp = pool.step(X, y, weights)[:, 0]
    twin = HoeffdingTree(3, MIXED_NOMINAL, **EAGER)
    for t, (row, target, w) in enumerate(zip(X.tolist(), y.tolist(), weights[:, 0].tolist(), strict=True)):
        x = [None if value != value else value for value in row]
        np.testing.assert_allclose(comp[t], twin.predict_proba(x), rtol=0.0, atol=1e-9)
        twin.learn(x, target, w)
    assert 6.0 in twin.root.values
    assert "feature 3 = 6" in pool.describe()


MEDIUM = st.floats(-1e6, 1e6)
N_FEATURES = st.integers(1, 11)


@given(data=st.data(), n=N_FEATURES)
@settings(deadline=None, max_examples=50)
def test_distance_and_normaliser_compiled_equal_python(data, n):
    x, mean = (data.draw(hnp.arrays(float, n, elements=MEDIUM)) for _ in range(2))
    precision = data.draw(
        hnp.arrays(float, n, elements=st.sampled_from([0.0, 1e-150, 1e-3, 0.7, 2.5, 1e90, 1e150]))
    )
    gaps = np.where(data.draw(hnp.arrays(bool, n)), np.nan, x)
    for function, values in ((leaf.distance, x), (leaf.known_distance, gaps)):  # sums run in any order
        expected = python(function)(values, mean, precision)
        assert function(values, mean, precision) == pytest.approx(expected, rel=1e-12)
    expected = sum(0.5 * np.log(p / np.pi) for p, v in zip(precision, gaps, strict=True) if p > 0 and v == v)
    for function in (leaf.log_normaliser, python(leaf.log_normaliser)):
        assert function(precision, gaps) == pytest.approx(expected, abs=1e-9)


@given(
    branches=hnp.arrays(float, (2, 3), elements=st.one_of(st.just(-1.0), st.floats(0.0, 1e4))),
    criterion=st.sampled_from([INFO_GAIN, GINI, HELLINGER]),
)
@settings(deadline=None, max_examples=100)
def test_merit_compiled_equals_python_and_river(branches, criterion):
    rules = np.zeros(1, RULES)
    rules["criterion"], rules["min_branch_fraction"] = criterion, 0.01
    order = np.array([2, 0, 1], np.int32)
    comp = split.split_merit(branches, order, 1.5, rules[0], np.empty(3))
    assert comp == pytest.approx(
        python(split.split_merit)(branches, order, 1.5, rules[0], np.empty(3)), rel=1e-12, abs=1e-12
    )
    total = np.maximum(branches, 0.0).sum()
    if total > 0.0 and criterion != HELLINGER:
        name = {INFO_GAIN: "InfoGainSplitCriterion", GINI: "GiniSplitCriterion"}[criterion]
        dists = [{c: row[c] for c in order.tolist() if row[c] >= 0.0} for row in branches.tolist()]
        rivers = getattr(tree.split_criterion, name)(0.01).merit_of_split({0: 1.0}, dists)
        offset = 1.5 if criterion == INFO_GAIN else 0.0
        assert comp == pytest.approx(rivers + offset, rel=1e-9, abs=1e-9)


def test_hoeffding_bound_worked_out_by_hand():
    assert split.hoeffding_bound(2.0, np.log(1e7), 200.0) == pytest.approx(0.401474, abs=1e-6)
