"""Descriptions and drawings of a model's trees."""

from __future__ import annotations

import pickle

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from river import naive_bayes
from small_models import learnt, small

from driftmoe import DriftMoEClassifier
from driftmoe.trees import HoeffdingTreeClassifier


def shopping(n_samples):
    """A number and a nominal feature, which tell three classes apart."""
    rng = np.random.default_rng(4)
    for label in rng.choice(["buys", "looks", "leaves"], n_samples):
        colour = rng.choice(["red", "blue"], p=[0.9, 0.1] if label == "looks" else [0.2, 0.8])
        yield {"minutes": rng.normal(5.0 * (label != "leaves")), "colour": str(colour)}, str(label)


def test_description_is_that_of_a_tree_which_learnt_the_same():
    settings_of_tree = {"grace_period": 50, "delta": 0.01}
    tree_alone = HoeffdingTreeClassifier(**settings_of_tree)
    model = small("moe-data", n_experts=1, top_k=1, expert=tree_alone.clone())
    for x, y in shopping(600):
        tree_alone.learn_one(x, y)
        model.learn_one(x, y)
    assert model.describe(0) == tree_alone.describe()
    assert "colour = red" in model.describe(0)
    assert "minutes <= " in model.describe(0)


def test_description_in_moe_task_is_of_one_class_and_all_others():
    one = HoeffdingTreeClassifier(grace_period=50, delta=0.01)
    model = DriftMoEClassifier("moe-task", expert=one.clone(), seed=1)
    for x, y in shopping(600):
        model.learn_one(x, y)
        is_there = len(model.routing_report().cumulative.experts) > 2
        if is_there:  # each class has its tree from the first sample of the class on
            third = model.routing_report().cumulative.experts[2].removeprefix("class ")
            one.learn_one(x, y if y == third else f"not {third}")
    assert model.describe(2) == one.describe()
    assert f"not {third} " in one.describe()


def test_drawing_has_the_names_of_the_stream_and_changes_nothing():
    mpl.use("agg")
    model = learnt(
        "driftmoe", list(shopping(600)), expert=HoeffdingTreeClassifier(grace_period=50, delta=0.01)
    )
    before = pickle.dumps(model)
    texts = [text.get_text() for text in model.draw(3).texts]
    plt.close("all")
    n_leaves = sum(", weight " in line for line in model.describe(3).splitlines())
    assert pickle.dumps(model) == before
    assert n_leaves > 1
    assert len([text for text in texts if text.split()[0] in ("buys", "looks", "leaves")]) == n_leaves
    assert {"minutes", "colour"} & set(texts)
    assert len(model.draw(3, max_depth=0).texts) == 1
    plt.close("all")


@pytest.mark.parametrize("look", ["describe", "draw"])
@pytest.mark.parametrize(
    ("arguments", "expert", "error", "message"),
    [
        ({}, 4, ValueError, "expert=4 but there are 4 trees; choose 0 <= expert < 4"),
        ({}, -1, ValueError, "choose 0 <= expert < 4"),
        ({}, 1.0, TypeError, "expert=1.0 is of type float; give an integer"),
        ({"variant": "moe-task"}, 0, ValueError, "there are 0 trees; there is one for each class learnt"),
        (
            {"expert": naive_bayes.GaussianNB()},
            0,
            TypeError,
            "experts of this model are of the kind .GaussianNB.; only",
        ),
    ],
)
def test_a_tree_that_is_not_there_is_refused(look, arguments, expert, error, message):
    model = small(**{"variant": "driftmoe"} | arguments)
    with pytest.raises(error, match=message):
        getattr(model, look)(expert)


@pytest.mark.parametrize("w", ["1", None, 1j, np.array([1.0]), np.array(1.0)])
def test_the_weight_of_a_tree_is_a_number(w):
    with pytest.raises(TypeError, match=r"w=.* is of type .*; give a number"):
        HoeffdingTreeClassifier().learn_one({"a": 1.0}, 0, w=w)
