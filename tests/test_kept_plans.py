"""Rows go by plans of earlier steps; whatever happens to the model, they come to what new plans would come to."""

from __future__ import annotations

import copy
import gc
import pickle
import warnings
import weakref

import numpy as np
import pytest
from river import tree

import streams
from driftmoe import DriftMoEClassifier, models
from driftmoe.kept_plans import KeptPlans
from driftmoe.memory import n_bytes
from driftmoe.routing import Choice, TopK, TopP
from driftmoe.transaction import StepPlan, carry_out
from driftmoe.trees import HoeffdingTreeClassifier

MODELS = {
    "default": {},
    "few": {"n_experts": 3, "extras": ("neighbours", "history"), "memory": 192, "hidden": (8,)},
    "policy": {"n_experts": 3, "policy": TopP(0.8)},
    "recency": {"n_experts": 3, "gate": "recency"},
    "never learns": {"n_experts": 3, "learning_rate": 0.0, "batch_size": 5},
    "shed": {"n_experts": 5, "min_awake": 1, "memory": 1024, "hidden": (8,)},
    "moe-data": {"variant": "moe-data"},
    "moe-vote": {"variant": "moe-vote", "batch_size": 1},
    "corrected": {"variant": "moe-data", "correction": 0.05},
    "moe-task": {"variant": "moe-task"},
    "river": {"n_experts": 2, "extras": (tree.HoeffdingTreeClassifier(), "head")},
}


def made(name):
    return DriftMoEClassifier(seed=1, **copy.deepcopy(MODELS[name]))


def samples(n=700):
    return list(streams.make("agrawal", seed=3, n_samples=n))


def by_blocks(model, rows, weights=None):
    """The probabilities before each row, learnt in blocks of 50."""
    found = []
    for start in range(0, len(rows), 50):
        part = rows[start : start + 50]
        of_part = None if weights is None else weights[start : start + 50]
        found += model.step_rows([x for x, _ in part], [y for _, y in part], of_part)
    return found


def one_by_one(model, rows, between=None):
    """The probabilities before each row, learnt by single calls. `between` may do something before each."""
    found = []
    for i, (x, y) in enumerate(rows):
        if between is not None:
            model = between(i, model) or model
        found.append(model.predict_proba_one(x))
        model.learn_one(x, y)
    return found, model


@pytest.mark.parametrize("name", MODELS)
def test_single_calls_are_blocks_to_the_last_bit(name):
    rows, ours = samples(), made(name)
    found, _ = one_by_one(ours, rows)
    theirs = made(name)
    assert found == by_blocks(theirs, rows)
    assert (
        name == "river" or ours.digest() == theirs.digest()
    )  # digests with river's own objects are not canonical


REPEATED = ["default", "few", "recency", "never learns", "shed", "moe-data", "moe-vote"]
"""Models whose plans are kept."""

STEPS = {
    "all": lambda i, rng: 1.0,
    "every other, late": lambda i, rng: float(i % 2),
    "weights": lambda i, rng: rng.choice([0.0, 0.5, 1.0, 7.0]),
    "heavy ones again": lambda i, rng: (0.0, 0.5, 1.0, 7.0)[i % 4],
}


def in_steps(model, weights, size, name="agrawal"):
    """The answers to all samples in blocks, in which some rows wait for their labels."""
    stream, said = streams.make(name, seed=3, n_samples=len(weights)), []
    legend = {"names": [f.name for f in stream.features], "values": [f.values for f in stream.features]}
    for block in stream.blocks(size):
        w = weights[len(said) : len(said) + len(block.y)]
        said += model.step_many(block.X, block.y, w=w, awaits=True, classes=stream.classes, **legend)
    return said


@pytest.mark.parametrize("weights", STEPS)
@pytest.mark.parametrize("name", [*REPEATED, "class weights"])
def test_steps_by_kept_plans_are_steps_by_new_ones(name, weights, monkeypatch):
    """The twin makes a new plan for each step. Blocks of 64 end where mini-batches do, those of 50 elsewhere."""
    rng = np.random.default_rng(1)
    weights = np.array([1.0, *(STEPS[weights](i, rng) for i in range(1, 500))])
    arguments = {"class_weight": "balanced"} if name == "class weights" else copy.deepcopy(MODELS[name])
    for size in (64, 50):
        ours, theirs = (DriftMoEClassifier(seed=1, **arguments) for _ in range(2))
        found = in_steps(ours, weights, size)
        with monkeypatch.context() as patch:
            patch.setattr(KeptPlans, "_step_anew", without_keeping)
            assert found == in_steps(theirs, weights, size)
        assert ours.digest() == theirs.digest()


made_anew = KeptPlans._step_anew


def without_keeping(plans, *arguments):
    made_anew(plans, *arguments)
    plans._learning.clear()
    plans._until = 0


BLOCK = {"names": ["x", "z"], "values": [None, None], "classes": ["a", "b"]}


def test_rows_of_which_their_class_leaves_nothing_have_plans_of_their_own():
    """The weight of a class, as small as it may be, times a denormal weight is 0."""
    all_of_them, none_of_them, some = [1.0] * 8, [5e-322] * 8, [1.0, 5e-322] * 4
    few = {"n_experts": 2, "memory": 192, "hidden": (4,), "class_weight": {"a": 1e-6, "b": 1.0}}
    ours, theirs = (DriftMoEClassifier(seed=1, **few) for _ in range(2))
    X, said = np.arange(16.0).reshape(8, 2), []
    for weights in [all_of_them, all_of_them, some, all_of_them, some, none_of_them, some, all_of_them] * 3:
        forget(0, theirs)
        said += [each.step_many(X, np.zeros(8, np.int64), w=weights, **BLOCK) for each in (ours, theirs)]
    assert said[::2] == said[1::2]
    assert ours._mixture.log.n_samples == theirs._mixture.log.n_samples == 3 * (4 * 8 + 3 * 4)
    assert ours.digest() == theirs.digest()


def test_the_room_of_a_heavy_step_that_failed_is_not_that_of_the_next_one(monkeypatch):
    """The heavy rows weigh less in total. All trees split as soon as they may."""
    soon = HoeffdingTreeClassifier(grace_period=3, delta=0.4, tau=0.9)
    arguments = {"variant": "moe-vote", "n_experts": 2, "top_k": 2, "batch_size": 200, "expert": soon}
    heavy, y = np.array([1e-6] * 39 + [2.0]), np.arange(40) % 2
    for seed in range(8):
        ours, theirs = (DriftMoEClassifier(seed=seed, **arguments) for _ in range(2))
        rng = np.random.default_rng(seed)
        for i in range(40):
            X = rng.normal(size=(40, 2)) + y[:, np.newaxis]
            if i > 5:
                before = ours.digest()
                with monkeypatch.context() as patch:
                    patch.setattr(KeptPlans, "_has_places", fails)
                    patch.setattr(KeptPlans, "_step_anew", fails)
                    with pytest.raises(MemoryError):
                        ours.step_many(X, y, w=heavy, **BLOCK)
                assert ours.digest() == before
            assert ours.step_many(X, y, **BLOCK) == theirs.step_many(X, y, **BLOCK)
        assert ours.digest() == theirs.digest()


def fails(*arguments, **others):
    raise MemoryError


@pytest.mark.parametrize("name", ["default", "moe-data"])
@pytest.mark.parametrize("weights", ["all", "every other, late"])
def test_the_plan_is_made_for_few_of_the_steps(name, weights, monkeypatch):
    made = []
    monkeypatch.setattr(KeptPlans, "_step_anew", lambda *a: (made.append(1), made_anew(*a)))
    rng, batch = np.random.default_rng(1), {} if name == "default" else {"batch_size": 32}
    model = DriftMoEClassifier(seed=1, **MODELS[name] | batch)
    weights = np.array([STEPS[weights](i, rng) for i in range(3200)])
    in_steps(model, weights, 64, "led")
    assert model._mixture.log.n_samples == weights.sum()
    assert len(made) < 0.4 * weights.sum() / 32  # trees that grow need a new plan now and then


class Sample(dict):
    """A mapping that is not just a dict."""


@pytest.mark.parametrize("name", ["default", "moe-data", "moe-task", "policy"])
def test_samples_that_lack_features_or_are_other_mappings_are_learnt_as_in_blocks(name):
    rng, rows = np.random.default_rng(1), []
    for x, y in samples():
        left_out = rng.choice(list(x), rng.integers(0, 3), replace=False)
        rows.append((Sample((key, x[key]) for key in x if key not in left_out), y))
    ours, theirs = made(name), made(name)
    assert one_by_one(ours, rows)[0] == by_blocks(theirs, rows)
    assert ours.digest() == theirs.digest()


@pytest.mark.parametrize("bound", [{"max_features": 4}, {"max_classes": 2}])
def test_what_is_left_out_of_single_samples_is_counted_as_in_blocks(bound):
    rng, rows = np.random.default_rng(1), []
    for x, y in samples(300):
        left_out = rng.choice(list(x), 3, replace=False)
        rows.append(({key: x[key] for key in x if key not in left_out}, y))
    ours, theirs = DriftMoEClassifier(seed=1, **bound), DriftMoEClassifier(seed=1, **bound)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert one_by_one(ours, rows)[0] == by_blocks(theirs, rows)
    assert ours.digest() == theirs.digest()
    assert ours.n_ignored_values == theirs.n_ignored_values
    assert ours.n_ignored_values > 0 or "max_features" not in bound


@pytest.mark.parametrize("name", ["default", "few", "recency", "never learns", "shed", "moe-data"])
@pytest.mark.parametrize("lacks", [False, True])
def test_the_plan_is_made_for_few_of_the_rows(name, lacks, monkeypatch):
    model, rows = made(name), samples(400)
    if lacks:
        rows = [({key: x[key] for key in x if key != sorted(x)[i % 9]}, y) for i, (x, y) in enumerate(rows)]
    one_by_one(model, rows[:200])
    made_anew = []
    kind = type(model._plans)
    original = kind._step_anew
    monkeypatch.setattr(kind, "_step_anew", lambda *a, **k: (made_anew.append(1), original(*a, **k))[1])
    one_by_one(model, rows[200:])
    assert len(made_anew) < 60  # of 200; trees that grow need a new plan now and then


def forget(i, model):
    """Give up all plans."""
    model._plans = KeptPlans(model._encoder, model._mixture, model._recent)
    return model


def widened(i, model):
    model.learn_one(samples(1)[0][0] | {f"new {i}": 1.0}, "a new class" if i == 300 else 0)


def of_weight(i, model):
    model.learn_one(*samples(i + 1)[i], w=0.5)


def of_block(i, model):
    model.step_rows(*zip(*samples(i + 20)[i:], strict=True))


def of_state(i, model):
    model.restore(model.state())


def of_other_state(i, model):
    other = made("default")
    by_blocks(other, samples(300)[100:])
    model.restore(other.state())


def shrunk(i, model):
    model.shrink(3_000_000)


def copied(i, model):
    return copy.deepcopy(model)


def pickled(i, model):
    return pickle.loads(pickle.dumps(model))


def saved(i, model):
    return DriftMoEClassifier.from_bytes(model.to_bytes())


def predicted(i, model):
    model.predict_one({"salary": 5.0, "other": "unknown"})
    model.predict_proba_one({})
    model.explain_one(samples(1)[0][0])


@pytest.mark.parametrize(
    "happens",
    [widened, of_weight, of_block, of_state, of_other_state, shrunk, copied, pickled, saved, predicted],
)
def test_nothing_that_happens_between_two_rows_leaves_an_old_plan(happens):
    """The twin makes a new plan for each row, as it does when the model may have changed in any way."""
    rows = samples(450)

    def between(i, model):
        return (
            happens(i, model) if i in (0, 1, 2, 150, 211, 300, 301) and i + (happens is shrunk) > 0 else None
        )

    def forgetful(i, model):
        return forget(i, between(i, model) or model)

    ours, model = one_by_one(made("default"), rows, between)
    theirs, twin = one_by_one(made("default"), rows, forgetful)
    assert ours == theirs
    assert model.digest() == twin.digest()


def test_a_prediction_within_a_prediction_spoils_neither(monkeypatch):
    """A signal handler may predict at any moment."""
    model, rows = made("few"), samples(300)
    one_by_one(model, rows[:250])
    x, other = rows[250][0], rows[251][0]
    expected = [model.predict_proba_one(x), model.predict_proba_one(other)]
    inner = []
    kept = model._plans._predicting
    kept.plan.computed.insert(3, lambda: inner.append(model.predict_proba_one(other)))
    assert model.predict_proba_one(x) == expected[0]
    assert inner == expected[1:]


def test_an_answer_is_not_written_over_by_the_next_one():
    model, rows = made("few"), samples(60)
    one_by_one(model, rows)
    vectors = [model._encoder.known_vector(x) for x, _ in rows[:2]]
    first = model._plans.predict(vectors[0])
    before = first.tolist()
    model._plans.predict(vectors[1])
    assert first.tolist() == before


def test_a_prediction_within_which_a_row_is_learnt_is_that_of_one_state():
    model, rows = made("few"), samples(300)
    one_by_one(model, rows[:250])
    twin, learns = DriftMoEClassifier.from_bytes(model.to_bytes()), iter([True])
    x, (other, y) = rows[251][0], rows[250]
    model.predict_one(x)
    computed = model._plans._predicting.plan.computed
    computed.insert(len(computed) // 2, lambda: next(learns, None) and model.learn_one(other, y))
    found = model.predict_proba_one(x)
    twin.learn_one(other, y)
    assert found == twin.predict_proba_one(x)


@pytest.mark.parametrize("learns", [one_by_one, by_blocks])
def test_predictions_around_each_change_of_a_model_are_those_of_its_state(learns, monkeypatch):
    """Code of a signal handler runs before and after the changes of a step, with the plans that there are then."""
    rows = [
        ({f"x{j}": float(i % (j + 3)) for j in range(2 + i // 60)}, (i % 7) % (2 + i // 100))
        for i in range(400)
    ]
    expected, twin = made("few"), made("few")
    learns(expected, rows)
    wrong = []

    def around(changes):
        for then in (lambda: None, lambda: carry_out(changes)):
            then()
            kept, twin._plans = twin._plans, KeptPlans(twin._encoder, twin._mixture, twin._recent)
            fresh, twin._plans = twin.predict_proba_one(rows[300][0]), kept
            wrong.append(twin.predict_proba_one(rows[300][0]) != fresh)

    for module in ("driftmoe.learning", "driftmoe.kept_plans"):
        monkeypatch.setattr(f"{module}.carry_out", around)
    learns(twin, rows)
    assert len(wrong) > 40
    assert not any(wrong)
    assert twin.digest() == expected.digest()


def test_an_interrupted_shrink_leaves_no_old_plan(monkeypatch):
    model, rows = made("default"), samples(300)
    one_by_one(model, rows[:200])
    twin = DriftMoEClassifier.from_bytes(model.to_bytes())

    def interrupted(changes):
        carry_out(changes)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("driftmoe.bounded.carry_out", interrupted)
        with pytest.raises(KeyboardInterrupt):
            model.shrink(3_000_000)
    twin.shrink(3_000_000)
    assert one_by_one(model, rows[200:])[0] == one_by_one(twin, rows[200:])[0]
    assert model.digest() == twin.digest()


def test_a_policy_keeps_its_arrays():
    first, second = (np.eye(3)[[i]] for i in (0, 1))

    class Alternating(TopK):
        def rows(self, logits):
            weights = first if logits[0, 0] > logits[0, 1] else second
            return Choice(weights, weights > 0.0)

    models = [
        DriftMoEClassifier(variant="moe-vote", n_experts=3, policy=Alternating(1), seed=1) for _ in range(2)
    ]
    found, _ = one_by_one(models[0], samples(200))
    assert found[:60] == one_by_one(models[1], samples(60), forget)[0]
    assert first.tolist() == [[1.0, 0.0, 0.0]]
    assert second.tolist() == [[0.0, 1.0, 0.0]]


def test_an_error_while_a_plan_is_computed_changes_nothing():
    model, rows = made("few"), samples(300)
    one_by_one(model, rows[:250])
    kept = model._plans._learning[False, b"\1", b""]

    def fail():
        raise MemoryError

    kept.plan.computed.append(fail)
    at = 250
    while model._plans._until <= model._mixture.log.n_samples or model._mixture.router.room == 1:
        model.learn_one(*rows[at])
        at += 1
    before = model.digest()
    with pytest.raises(MemoryError):
        model.learn_one(*rows[at])
    assert model.digest() == before
    kept.plan.computed.remove(fail)
    twin = DriftMoEClassifier.from_bytes(model.to_bytes())
    for each in (model, twin):
        one_by_one(each, rows[250:])
    assert model.digest() == twin.digest()


def test_marks_of_the_log_are_planned_anew_each_time():
    """A plan that is carried out twice must not write into the record of the first time."""
    plan, kept, value = StepPlan(), [], np.zeros(1)
    plan.append(lambda: value.__iadd__(1.0) is None)

    def mark(changes):
        copied = np.empty(1)
        changes.append(lambda: copied.__setitem__(..., value))
        changes.append(lambda: kept.append(copied))

    plan.planners.append(mark)
    for _ in range(3):
        carry_out(plan)
    assert [array.tolist() for array in kept] == [[1.0], [2.0], [3.0]]


@pytest.mark.parametrize("name", ["default", "shed"])
def test_nothing_of_a_model_outlives_it(name):
    model = made(name)
    one_by_one(model, samples(300))
    mixture, kept = model._mixture, model._plans._predicting
    parts = [
        weakref.ref(part) for part in (mixture.experts.pool._storage.nodes, mixture.shedding, kept.proba)
    ]
    del model, mixture, kept
    gc.collect()
    assert [part() is None for part in parts] == [True] * 3


@pytest.mark.parametrize("name", ["driftmoe", "moe-data"])
def test_the_memory_of_a_model_is_that_of_its_plans_but_not_of_the_code_that_they_call(name):
    """Code that was compiled in this process holds objects that raise KeyError when they are asked for a name."""
    model = models.make(name, seed=1)
    for i in range(40):
        model.predict_one({"a": float(i)})
        model.learn_one({"a": float(i)}, i % 2)
    assert model._plans._learning
    seen = []
    n_bytes(model, lambda part: seen.append(type(part).__module__) or 0)
    assert not {module for module in seen if module.startswith(("numba", "_dynfunc"))}


def test_an_object_that_answers_for_no_name_is_measured():
    class Odd:
        def __getattr__(self, name):
            raise KeyError(name)

    assert n_bytes([Odd(), 1.5]) > 0
