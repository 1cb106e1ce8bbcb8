"""Parts give their state as arrays and numbers, and go on from it as if nothing had happened."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from batches import batch
from river import naive_bayes

from benchmarks import faults
from driftmoe import DriftMoEClassifier
from driftmoe.experts import (
    LabelHistory,
    LinearModels,
    MulticlassExperts,
    MulticlassTrees,
    Neighbours,
    Networks,
    OneVsRestExperts,
    OneVsRestTrees,
    Perceptron,
    Products,
)
from driftmoe.mixture.router import Router
from driftmoe.routing import TopK
from driftmoe.trees import HoeffdingTreeClassifier, TreePool

EXPERTS = {
    "neighbours": lambda: Neighbours(64),
    "relevant neighbours": lambda: Neighbours(128, by_relevance=True),
    "history": LabelHistory,
    "linear": LinearModels,
    "perceptron": lambda: Perceptron(np.random.default_rng(1), width=8),
    "products": Products,
    "sequence": lambda: Products(n_last=2),
    "networks": lambda: Networks(
        2, hidden=(4,), learning_rate=0.1, batch_size=8, rng=np.random.default_rng(1)
    ),
    "trees": lambda: MulticlassTrees(
        TreePool(2, grace_period=5, delta=0.5, warning_delta=0.5, drift_delta=0.4, seed=1)
    ),
    "trees, one for each class": lambda: OneVsRestTrees(TreePool(0, grace_period=5, delta=0.5, seed=1)),
    "river": lambda: MulticlassExperts(naive_bayes.GaussianNB(), 2, np.random.default_rng(1)),
    "river, one for each class": lambda: OneVsRestExperts(naive_bayes.GaussianNB(), np.random.default_rng(1)),
}

PLAIN = (bool, int, float, str, type(None))


def rows(part, n_inputs, n_classes, seed, n=37):
    """Return a batch of random rows as the part reads them."""
    rng = np.random.default_rng(seed)
    inputs, targets = rng.normal(size=(n, n_inputs)), rng.integers(0, n_classes, n)
    if part.reads == "samples":
        inputs = [{f"input {f}": float(value) for f, value in enumerate(row)} for row in inputs]
    return batch(inputs, n_classes, targets, rng.choice([1.0, 2.0], n))


def pieces(of_rows, size):
    n = len(of_rows.targets)
    for start in range(0, n, size):
        kept = slice(start, start + size)
        yield of_rows._replace(
            vectors=of_rows.vectors[kept], inputs=of_rows.inputs[kept], samples=of_rows.samples[kept],
            targets=of_rows.targets[kept], weights=of_rows.weights[kept],
        )  # fmt: skip


def learn(part, *stages):
    """Let a part learn stages of (n_inputs, n_classes, seed), and return what it said before each row."""
    return [part.step(piece).tolist() for stage in stages for piece in pieces(rows(part, *stage), 1)]


def check_plain(value):
    """Fail unless a state holds nothing but arrays, numbers, text, lists and dicts with text for keys."""
    if isinstance(value, dict):
        assert all(type(name) is str for name in value)
        for one in value.values():
            check_plain(one)
    elif isinstance(value, list):
        for one in value:
            check_plain(one)
    else:
        assert type(value) in PLAIN or type(value) is np.ndarray, type(value)


def equal(one, other):
    """Whether two states are the same, bit for bit."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[name], other[name]) for name in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(equal, one, other))
    if isinstance(one, np.ndarray):
        return (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())
    return type(one) is type(other) and one == other


@pytest.mark.parametrize("name", EXPERTS)
def test_experts_go_on_from_their_state_as_if_nothing_had_happened(name):
    part, other = EXPERTS[name](), EXPERTS[name]()
    fresh = other.state()
    learn(part, (2, 2, 1), (3, 2, 2), (3, 4, 3))
    learn(other, (1, 3, 9))
    state = part.state()
    if "river" not in name:  # those hold the user's own Python objects
        check_plain(state)
        assert not equal(state, fresh)
    other.restore(copy.deepcopy(state))
    if "river" not in name:
        assert equal(other.state(), state)
    later = (3, 4, 4), (5, 5, 5)
    assert learn(part, *later) == learn(other, *later)
    if "river" not in name:
        assert equal(part.state(), other.state())


@pytest.mark.parametrize("name", EXPERTS)
def test_a_state_is_a_copy(name):
    part = EXPERTS[name]()
    learn(part, (2, 2, 1))
    state = part.state()
    kept = copy.deepcopy(state)
    other = EXPERTS[name]()
    other.restore(state)
    learn(part, (2, 2, 2))
    learn(other, (2, 2, 3))
    if "river" not in name:
        assert equal(state, kept)
    again = EXPERTS[name]()
    again.restore(state)
    once = EXPERTS[name]()
    once.restore(kept)
    assert learn(again, (2, 3, 4)) == learn(once, (2, 3, 4))


@pytest.mark.parametrize("name", [name for name in EXPERTS if "river" not in name])
def test_a_state_that_does_not_fit_is_refused_and_changes_nothing(name):
    part = EXPERTS[name]()
    learn(part, (2, 2, 1))
    state = part.state()

    def refuse(broken, error, match):
        with pytest.raises(error, match=match):
            part.restore(broken)
        assert equal(part.state(), state)

    first = next(iter(state))
    refuse({key: value for key, value in state.items() if key != first}, ValueError, f"lacks '{first}'")
    refuse(state | {"more": 1}, ValueError, "has unknown 'more'")
    refuse([], TypeError, "is a list; give the dict that state\\(\\) returned")
    for key, value in state.items():
        if isinstance(value, np.ndarray):
            refuse(state | {key: value.tolist()}, TypeError, f"'{key}' in the state .* must be an array")
            refuse(state | {key: value.astype("complex64")}, ValueError, f"'{key}' .* complex64 of shape")
            refuse(state | {key: value[np.newaxis]}, ValueError, f"'{key}' in the state")
        else:
            refuse(state | {key: None}, TypeError, f"'{key}' in the state .* must be of type")


def router(**others):
    settings = {"hidden": (6, 4), "learning_rate": 0.05, "batch_size": 8, "dropout": 0.3} | others
    return Router(2, rng=np.random.default_rng(1), **settings)


def trained(part, n_inputs, n_outputs, n_rows, seed):
    rng = np.random.default_rng(seed)
    said = []
    for _ in range(n_rows):
        part.grow(n_inputs, n_outputs)
        said.append(part.logits(rng.normal(size=(1, n_inputs)).astype(np.float32), is_learning=True).tolist())
        part.learn(rng.random((1, n_outputs)) < 0.5)
    return said


def test_a_router_goes_on_within_a_mini_batch_and_after_it_has_grown():
    part, other = router(), router()
    trained(part, 3, 2, 11, seed=1)
    trained(part, 4, 3, 2, seed=2)  # three rows of the mini-batch know nothing of the third output
    trained(other, 1, 5, 3, seed=3)
    state = part.state()
    check_plain(state)
    assert state["batch_activations"].shape == (5, 4 + 6 + 4 + 3)
    other.restore(copy.deepcopy(state))
    assert equal(other.state(), state)
    assert trained(part, 4, 3, 20, seed=4) == trained(other, 4, 3, 20, seed=4)
    assert trained(part, 6, 5, 20, seed=5) == trained(other, 6, 5, 20, seed=5)
    assert equal(part.state(), other.state())


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({"hidden": (6, 5)}, "'layer_widths' .* hidden layers of \\[6, 5\\]"),
        ({"batch_size": 4}, "'batch_weights' .* takes a step every 4 rows"),
    ],
)
def test_the_state_of_another_router_is_refused(changed, match):
    part = router()
    trained(part, 3, 2, 13, seed=1)
    other = router(**changed)
    before = other.state()
    with pytest.raises(ValueError, match=match):
        other.restore(part.state())
    assert equal(other.state(), before)


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({"n_steps": -1}, "'n_steps' in the state of Router is -1; it must be 0 or more"),
        ({"n_rows_before_growth": 9}, "'n_rows_before_growth' .* it must be 0 to 5"),
        ({"layer_widths": [3, 6, 4, -2]}, "widths must be 0 or more"),
        ({"layer_widths": [2**40, 6, 4, 2]}, "'weights' in the state of Router is float32 of shape"),
        (
            {"rng": {"bit_generator": "MT19937"}},
            "'rng' in the state of Router is not a state of numpy's PCG64",
        ),
    ],
)
def test_numbers_that_no_router_has_are_refused(changed, match):
    part = router()
    trained(part, 3, 2, 13, seed=1)
    with pytest.raises(ValueError, match=match):
        router().restore(part.state() | changed)


def learnt(name, n_samples=150):
    model = faults.MODELS[name]()
    for x, y in faults.growing(n_samples):
        model.learn_one(x, y)
    return model


ESTIMATORS = list(faults.MODELS)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_model_goes_on_from_its_state_as_if_nothing_had_happened(name):
    model, other = learnt(name), faults.MODELS[name]()
    other.learn_one({"another": 1.0}, "another")
    state = model.state()
    _, encoder, rest, *_ = state  # the encoder's holds labels and values of any type
    check_plain(state[rest])
    other.restore(copy.deepcopy(state))
    assert equal(other.state()[rest], state[rest])
    assert other.state()[encoder]["classes"] == state[encoder]["classes"]
    later, probes = faults.growing(120, seed=2, every=20), faults.growing(30, seed=3)
    for x, y in later:
        assert model.predict_proba_one(x) == other.predict_proba_one(x)
        model.learn_one(x, y)
        other.learn_one(x, y)
    assert faults.digest(model, probes) == faults.digest(other, probes)
    if name == "tree":
        assert model.describe() == other.describe()
        return
    figures = [one.routing_report().cumulative.of_all() for one in (model, other)]
    assert figures[0] == figures[1]
    assert model.routing_report().window.of_each() == other.routing_report().window.of_each()


@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_damaged_part_leaves_the_whole_model_as_it_was(name):
    model, other = learnt(name), learnt(name, 40)
    state = model.state()
    if name == "tree":
        state["pool"]["leaves"] = state["pool"]["leaves"][:-1]
    else:
        del state["mixture"]["log"]["sums"]["missed"]
    probes = faults.growing(30, seed=3)
    before = faults.digest(other, probes)
    with pytest.raises(
        ValueError, match=r"the sums of RoutingLog lacks 'missed'|'leaves' in the state of TreePool"
    ):
        other.restore(state)
    assert faults.digest(other, probes) == before


def test_a_pickle_holds_what_was_learnt_and_no_spare_room():
    model = DriftMoEClassifier(n_experts=2, memory=65536, hidden=(8,), extras=("neighbours",), seed=1)
    for x, y in faults.growing(100):
        model.learn_one(x, y)
    packed = pickle.dumps(model)
    assert len(packed) < 50_000 < 2_000_000 < model._raw_memory_usage
    assert pickle.loads(packed).predict_proba_one(x) == model.predict_proba_one(x)


def test_attributes_of_a_subclass_are_pickled_too():
    model = Named(n_experts=2, hidden=(4,), seed=1)
    model.learn_one({"x": 1.0}, "a")
    model.name = "mine"
    copied = pickle.loads(pickle.dumps(model))
    assert copied.name == "mine"
    assert copied.predict_proba_one({"x": 1.0}) == model.predict_proba_one({"x": 1.0})


class Named(DriftMoEClassifier):
    """A subclass of a user's own."""


@pytest.mark.parametrize("name", ESTIMATORS)
def test_parts_of_two_models_are_refused(name):
    large, small = learnt(name), learnt(name, 20)
    before = faults.digest(small, faults.growing(20))
    with pytest.raises(ValueError, match=r"not of one (model|tree)"):
        small.restore(large.state() | {"encoder": small.state()["encoder"]})
    assert faults.digest(small, faults.growing(20)) == before


OTHERS = {
    "variant": (DriftMoEClassifier("moe-vote"), DriftMoEClassifier("moe-data")),
    "gate": (DriftMoEClassifier(gate="router"), DriftMoEClassifier()),
    "memory": (DriftMoEClassifier(memory=64), DriftMoEClassifier(memory=128)),
    "extras": (DriftMoEClassifier(extras=("linear",)), DriftMoEClassifier(extras=("history",))),
    "policy": (DriftMoEClassifier(policy=TopK(3)), DriftMoEClassifier(policy=TopK(4))),
    "expert": (
        DriftMoEClassifier(expert=naive_bayes.GaussianNB()),
        DriftMoEClassifier(expert=HoeffdingTreeClassifier()),
    ),
    "tau": (HoeffdingTreeClassifier(tau=0.1), HoeffdingTreeClassifier(tau=0.2)),
}


@pytest.mark.parametrize("name", OTHERS)
def test_the_state_of_a_model_with_other_arguments_is_refused_by_name(name):
    one, other = OTHERS[name]
    with pytest.raises(ValueError, match=f"the state is of a .* with {name}=.*built with {name}="):
        other.restore(one.state())


def test_seeds_and_threads_make_no_difference_to_a_state():
    one, other = DriftMoEClassifier(seed=1, n_threads=2), DriftMoEClassifier(seed=2)
    for x, y in faults.growing(40):
        one.learn_one(x, y)
    other.restore(one.state())
    assert faults.digest(one, faults.growing(20)) == faults.digest(other, faults.growing(20))


def test_a_class_that_nobody_knows_is_refused_before_a_kernel_counts_it():
    model = learnt("driftmoe")
    state = model.state()
    state["mixture"]["extras"][0]["sample_targets"][:] = 10**8
    with pytest.raises(ValueError, match="the state of the mixture has n_classes=100000001"):
        model.restore(state)


def test_numbers_beyond_int64_are_refused():
    model = learnt("driftmoe", 20)
    state = model.state()
    state["mixture"]["n_seen"] = 2**64
    with pytest.raises(ValueError, match="'n_seen' in the state of AdaptiveMixture is 18446744073709551616"):
        model.restore(state)


def test_a_model_is_not_copied_while_it_learns():
    """Experts of the user's own learn in Python, where a handler or they themselves could take a copy."""
    refused = []

    class Curious(naive_bayes.GaussianNB):
        def learn_one(self, x, y):
            super().learn_one(x, y)
            for take in (pickle.dumps, copy.deepcopy, lambda model: model.state()):
                with pytest.raises(RuntimeError, match="while it is learning") as raised:
                    take(model)
                refused.append(str(raised.value))

    model = DriftMoEClassifier("moe-vote", expert=Curious(), n_experts=2, top_k=2, seed=1)
    model.learn_one({"x": 1.0}, "a")
    assert len(refused) == 6


def test_a_model_whose_arguments_were_changed_is_not_pickled():
    model = DriftMoEClassifier(seed=1)
    model.n_experts = 5
    with pytest.raises(
        ValueError, match=r"an attribute has changed: .* n_experts=5.*built with n_experts=12"
    ):
        pickle.dumps(model)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_clone_takes_along_what_was_learnt_if_asked_to(name):
    model = learnt(name, 60)
    probes = faults.growing(20)
    assert faults.digest(model.clone(include_attributes=True), probes) == faults.digest(model, probes)
    assert faults.digest(model.clone(), probes) != faults.digest(model, probes)
    assert faults.digest(model.clone(), probes) == faults.digest(faults.MODELS[name](), probes)


def entries(state):
    """Yield the dict and the name of each entry of a state that holds no other states; of steps the last is enough."""
    for name, value in state.items():
        if isinstance(value, dict) and name not in ("arguments", "rng"):
            yield from entries(value)
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for one in value if name == "extras" else value[-1:]:
                yield from entries(one)
        elif name != "arguments":
            yield state, name


@pytest.mark.parametrize("name", ESTIMATORS)
def test_every_part_refuses_an_entry_of_another_type_in_the_same_words(name):
    model = learnt(name, 60)
    state = model.state()
    before = copy.deepcopy(state)
    for part, entry in entries(state):
        kept, part[entry] = part[entry], ...
        owner = r"(the \w+ of )*[A-Z]\w+"
        match = rf"^'{entry}' in the state of {owner} is (of type ellipsis|Ellipsis); .*: restore what state\(\) of"
        with pytest.raises((TypeError, ValueError), match=match):
            model.restore(state)
        part[entry] = kept
    assert equal(model.state(), before)


def floats(array):
    """Yield the name of a field, or "", and a view of it, for all floats in an array."""
    for field in array.dtype.names or [""]:
        values = array[field] if field else array
        if values.dtype.kind == "f" and values.size:
            yield field, values


MAY_BE = {("leaves", "last_attempt"): np.inf, ("vectors", ""): np.nan}
"""A leaf that may not split any more has made its last attempt at an infinite weight. A missing value is NaN."""


@pytest.mark.parametrize("name", ESTIMATORS)
def test_numbers_that_are_not_finite_are_refused_by_name(name):
    """In all arrays of floats of all parts, in the last place. NaN may be in the first rows of `batch_targets`."""
    model = learnt(name)
    state = model.state()
    before = copy.deepcopy(state)
    found = set()
    for part, entry in entries(state):
        if not isinstance(part[entry], np.ndarray):
            continue
        for field, values in floats(part[entry]):
            found.add(entry)
            place = (-1,) * values.ndim
            for wrong in {np.nan, np.inf, -np.inf} - {MAY_BE.get((entry, field))}:
                kept, values[place] = values[place].copy(), wrong
                what = rf" in the field {field!r}" if field else ""
                match = (
                    rf"^'{entry}' in the state of .* has {wrong}{what}; .*finite.*: restore what state\(\) of"
                )
                with pytest.raises(ValueError, match=match):
                    model.restore(state)
                values[place] = kept
    assert equal(model.state(), before)
    assert {"scaling_moments", "class_stats", "nodes", "leaves"} & found


def test_a_target_is_missing_only_where_the_output_came_after_the_row():
    part = router()
    trained(part, 3, 2, 10, seed=1)
    trained(part, 3, 4, 3, seed=2)
    state = part.state()
    assert np.isnan(state["batch_targets"]).tolist() == [[False, False, True, True]] * 2 + [[False] * 4] * 3
    for row, wrong in ((2, np.nan), (0, np.inf)):
        damaged = copy.deepcopy(state)
        damaged["batch_targets"][row, 3] = wrong
        with pytest.raises(
            ValueError, match=rf"'batch_targets' in the state of Router has {wrong}; .* first 2 rows"
        ):
            part.restore(damaged)
    assert equal(part.state(), state)


def test_a_mean_square_below_zero_is_refused():
    part = router()
    trained(part, 3, 2, 13, seed=1)
    state = part.state()
    state["second_moments"][-1] = -1.0
    with pytest.raises(ValueError, match=r"'second_moments' in the state of Router has -1.0; .* 0 or more"):
        router().restore(state)


@pytest.mark.parametrize("entry", ["hidden_second_moments", "output_second_moments"])
def test_a_mean_square_below_zero_is_refused_in_a_network_among_the_experts(entry):
    part = EXPERTS["perceptron"]()
    learn(part, (2, 2, 1))
    state = part.state()
    state[entry][-1, -1] = -1.0
    with pytest.raises(ValueError, match=rf"'{entry}' in the state of Perceptron has -1.0; .* 0 or more"):
        EXPERTS["perceptron"]().restore(state)


def test_a_mean_square_below_zero_is_refused_in_the_gate():
    state = learnt("driftmoe").state()
    state["mixture"]["memory_weight_moments"][1, 0] = -1.0
    with pytest.raises(ValueError, match=r"'memory_weight_moments' in the state of AdaptiveMixture has -1.0"):
        faults.MODELS["driftmoe"]().restore(state)
