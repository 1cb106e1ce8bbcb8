"""River classifiers as experts."""

from __future__ import annotations

import math

import numpy as np
import pytest
from batches import batch
from river import base, ensemble, linear_model, naive_bayes, preprocessing, tree

from driftmoe.experts import MulticlassExperts, OneVsRestExperts, RiverPrototype, prototype_of
from driftmoe.transaction import carry_out

SAMPLES = [{"a": 1.0}, {"a": 2.0}, {"a": 3.0}]


class Says(base.Classifier):
    """Always gives the same probabilities, and keeps what it learns."""

    _multiclass = True

    def __init__(self, proba):
        self.proba = proba
        self._learnt = []

    def learn_one(self, x, y):
        self._learnt.append((x["a"], y))

    def predict_proba_one(self, x):
        return self.proba


class SaysWithWeights(Says):
    def learn_one(self, x, y, w=1.0):
        self._learnt.append((x["a"], y, w))


class SaysOneLabel(base.Classifier):
    """Has no probabilities."""

    _multiclass = True

    def __init__(self, label):
        self.label = label

    def learn_one(self, x, y):
        pass

    def predict_one(self, x):
        return self.label


class Fails(Says):
    def learn_one(self, x, y):
        super().learn_one(x, y)
        if x["a"] == 2.0:
            raise RuntimeError("no 2")


def experts_of(*classifiers):
    """Return experts that are these classifiers, not copies."""
    experts = MulticlassExperts(classifiers[0], len(classifiers), np.random.default_rng(0))
    experts._experts = list(classifiers)
    return experts


def test_votes_are_scaled_to_sum_to_one_and_are_zero_where_they_cannot_be():
    experts = experts_of(
        Says({0: 2.0, 2: 6.0}), Says({}), Says({1: math.inf}), Says({0: math.nan}), Says({0: 0.0}), Says({1: -1.0})
    )  # fmt: skip
    assert experts.predict_proba(batch(SAMPLES[:1], 3)).tolist() == [
        [[0.25, 0.0, 0.75], *[[0.0, 0.0, 0.0]] * 5]
    ]


def test_a_classifier_without_probabilities_votes_for_its_prediction():
    experts = experts_of(SaysOneLabel(1), SaysOneLabel(None))
    assert experts.predict_proba(batch(SAMPLES[:1], 2)).tolist() == [[[0.0, 1.0], [0.0, 0.0]]]


def test_experts_that_are_not_asked_have_no_vote():
    experts = experts_of(Says({0: 1.0}), Says({1: 1.0}))
    asked = np.array([[True, False], [False, True]])
    votes = experts.predict_proba(batch(SAMPLES[:2], 2), asked)
    assert votes.tolist() == [[[1.0, 0.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 1.0]]]


def test_rows_on_which_experts_are_not_asked_are_learnt_all_the_same():
    (says,) = experts = [Says({0: 1.0})]
    votes = experts_of(*experts).step(batch(SAMPLES, 2, [0, 1, 0]), asked=np.array([True, False, True]))
    assert votes.tolist() == [[[1.0, 0.0]], [[0.0, 0.0]], [[1.0, 0.0]]]
    assert says._learnt == [(1.0, 0), (2.0, 1), (3.0, 0)]


def test_a_whole_weight_is_the_number_of_times_that_a_row_is_learnt():
    one, other = Says({}), Says({})
    experts_of(one, other).step(batch(SAMPLES[:2], 2, [0, 1]), np.array([[2.0, 0.0], [1.0, 3.0]]))
    assert one._learnt == [(1.0, 0), (1.0, 0), (2.0, 1)]
    assert other._learnt == [(2.0, 1)] * 3


def test_other_weights_are_handed_to_classifiers_that_take_them():
    says = SaysWithWeights({})
    experts_of(says).step(batch(SAMPLES[:2], 2, [0, 1], [0.5, 2.0]))
    assert says._learnt == [(1.0, 0, 0.5), (2.0, 1, 1.0), (2.0, 1, 1.0)]


@pytest.mark.parametrize(
    "experts",
    [
        experts_of(Says({})),
        OneVsRestExperts(Says({}), np.random.default_rng(0)),
    ],
    ids=["multiclass", "one for each class"],
)
def test_weights_that_a_classifier_does_not_take_are_refused_before_anything_is_learnt(experts):
    changes = []
    with pytest.raises(ValueError, match=r"Says\.learn_one takes no weight; give whole numbers as w"):
        experts.plan(batch(SAMPLES[:2], 2, [0, 1], [1.0, 0.5]), changes=changes)
    assert changes == []


def test_an_error_reaches_the_caller_after_all_calls_are_made():
    fails, says = Fails({}), Says({})
    changes = []
    experts_of(fails, says).plan(batch(SAMPLES, 2, [0, 1, 0]), changes=changes)
    with pytest.raises(RuntimeError, match="no 2"):
        carry_out(changes)
    assert fails._learnt == says._learnt == [(1.0, 0), (2.0, 1), (3.0, 0)]


def test_copies_have_seeds_of_their_own_in_all_parts_and_the_prototype_is_not_changed():
    prototype = ensemble.LeveragingBaggingClassifier(
        preprocessing.StandardScaler() | ensemble.SRPClassifier(n_models=2, seed=3), seed=3
    )
    experts = MulticlassExperts(prototype, 2, np.random.default_rng(1))._experts
    seeds = [
        seed
        for expert in experts
        for seed in (expert.seed, expert.model["SRPClassifier"].seed)  # of the model, and of its last step
    ]
    assert len({3, *seeds}) == 5
    assert (prototype.seed, prototype.model["SRPClassifier"].seed) == (3, 3)


def test_each_class_has_an_expert_that_learns_whether_a_row_is_of_its_class():
    experts = OneVsRestExperts(Says({True: 1.0, False: 3.0}), np.random.default_rng(0))
    assert experts.predict_proba(batch(SAMPLES[:1], 1)).tolist() == [[0.0]]
    assert experts.step(batch(SAMPLES[:1], 1, [0])).tolist() == [[0.25]]
    assert experts.step(batch(SAMPLES[1:], 3, [2, 0], [2.0, 1.0])).tolist() == [[0.25] * 3] * 2
    assert [expert._learnt for expert in experts._experts] == [
        [(1.0, True), (2.0, False), (2.0, False), (3.0, True)],
        [(2.0, False), (2.0, False), (3.0, False)],
        [(2.0, True), (2.0, True), (3.0, False)],
    ]
    assert experts.predict_proba(batch(SAMPLES[:1], 4)).tolist() == [[0.25, 0.25, 0.25, 0.0]]
    assert (experts.n_experts, experts.sizes()) == (3, {"n_classes": 3})


def test_a_binary_classifier_is_an_expert_of_one_class_and_of_no_more():
    prototype = prototype_of(linear_model.LogisticRegression())
    assert prototype.one_vs_rest(np.random.default_rng(0), n_threads=1).n_experts == 0
    with pytest.raises(ValueError, match="expert=LogisticRegression distinguishes only two classes; wrap it"):
        prototype.multiclass(2, np.random.default_rng(0), n_threads=1, detectors={})


def test_any_classifier_but_our_tree_is_copied():
    prototype = prototype_of(tree.HoeffdingTreeClassifier(nominal_attributes=["a"]))
    assert isinstance(prototype, RiverPrototype)
    assert (prototype.kind, prototype.nominal, prototype.arguments) == (
        "HoeffdingTreeClassifier",
        (),
        {"class_weight"},  # its `learn_one` takes weights
    )


def test_a_state_with_another_number_of_classifiers_is_refused():
    three, two = (MulticlassExperts(naive_bayes.GaussianNB(), n, np.random.default_rng(0)) for n in (3, 2))
    with pytest.raises(ValueError, match="the state has 3 classifiers and there are 2 experts"):
        two.restore(three.state())
