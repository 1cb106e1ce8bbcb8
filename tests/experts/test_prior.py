"""A trained model as one more expert: read, never taught, and shared."""

from __future__ import annotations

import copy
import pickle
import threading

import numpy as np
import pytest
from river import compose, dummy, naive_bayes, preprocessing

from driftmoe import DriftMoEClassifier, load, saving
from driftmoe.experts.prior import PriorExpert
from driftmoe.trees import HoeffdingTreeClassifier

SMALL = {"n_experts": 2, "extras": ("history", "linear"), "gate": "recency", "batch_size": 8}
COLOURS = ["red", "green", "blue", "white"]


def samples(n, seed, labels=("a", "b", "c")):
    """Two numbers and a colour, which say the label."""
    rng = np.random.default_rng(seed)
    rows = []
    for first, second, colour in zip(
        rng.normal(size=n), rng.normal(size=n), rng.integers(0, 4, n), strict=True
    ):
        x = {"first": float(first), "second": float(second), "colour": COLOURS[colour]}
        rows.append((x, labels[int(first > 0) + int(first > 0 and colour > 1)]))
    return rows


def taught(model, rows):
    for x, y in rows:
        model.learn_one(x, y)
    return model


def a_prior(kind="mixture"):
    model = (
        HoeffdingTreeClassifier(grace_period=50) if kind == "tree" else DriftMoEClassifier(**SMALL, seed=3)
    )
    return taught(model, samples(400, 1))


@pytest.fixture
def prior():
    return a_prior()


def with_prior(prior, **more):
    return DriftMoEClassifier(**{**SMALL, "seed": 7, **more}, prior=prior)


@pytest.mark.parametrize("kind", ["mixture", "tree"])
def test_before_anything_is_learnt_the_answers_are_those_of_the_prior(kind):
    prior, rows = a_prior(kind), [x for x, _ in samples(20, 2)]
    rows += [{"first": 0.3}, {}, {**rows[0], "colour": "never seen", "more": 1.0}]
    model, expected = with_prior(prior), [prior.predict_proba_one(x) for x in rows]
    assert [model.predict_proba_one(x) for x in rows] == expected
    assert model.predict_proba_rows(rows) == expected
    assert model.predict_one(rows[0]) == prior.predict_one(rows[0])


@pytest.mark.parametrize("kind", ["mixture", "tree"])
def test_the_prior_is_one_vote_with_its_own_probabilities_and_is_never_taught(kind):
    prior = a_prior(kind)
    digest, rows = prior.digest(), samples(60, 2)
    model = taught(with_prior(prior), rows)
    x = {**rows[0][0], "colour": "black"}  # which the prior has never seen, and the model has
    model.learn_one(x, "a")
    for sample in (rows[5][0], x):
        vector = model._encoder.vector(model._encoder.clean(sample))
        inputs = np.zeros((1, model._encoder.n_inputs), np.float32)
        from driftmoe.experts import Batch

        _, votes = model._mixture.votes(Batch(vector[np.newaxis], inputs, [], len(model._encoder.classes)))
        of_prior = prior.predict_proba_one(sample)
        named = model._mixture.expert_names(model._encoder.classes).index("prior")
        expected = [of_prior.get(label, 0.0) for label in model._encoder.classes]
        assert votes[0, named].tolist() == expected
    assert prior.digest() == digest
    assert prior.predict_proba_one(rows[0][0]).keys() == {"a", "b", "c"}


def test_a_prior_does_not_learn_and_a_copy_of_it_does(prior):
    with_prior(prior)
    for teach in (lambda: prior.learn_one({"first": 1.0}, "a"), lambda: prior.restore(prior.state())):
        with pytest.raises(RuntimeError, match=r"is the prior of others.*teach a copy"):
            teach()
    for again in (copy.deepcopy(prior), pickle.loads(pickle.dumps(prior))):
        again.learn_one({"first": 1.0}, "a")
        assert again.digest() != prior.digest()


@pytest.mark.parametrize("more", [{}, {"gate": "learnt", "extras": ("head", "neighbours"), "memory": 64}])
@pytest.mark.parametrize("kind", ["mixture", "tree"])
def test_many_equals_one(kind, more):
    prior, rows = a_prior(kind), samples(150, 2, ("c", "a", "new"))
    rows[50][0]["colour"] = "black"
    rows[70][0]["more"] = 1.0
    X, y = [x for x, _ in rows], [label for _, label in rows]
    w = [0.0, 0.0] + [1.0] * 148  # the first two are asked, and not learnt
    single, many, lot = (with_prior(prior, **more) for _ in range(3))
    answers = []
    for x, label, weight in zip(X, y, w, strict=True):
        answers.append(single.predict_proba_one(x))
        single.learn_one(x, label, weight)
    assert many.step_rows(X, y, w) == answers
    parts = [lot.step_rows(X[i : i + 7], y[i : i + 7], w[i : i + 7]) for i in range(0, 150, 7)]
    assert [one for part in parts for one in part] == answers
    assert single.digest() == many.digest() == lot.digest()


def test_single_rows_use_plans_that_are_made_once_though_a_class_of_the_prior_never_comes(prior):
    model = with_prior(prior)
    taught(model, [(x, "a") for x, _ in samples(20, 2)])
    model.predict_one({"first": 0.0, "second": 0.0, "colour": "red"})
    assert model._plans._learning
    assert model._plans._predicting is not None


def test_the_gate_starts_with_trust_and_leaves_a_prior_that_is_wrong(prior):
    def share(labels, n):
        model = taught(with_prior(prior), samples(n, 5, labels))
        x = samples(1, 6)[0][0]
        votes = {vote.expert: vote.weight for vote in model.explain_one(x).votes}
        return votes.get("prior", 0.0)

    assert share(("a", "b", "c"), 5) > 0.5
    assert share(("c", "a", "b"), 300) < 0.05


def test_explanations_and_reports_name_the_prior(prior):
    model = with_prior(prior)
    first = model.explain_one(samples(1, 2)[0][0])
    assert [(vote.expert, vote.weight) for vote in first.votes] == [("prior", 1.0)]
    assert first.path is None
    assert first.proba == prior.predict_proba_one(samples(1, 2)[0][0])
    taught(model, samples(60, 2))
    assert "prior" in str(model.explain_one(samples(1, 2)[0][0]))
    assert "prior" in str(model.routing_report())


def test_an_explanation_before_anything_is_learnt_has_no_tree_and_no_similar_samples(prior):
    model = with_prior(prior, extras=("neighbours", "head"), gate="learnt", memory=64)
    explanation = model.explain_one(samples(1, 2)[0][0])
    assert explanation.path is None
    assert explanation.neighbours == explanation.contributions == ()
    assert "prior" in str(explanation)


def test_copies_share_the_prior_and_a_pickle_carries_it(prior):
    model = taught(with_prior(prior), samples(60, 2))
    deep, clone = copy.deepcopy(model), model.clone(include_attributes=True)
    assert deep.prior is clone.prior is model.clone().prior is model.clone({"seed": 9}).prior is prior
    plain = DriftMoEClassifier(**SMALL, seed=7).clone({"prior": prior})
    assert plain.prior is prior
    carried = pickle.loads(pickle.dumps(model))
    assert carried.prior is not prior
    others = samples(30, 4)
    for other in (deep, clone, carried):
        assert other.digest() == model.digest()
    expected = taught(model, others).digest()
    assert [taught(other, others).digest() for other in (deep, clone, carried)] == [expected] * 3
    assert "prior=DriftMoEClassifier" in repr(model)


def test_predicting_changes_no_part(prior):
    model = taught(with_prior(prior), samples(20, 2))
    before = [pickle.dumps(getattr(model, f"_{part}")) for part in model.PARTS]
    for x in ({"first": 1.0, "new": 2.0}, {}, samples(1, 3)[0][0]):
        model.predict_proba_one(x)
        model.explain_one(x)
    assert [pickle.dumps(getattr(model, f"_{part}")) for part in model.PARTS] == before


def test_a_file_has_the_digest_of_the_prior_and_wants_it_back(prior, tmp_path):
    model = taught(with_prior(prior), samples(60, 2))
    path = model.save(tmp_path / "model.moe")
    assert prior.digest().encode() in path.read_bytes()
    assert len(model.to_bytes()) < len(prior.to_bytes()) + len(
        taught(DriftMoEClassifier(**SMALL), samples(60, 2)).to_bytes()
    )
    again = load(path, prior=prior)
    assert again.prior is prior
    others = samples(30, 4)
    assert taught(again, others).digest() == taught(model, others).digest()
    assert DriftMoEClassifier.from_bytes(path.read_bytes(), prior=pickle.loads(pickle.dumps(prior))).digest()
    assert DriftMoEClassifier.load(path, prior=prior).prior is prior


@pytest.mark.parametrize("fresh", [True, False])
def test_a_missing_prior_or_another_one_is_refused(prior, fresh):
    content = taught(with_prior(prior), [] if fresh else samples(10, 2)).to_bytes()
    with pytest.raises(
        ValueError, match=rf"reads a prior, which is not in the file: .*{prior.digest()}; give it as"
    ):
        saving.from_bytes(content)
    other = taught(DriftMoEClassifier(**SMALL, seed=3), samples(399, 1))
    with pytest.raises(
        ValueError, match=rf"with the digest {prior.digest()}, and prior is a .* {other.digest()};"
    ):
        saving.from_bytes(content, prior=other)
    other.learn_one({"first": 1.0}, "a")  # a refused one is not held
    with pytest.raises(TypeError, match=r"prior is 'model\.moe'; give a trained DriftMoEClassifier"):
        saving.from_bytes(content, prior="model.moe")
    plain = taught(DriftMoEClassifier(**SMALL, seed=3), samples(10, 2)).to_bytes()
    with pytest.raises(ValueError, match="the model in the file reads no prior; leave prior out"):
        saving.from_bytes(plain, prior=prior)
    tree = HoeffdingTreeClassifier().to_bytes()
    with pytest.raises(ValueError, match="reads no prior"):
        saving.from_bytes(tree, prior=prior)


def test_a_pipeline_gets_its_prior_back():
    scaled = preprocessing.StandardScaler()
    prior = taught(
        DriftMoEClassifier(**SMALL, seed=3), [({"first": x["first"]}, y) for x, y in samples(50, 1)]
    )
    model = compose.Pipeline(scaled, with_prior(prior))
    for x, y in samples(30, 2):
        model.learn_one({"first": x["first"]}, y)
    again = saving.from_bytes(saving.to_bytes(model), prior=prior)
    assert saving.digest(again) == saving.digest(model)
    with pytest.raises(ValueError, match="reads a prior, which is not in the file"):
        saving.from_bytes(saving.to_bytes(model))


def test_classes_that_the_prior_knows_are_answered_before_they_come(prior):
    model = with_prior(prior)
    taught(model, [(x, y) for x, y in samples(200, 2) if y == "a"][:3])
    x = next(x for x, y in samples(200, 3) if y == "c" and prior.predict_one(x) == "c")
    assert model.predict_proba_one(x).keys() == {"a", "b", "c"}
    assert model.predict_proba_one(x)["c"] > 0.2


def test_a_class_that_the_prior_does_not_know_is_learnt(prior):
    model = taught(with_prior(prior), samples(300, 2, ("a", "new", "new")))
    assert model.predict_one({"first": 2.0, "second": 0.0, "colour": "blue"}) == "new"
    assert list(model.predict_proba_one({"first": 2.0})) == [*prior.predict_proba_one({}), "new"]


def test_a_prior_may_have_a_prior(prior):
    second = taught(with_prior(prior), samples(50, 2, ("a", "b", "d")))
    third = with_prior(second, seed=8)
    x = samples(1, 4)[0][0]
    assert third.predict_proba_one(x) == second.predict_proba_one(x)
    again = saving.from_bytes(taught(third, samples(20, 5)).to_bytes(), prior=second)
    assert again.digest() == third.digest()


def test_the_memory_of_a_model_is_without_the_prior_and_keeps_its_bound(prior):
    model = taught(with_prior(prior, max_bytes=500_000), samples(300, 2))
    assert model._raw_memory_usage <= 500_000
    with pytest.raises(ValueError, match="max_bytes=100000, but a model of these settings"):
        with_prior(prior, max_bytes=100_000)
    model.shrink(420_000)
    assert model._raw_memory_usage <= 420_000
    model.learn_one(*samples(1, 3)[0])
    large = taught(DriftMoEClassifier(seed=1, memory=1024), samples(40, 1))
    before = with_prior(a_prior("tree"))._raw_memory_usage
    assert abs(with_prior(large)._raw_memory_usage - before) < 5_000 < large._raw_memory_usage


def test_several_threads_may_read_one_prior():
    """Its neighbours write what they find into the same work space."""
    neighbours = DriftMoEClassifier(
        n_experts=1, extras=("neighbours",), memory=1024, gate="recency", batch_size=8, seed=3
    )
    prior = taught(neighbours, samples(600, 1))
    rows, found = samples(150, 2), []
    expected = taught(with_prior(prior), rows).digest()
    threads = [
        threading.Thread(target=lambda: found.append(taught(with_prior(prior), rows).digest()))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 4


@pytest.mark.parametrize(
    ("prior", "more", "error", "message"),
    [
        (
            HoeffdingTreeClassifier(),
            {},
            ValueError,
            "prior: the HoeffdingTreeClassifier has learnt nothing yet",
        ),
        (
            naive_bayes.GaussianNB(),
            {},
            TypeError,
            "prior is of type GaussianNB; give a trained DriftMoEClassifier",
        ),
        (3, {}, TypeError, "prior is 3; give a trained"),
        ("trained", {"max_features": 2}, ValueError, "max_features=2 but the prior knows 3 features"),
        ("trained", {"max_classes": 2}, ValueError, "max_classes=2 but the prior knows 3 classes"),
        (
            "of river",
            {},
            TypeError,
            "prior: river classifiers are among the experts of this DriftMoEClassifier",
        ),
        (
            "with codes",
            {},
            ValueError,
            "the prior takes the feature 'first' for a code, and the experts for a number",
        ),
    ],
)
def test_a_wrong_prior_is_refused(prior, more, error, message):
    if prior == "trained":
        prior = a_prior()
    elif prior == "of river":
        prior = taught(DriftMoEClassifier(n_experts=1, extras=(dummy.PriorClassifier(),)), samples(3, 1))
    elif prior == "with codes":
        prior = taught(HoeffdingTreeClassifier(nominal_attributes=["first"]), [({"first": 1}, "a")])
    with pytest.raises(error, match=message):
        with_prior(prior, **more)


def test_a_prior_of_other_variants_is_refused_and_one_that_was_changed_too(prior):
    with pytest.raises(
        ValueError, match="prior=DriftMoEClassifier does not apply to variant='moe-data', only to"
    ):
        DriftMoEClassifier("moe-data", prior=prior)
    model = with_prior(prior)
    model.prior = a_prior("tree")
    with pytest.raises(ValueError, match="an attribute has changed"):
        model.to_bytes()


def test_a_state_of_a_model_with_another_prior_is_refused(prior):
    with pytest.raises(ValueError, match=r"with prior=.*build a model with the same arguments"):
        with_prior(a_prior("tree")).restore(with_prior(prior).state())
    state, model = with_prior(prior).state(), with_prior(prior)
    state["encoder"]["classes"] = ["a", "b", "x"]
    with pytest.raises(ValueError, match="does not start with the features, values and classes of the prior"):
        model.restore(state)


def test_a_costly_prior_is_asked_for_the_rows_that_are_asked_alone(prior):
    from driftmoe.experts import Batch

    expert = PriorExpert(with_prior(prior)._mixture._prior.prior)
    vectors = np.array([prior._encoder.vector(x) for x, _ in samples(6, 2)])
    batch = Batch(vectors, np.zeros((6, 6), np.float32), [], 4)
    asked = np.array([True, False, False, True, False, False])
    votes = expert.step(batch, asked=asked)
    assert votes.shape == (6, 1, 4)
    np.testing.assert_array_equal(votes[asked], expert.predict_proba(batch)[asked])
    assert not votes[~asked].any()
