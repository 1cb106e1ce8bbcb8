"""Text and JSON of explanations: words that readers know, sentences that hold, characters that can be written."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
from deciding import EAGER, decided, fed
from small_models import small

from driftmoe.explanation import Explanation, Vote


def test_names_labels_and_values_with_half_a_surrogate_pair_can_be_written():
    model = small("moe-vote")
    for i in range(20):
        model.learn_one({"t\ud800": f"v\udfff{i % 2}", "n": float(i)}, f"label\ud83d{i % 2}")
    explanation = model.explain_one({"t\ud800": "v\udfff1", "n": 3.0, "new\ud800": 1})
    assert "label\\ud83d" in str(explanation)
    str(explanation).encode()
    found = explanation.to_dict()
    assert json.loads(json.dumps(found, ensure_ascii=False).encode()) == found
    assert found["unknown_features"] == ["new\\ud800"]


def test_scalars_of_numpy_are_plain_in_json_also_in_labels_that_are_tuples():
    model = small("moe-vote")
    labels = [(np.int64(1), "a"), np.float32(0.5), np.str_("text"), np.bool_(True)]
    for i in range(20):
        model.learn_one({"a": float(i)}, labels[i % 4])
    found = {one["label"] for one in model.explain_one({"a": 1.0}).to_dict()["proba"]}
    assert found == {"(1, 'a')", 0.5, "text", True}


def test_a_tree_without_weight_is_not_described():
    model = fed(small("driftmoe", expert=EAGER), decided(400))
    explanation = model.explain_one({"a": 1.0})
    weak = replace(explanation, path=replace(explanation.path, weight=0.021, expert="tree 3"))
    text = " ".join(str(weak).split())
    assert 'It hardly matters here: the largest weight of a tree is 2.1 %, that of "tree 3".' in text
    assert "these conditions" not in text
    strong = replace(explanation, path=replace(explanation.path, weight=0.05))
    assert "HOW THE STRONGEST TREE DECIDES The decision tree" in " ".join(str(strong).split())


def test_words_are_explained_to_readers_who_do_not_know_them():
    votes = (
        Vote("linear (1)", 1, 0.4, {"no": 0.7, "yes": 0.3}),
        Vote("others", 9, 0.6, {"no": 0.2, "yes": 0.8}),
    )
    text = " ".join(str(Explanation("yes", {"no": 0.4, "yes": 0.6}, 10, votes)).split())
    assert "the number in brackets is its step size" in text
    assert "9 others together 60.0 % yes 80.0 %, on average" in text


def test_distance_0_is_not_called_an_equal_sample():
    model = fed(small("driftmoe", expert=EAGER), decided(300))
    near = model.explain_one({"a": 1.0})
    for by_relevance in (False, True):
        text = " ".join(str(replace(near, by_relevance=by_relevance)).split())
        assert "equal sample" not in text
        assert "At distance 0 samples differ in nothing that the model compares" in text
        assert ("one standard deviation" in text) != by_relevance
        assert ("those that separate the classes count more" in text) == by_relevance
