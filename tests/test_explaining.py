"""`explain_one`, `debug_one` and `feature_importances`: what they say holds, and saying it changes nothing."""

from __future__ import annotations

import json
import math
import pickle
from decimal import Decimal

import numpy as np
import pytest
from deciding import EAGER, decided, fed, numbers_only
from river import compose, naive_bayes, preprocessing
from small_models import small

from driftmoe import DriftMoEClassifier
from driftmoe.encoding.sharing import code_of
from driftmoe.experts import Batch, Neighbours
from driftmoe.explanation import Shared
from driftmoe.nn import NeuralMoEClassifier
from driftmoe.routing import TopK, WithNull
from driftmoe.trees import HoeffdingTreeClassifier

VARIANTS = ("driftmoe", "moe-vote", "moe-data", "moe-task")
MODELS = {
    **{variant: lambda variant=variant: small(variant, expert=EAGER) for variant in VARIANTS},
    "no extras": lambda: small("driftmoe", expert=EAGER, extras=()),
    "by relevance": lambda: small("driftmoe", expert=EAGER, extras=("relevant-neighbours",)),
    "null experts": lambda: small("moe-vote", expert=EAGER, policy=WithNull(TopK(1), n_null=2)),
    "null experts of driftmoe": lambda: small("driftmoe", expert=EAGER, policy=WithNull(TopK(6), n_null=2)),
    "neural": lambda: NeuralMoEClassifier(n_experts=3, hidden=(8,), batch_size=16, seed=1),
    "river": lambda: small("driftmoe", expert=naive_bayes.GaussianNB(), extras=("history", "head")),
    "river moe-data": lambda: small("moe-data", expert=naive_bayes.GaussianNB()),
}


@pytest.fixture(scope="module", params=MODELS)
def model(request):
    samples = decided(400)
    return fed(MODELS[request.param](), numbers_only(samples) if "river" in request.param else samples)


def unseen(model, n_samples=3):
    has_colours = "colour" in model._encoder.features
    return [x for x, _ in (decided if has_colours else lambda *a, **k: numbers_only(decided(*a, **k)))(
        n_samples, seed=7
    )]  # fmt: skip


def test_the_probabilities_are_those_of_predict_proba_one(model):
    for x in unseen(model):
        explanation = model.explain_one(x)
        assert explanation.proba == model.predict_proba_one(x)
        assert explanation.label == model.predict_one(x)
        assert explanation.n_learnt == 400


def test_explaining_changes_nothing(model):
    before = model.digest()
    for x in unseen(model):
        model.explain_one(x | {"never seen": 3.0})
        model.debug_one(x)
    model.feature_importances(n_repeats=1)
    assert model.digest() == before


def test_the_weights_of_the_votes_sum_to_one_and_give_the_answer(model):
    for x in unseen(model):
        explanation = model.explain_one(x)
        weights = [vote.weight for vote in explanation.votes]
        assert math.isclose(sum(weights), 1.0)
        assert weights[:-1] == sorted(weights[:-1], reverse=True)
        if getattr(model, "variant", "") == "moe-task":  # each tree says how probable its own class is
            own = {label: vote.weight * p for vote in explanation.votes for label, p in vote.proba.items()}
            mixed = {label: share / sum(own.values()) for label, share in own.items()}
        else:
            mixed = {
                label: sum(vote.weight * vote.proba[label] for vote in explanation.votes)
                for label in explanation.proba
            }
        assert mixed == pytest.approx(explanation.proba)


def contribution_slowly(model, x, label, feature):
    """The probability of a label, minus its mean with each recent value of a feature: sample by sample."""
    vectors, _ = model._recent.rows()
    column, total = model._encoder.features.index(feature), 0.0
    values = model._encoder.values[column]
    for number in vectors[:, column].tolist():
        changed = {name: value for name, value in x.items() if name != feature}
        if not math.isnan(number):
            changed[feature] = number if values is None else values[int(number)]
        total += model.predict_proba_one(changed)[label]
    return model.predict_proba_one(x)[label] - total / len(vectors)


def test_contributions_are_those_of_a_loop_over_recent_values(model):
    for x in unseen(model, 2):
        explanation = model.explain_one(x)
        found = {one.feature: one.contribution for one in explanation.contributions}
        assert list(found) == sorted(found, key=lambda name: -abs(found[name]))
        assert set(found) == set(model._encoder.features)
        for feature in found:
            expected = contribution_slowly(model, x, explanation.label, feature)
            assert found[feature] == pytest.approx(expected, abs=1e-9)


def test_the_feature_that_decides_contributes_most_and_a_constant_nothing(model):
    explanation = model.explain_one({"a": 2.0, "b": 0.0, "c": 1.0} | ({"colour": "red"} if len(
        model._encoder.features) == 4 else {}))  # fmt: skip
    found = {one.feature: one.contribution for one in explanation.contributions}
    assert explanation.label == "yes"
    assert next(iter(found)) == "a"
    assert found["a"] > 0.2
    assert found["c"] == 0.0
    assert max(abs(found[name]) for name in found if name != "a") < 0.5 * found["a"]


def holds(condition):
    """Whether a value passes the test that is written beside it."""
    sign, _, threshold = condition.test.partition(" ")
    if sign in ("<=", ">"):
        is_at_most = condition.value <= float(threshold) or math.isclose(
            condition.value, float(threshold), rel_tol=1e-5
        )
        return is_at_most if sign == "<=" else condition.value >= float(threshold) * (1 - 1e-5)
    return (condition.value == threshold) == (sign == "=")


def test_all_conditions_of_the_path_hold_for_the_sample():
    for variant in VARIANTS:
        model, n_conditions = fed(small(variant, expert=EAGER), decided(600)), 0
        for x, _ in decided(40, seed=3):
            path = model.explain_one(x).path
            for condition in path.conditions:
                n_conditions += 1
                assert condition.value == x.get(condition.feature)
                assert not condition.is_met or holds(condition)
                assert condition.is_met or condition.value is None
            assert path.class_weights.keys() <= {"yes", "no", "not yes", "not no"}
        assert n_conditions > 40


def test_the_class_weights_of_the_leaf_are_those_of_the_samples_in_it():
    model = fed(small("moe-vote", expert=HoeffdingTreeClassifier(), n_experts=1, top_k=1), decided(100))
    path = model.explain_one({"a": 1.0}).path
    assert path.conditions == ()  # no split before 200 samples
    labels = [y for _, y in decided(100)]
    assert path.class_weights == {"yes": labels.count("yes"), "no": labels.count("no")}


@pytest.mark.parametrize("by_relevance", [False, True])
def test_the_nearest_neighbours_are_those_of_a_brute_force_search(by_relevance):
    rng = np.random.default_rng(5)
    expert = Neighbours(4096, by_relevance=by_relevance)
    inputs = np.round(rng.normal(size=(900, 3)), 1).astype(np.float32)  # with samples at the same distance
    targets = (inputs[:, 0] > 0).astype(np.int64)
    expert.step(Batch(inputs.astype(float), inputs, [], 2, [], targets, np.ones(900)))
    relevances = expert._input_relevances.astype(float)
    assert (len(set(relevances.tolist())) > 1) == by_relevance
    for asked in inputs[:20] + np.float32(0.05):
        found = []
        for place, one in enumerate(inputs):
            square = sum(
                r * (float(a) - float(b)) ** 2 for r, a, b in zip(relevances, asked, one, strict=True)
            )
            found.append((round(math.sqrt(square), 4), 900 - place, int(targets[place])))
        found.sort()
        nearest = zip(*(part.tolist() for part in expert.nearest_to(asked, 5)), strict=True)
        for (target, age, distance), (expected, _, _) in zip(nearest, found, strict=False):
            assert distance == pytest.approx(expected, abs=2e-4)
            assert target == targets[900 - age]


def test_without_neighbours_recent_samples_are_searched():
    model = fed(small("moe-vote"), decided(300))
    samples = list(decided(300))
    x = samples[-7][0]
    first = model.explain_one(x).neighbours[0]
    assert (first.label, first.age, first.distance) == (samples[-7][1], 7, 0.0)


def test_the_neighbours_that_count_more_are_shown():
    model = fed(small("driftmoe", expert=EAGER, extras=("neighbours", "relevant-neighbours")), decided(700))
    sizes = [group.n_experts for group in model._mixture.groups]
    for place, is_relevant in ((0, False), (1, True)):
        model._mixture._log_likelihood_memories[:] = -9.0
        first = sizes[0] + place * sizes[1]
        model._mixture._log_likelihood_memories[:, first : first + 4] = 0.0
        assert model.explain_one({"a": 1.0}).by_relevance == is_relevant


@pytest.mark.parametrize("variant", VARIANTS)
def test_before_anything_is_learnt_it_says_so(variant):
    model = small(variant)
    explanation = model.explain_one({"a": 1.0})
    assert (explanation.label, explanation.proba, explanation.votes) == (None, {}, ())
    assert "learnt nothing yet" in model.debug_one({"a": 1.0})
    assert model.feature_importances() == {}
    json.dumps(explanation.to_dict(), allow_nan=False)


@pytest.mark.parametrize("variant", VARIANTS)
def test_after_one_sample_there_is_one_class(variant):
    model = fed(small(variant), [({"a": 1.0}, "yes")])
    assert "only class" in model.debug_one({"a": 2.0})
    assert model.feature_importances() == {}


def test_a_sample_without_any_feature_can_be_explained():
    model = fed(small("driftmoe"), [({}, "yes"), ({}, "no"), ({}, "no")])
    explanation = model.explain_one({"a": 1.0})
    assert explanation.contributions == ()
    assert explanation.unknown_features == ("a",)
    assert 'never learnt these features: "a"' in str(explanation)
    assert "remembers no recent values" in str(explanation)


def test_unknown_features_values_and_missing_ones_are_named():
    model = fed(small("driftmoe"), decided(200))
    explanation = model.explain_one({"a": 1.0, "colour": "pink", "z": 3})
    assert explanation.unknown_features == ("z",)
    assert explanation.unknown_values == ("colour",)
    values = {one.feature: one.value for one in explanation.contributions}
    assert values == {"a": 1.0, "b": None, "c": None, "colour": "pink"}
    assert "b = missing" in str(explanation)
    assert 'the values given here for: "colour"' in str(explanation)


@pytest.mark.parametrize("variant", VARIANTS)
def test_with_costs_the_answer_of_predict_one_is_explained(variant):
    model = fed(small(variant, expert=EAGER, decision_costs={"yes": 50}), decided(300))
    n_costly = 0
    for x, _ in decided(30, seed=5):
        explanation = model.explain_one(x)
        assert explanation.label == model.predict_one(x)
        found = {one.feature: one.contribution for one in explanation.contributions}
        assert found["a"] == pytest.approx(contribution_slowly(model, x, explanation.label, "a"), abs=1e-9)
        is_costly = explanation.label != max(explanation.proba, key=explanation.proba.get)
        text = " ".join(str(explanation).split())
        said = 'It is chosen because of the costs of wrong answers, although "no" is more probable.'
        assert (said in text) == is_costly
        n_costly += is_costly
    assert n_costly > 0


@pytest.fixture(scope="module")
def crowded():
    """A model of a feature with 300 values, of which the last 44 share places; the label follows the place."""
    model = small("moe-vote", expert=EAGER, n_experts=1, top_k=1)
    codes = {f"v{i:03}": i for i in range(256)}
    order = [*range(300), *(i * 7 % 300 for i in range(2700))]
    places = [code_of(codes, f"v{i:03}", 256) for i in range(300)]
    samples = [({"k": f"v{i:03}"}, "even" if places[i] % 2 == 0 else "odd") for i in order]
    with pytest.warns(UserWarning, match="too many nominal values"):
        fed(model, samples)
    return model


def test_a_value_that_shares_a_place_is_not_called_unknown(crowded):
    codes = crowded._encoder.full["k"]
    other = list(codes)[code_of(codes, "v290", 256)]
    explanation = crowded.explain_one({"k": "v290"})
    assert explanation.unknown_values == ()
    assert explanation.shared_values == (Shared("k", "v290", other),)
    text = " ".join(str(explanation).split())
    assert f"k = v290 shares a place with others, {other} among them" in text
    assert "has never learnt the values" not in text
    assert crowded.explain_one({"k": "v003"}).shared_values == ()
    assert explanation.to_dict()["shared_values"] == [{"feature": "k", "value": "v290", "other": other}]


def test_a_test_on_a_shared_place_is_shown_by_its_own_name(crowded):
    explanation = crowded.explain_one({"k": "v290"})
    (condition,) = explanation.path.conditions
    (shared,) = explanation.shared_values
    assert condition.test == f"= {shared.other}"
    assert f"  k is v290, in one place with {shared.other}\n" in str(explanation)
    assert "  k is v003\n" in str(crowded.explain_one({"k": "v003"}))


def test_the_tree_of_the_only_class_is_named_by_what_it_is():
    one = [({"a": 1.0}, "yes")]
    assert "tree of the answer is" in fed(small("moe-task"), one).debug_one({"a": 2.0})
    text = fed(small("moe-vote"), one).debug_one({"a": 2.0})
    assert "tree of the answer" not in text
    assert "with the largest weight here" in text


def test_a_sample_that_cannot_be_read_is_refused():
    model = fed(small("moe-data"), decided(50))
    with pytest.raises(TypeError, match="'a' is 'text'"):
        model.explain_one({"a": "text"})


def test_an_explanation_is_json():
    model = small("moe-vote")
    labels = [Decimal("1.5"), ("a", 1), 3, True]
    for i in range(60):
        model.learn_one({("f", 1): np.float32(i % 5), b"x": float(i), "t": "ü\n"}, labels[i % 4])
    found = model.explain_one({("f", 1): 1, b"x": 2.0, "new": "value"}).to_dict()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert {one["label"] for one in found["proba"]} == {"1.5", "('a', 1)", 3, True}
    assert sum(one["value"] for one in found["proba"]) == pytest.approx(1.0)
    assert found["contributions"][0].keys() == {"feature", "value", "contribution"}
    assert found["unknown_features"] == ["new"]


def test_the_text_fits_a_terminal_and_names_answer_and_features(model):
    for x in unseen(model):
        text, explanation = model.debug_one(x), model.explain_one(x)
        assert max(map(len, text.splitlines())) <= 79
        assert text.startswith(f'The answer is "{explanation.label}", with a probability of')
        assert all(str(name) in text for name in model._encoder.features)
        assert text == str(explanation) == str(pickle.loads(pickle.dumps(explanation)))


def test_long_names_and_many_features_still_fit():
    model, rng = small("moe-vote"), np.random.default_rng(6)
    for _ in range(60):
        x = {f"a feature with a very long name indeed, number {i}": rng.normal() for i in range(40)}
        model.learn_one(
            x | {"text": "word " * 30}, "a label with a very long text, " * 3 + str(rng.integers(9))
        )
    text = model.debug_one(x)
    assert max(map(len, text.splitlines())) <= 79
    assert "31 more features" in text


def test_a_pipeline_of_river_shows_the_explanation():
    pipeline = compose.Discard("c") | preprocessing.StandardScaler() | small("moe-vote")
    for x, y in numbers_only(decided(100)):
        pipeline.learn_one(x, y)
    x["b"] = 0.5
    text = pipeline.debug_one(x)
    assert "WHICH FEATURES SPEAK FOR" in text
    assert pipeline[-1].debug_one((pipeline[0] | pipeline[1]).transform_one(x)) in text


def test_the_feature_that_decides_is_the_most_important(model):
    found = model.feature_importances()
    assert list(found) == sorted(found, key=lambda name: -found[name].importance)
    assert next(iter(found)) == "a"
    assert found["a"].importance > 0.2
    assert found["c"] == (0.0, 0.0)
    assert all(abs(found[name].importance) < 0.5 * found["a"].importance for name in found if name != "a")


def test_importances_are_those_of_a_loop_over_shuffled_samples():
    model = fed(small("moe-vote", expert=EAGER), decided(300))
    found = model.feature_importances(n_repeats=3, seed=5)
    rng, samples, features = np.random.default_rng(5), list(decided(300))[-128:], model._encoder.features
    before = np.mean([model.predict_proba_one(x)[y] for x, y in samples])
    losses = {feature: [] for feature in features}
    for _ in range(3):
        for feature in features:
            order = rng.permutation(128)
            after = []
            for (x, y), place in zip(samples, order, strict=True):
                changed = {name: value for name, value in x.items() if name != feature}
                if feature in samples[place][0]:
                    changed[feature] = samples[place][0][feature]
                after.append(model.predict_proba_one(changed)[y])
            losses[feature].append(before - np.mean(after))
    for feature in features:
        assert found[feature] == pytest.approx((np.mean(losses[feature]), np.std(losses[feature])), abs=1e-9)


def test_importances_follow_a_drift():
    model = fed(small("driftmoe", expert=EAGER), decided(500))
    assert next(iter(model.feature_importances())) == "a"
    fed(model, decided(700, seed=2, deciding="b"))
    assert next(iter(model.feature_importances())) == "b"


def test_importances_depend_on_the_seed_alone():
    model = fed(small("moe-vote"), decided(200))
    assert model.feature_importances() == model.feature_importances() == model.feature_importances(seed=0)
    assert model.feature_importances() != model.feature_importances(seed=1)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"n_repeats": 0}, ValueError, "n_repeats=0; choose 1 or more"),
        ({"n_repeats": 1.5}, TypeError, "n_repeats=1.5 is of type float; give an integer"),
        ({"seed": -1}, ValueError, "seed=-1; choose 0 or more"),
        ({"seed": None}, TypeError, "seed=None is of type NoneType"),
    ],
)
def test_wrong_arguments_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        DriftMoEClassifier("moe-data").feature_importances(**arguments)
