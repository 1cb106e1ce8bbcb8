"""The step of a keyed stream: the same however events are cut into calls, and nothing is lost without a word."""

from __future__ import annotations

import pickle
import random
from collections import UserDict
from types import SimpleNamespace

import pytest
from river import dummy

from driftmoe import DriftMoEClassifier
from driftmoe.engines import Cache, Event, Make, Prediction, keyed, states, step

MAKE = Make("moe-data(n_experts=2, top_k=1, hidden=(4,))", seed=3)


def samples(n, seed=1):
    numbers = random.Random(seed)
    for _ in range(n):
        x = {"a": numbers.random(), "b": numbers.choice(["left", "right"])}
        yield x, "yes" if (x["a"] > 0.5) == (x["b"] == "left") else "no"


def events_of(n, delay):
    """Features, with labels some samples later, and among them all that an event can be and cannot be."""
    events, rows = [], list(samples(n))

    def add(*rest):
        events.append(Event(len(events) + 1, *rest))

    for i, (x, _) in enumerate(rows):
        if i % 7 == 0:
            add(None, "sample", {"features": x, "label": rows[i][1], "weight": 2.0})
        add(str(i), "features", x)
        if i % 11 == 3:
            add(str(i), "features", {"a": 0.0})  # waits already
        if i % 13 == 4:
            add(f"bad {i}", "features", {"a": "text"})  # the model cannot read it, once it knows a number
            add(f"bad {i}", "features", x)
            add(f"bad {i}", "label", "yes")
            add(f"worse {i}", "features", {"b": 1.0})
            add(f"worse {i}", "label", "no")
        if i % 17 == 5:
            add(str(i), "label", [1])
            add(None, "label", "yes")
            add("unknown", "label", "yes")
            add("x", "other", None)
            add("x", "features", {"a": float("inf")})
        if i >= delay:
            add(str(i - delay), "label", rows[i - delay][1])
    return events


def taken(events, sizes, make=MAKE, **options):
    state, predictions, alarms = None, [], []
    start = 0
    while start < len(events):
        n = sizes()
        state, new, told = step(state, events[start : start + n], make, **options)
        predictions += new
        alarms += told
        start += n
    return state, predictions, sorted(map(repr, alarms))


def test_the_result_does_not_depend_on_calls_or_on_the_cache():
    events, numbers = events_of(300, 20), random.Random(2)
    at_once = taken(events, lambda: len(events))
    assert taken(events, lambda: 1, cache=Cache(1)) == at_once
    assert taken(events, lambda: numbers.randint(1, 30)) == at_once
    assert taken(events, lambda: numbers.randint(1, 30), cache=Cache(0)) == at_once
    waiting = {}
    _, predictions, alarms = taken(events, lambda: numbers.randint(1, 30), waiting=waiting)
    assert (predictions, alarms) == at_once[1:]
    assert len(waiting) == 20
    for kind in ("refused", "duplicate", "unmatched", "new class"):
        assert any(f"kind='{kind}'" in alarm for alarm in alarms)


def test_predictions_are_those_of_the_plain_loop():
    model, rows, events, expected = MAKE(), list(samples(400)), [], []
    for i, (x, _) in enumerate(rows):
        events.append(Event(2 * i, str(i), "features", x))
        expected.append(model.arrive_one(x))
        if i >= 30:
            events.append(Event(2 * i + 1, str(i - 30), "label", rows[i - 30][1]))
            model.learn_one(*rows[i - 30])
    state, predictions, _ = taken(events, lambda: 50)
    assert [one.proba for one in predictions] == expected
    assert [one.id for one in predictions] == [str(i) for i in range(400)]
    assert states.from_bytes(state).model.digest() == model.digest()


def test_a_repeated_event_is_told_and_changes_nothing():
    events = events_of(50, 5)
    state, _, _ = step(None, events, MAKE)
    again = step(state, events[-3:], MAKE)
    assert again.state == state
    assert again.predictions == []
    assert [alarm.kind for alarm in again.alarms] == ["repeated"] * 3


def test_events_that_are_not_in_order_are_refused_and_nothing_has_changed():
    state, _, _ = step(None, events_of(50, 5), MAKE)
    waiting = {}
    with pytest.raises(
        ValueError, match="the event 1001 comes after 1002; give the events of a key in the order"
    ):
        step(
            state,
            [Event(1002, "n", "features", {"a": 1.0}), Event(1001, "m", "features", {})],
            MAKE,
            waiting=waiting,
        )
    assert waiting == {}


@pytest.mark.parametrize(
    ("event", "message"),
    [
        (
            {"seq": 1, "id": "a", "kind": "label"},
            "an event has seq, id, kind, payload; this one lacks 'payload'",
        ),
        (SimpleNamespace(seq=1, id="a"), "this one lacks 'kind'"),
        ((1, 2, 3, 4), "this one lacks 'seq'"),
        (Event(-1, "a", "label", "x"), "must be a whole number, 0 or more"),
        (Event("1", "a", "label", "x"), "must be a whole number, 0 or more"),
        (Event(True, "a", "label", "x"), "must be a whole number, 0 or more"),
    ],
)
def test_what_is_no_event_is_refused(event, message):
    with pytest.raises(ValueError, match=message):
        step(None, [event], MAKE)


@pytest.mark.parametrize(
    ("kind", "payload", "message"),
    [
        ("features", 1.0, "payload: of features is a dict of feature and value"),
        ("features", {"x": [1]}, "features.x: is an array"),
        ("label", None, "payload: of a label has label, and may have a weight"),
        ("label", {"label": "a", "wait": 1}, "payload: of a label has label, and may have a weight"),
        ("label", {"label": "a", "weight": -1.0}, "weight: -1.0 must be a number from 0"),
        ("sample", {"features": {"x": 1.0}}, "payload: of a sample has features and label"),
        ("sample", "x", "payload: of a sample has features and label"),
        ("labels", "x", "kind: is 'labels'; known are features, label, sample"),
    ],
)
def test_an_event_that_cannot_be_read_is_told_with_the_reason(kind, payload, message):
    (alarm,) = step(None, [Event(9, "a", kind, payload)], MAKE).alarms
    assert (alarm.kind, alarm.seq) == ("refused", 9)
    assert message in alarm.text


def test_events_may_be_of_any_type_with_the_four_fields():
    first = step(None, events_of(20, 2), MAKE)
    assert step(None, [dict(e._asdict()) for e in events_of(20, 2)], MAKE) == first
    assert step(None, [UserDict(e._asdict()) for e in events_of(20, 2)], MAKE) == first
    assert step(None, [SimpleNamespace(**e._asdict()) for e in events_of(20, 2)], MAKE) == first


def test_samples_that_wait_in_the_state_are_bounded_and_the_oldest_is_given_up(monkeypatch):
    monkeypatch.setattr(keyed, "MOST_WAITING", 10)
    events = [Event(i, str(i), "features", {"a": 1.0}) for i in range(12)]
    state, _, alarms = step(None, events, MAKE)
    assert [(alarm.kind, alarm.seq) for alarm in alarms] == [("expired", 10), ("expired", 11)]
    assert list(states.from_bytes(state).waiting) == [str(i) for i in range(2, 12)]
    assert step(state, [Event(20, "1", "label", "yes")], MAKE).alarms[0].kind == "unmatched"
    assert taken(events, lambda: 1) == (state, *taken(events, lambda: 5)[1:])


def test_a_map_of_the_engine_keeps_what_waits_out_of_the_state():
    waiting = {}
    state, _, _ = step(None, [Event(1, "a", "features", {"a": 1.0, "b": None})], MAKE, waiting=waiting)
    assert waiting == {"a": '{"a":1.0,"b":null}'}
    assert states.from_bytes(state).waiting == {}
    step(state, [Event(2, "a", "label", "yes")], MAKE, waiting=waiting)
    assert waiting == {}


@pytest.mark.parametrize("is_flipped", [True, False])
def test_a_damaged_state_is_refused(is_flipped):
    state = step(None, events_of(20, 2), MAKE).state
    for place in range(0, len(state), 97):
        damaged = bytearray(state) if is_flipped else bytearray(state[:place])
        if is_flipped:
            damaged[place] ^= 1
        with pytest.raises(ValueError, match=r"not the state of a key|is damaged|has the form"):
            step(bytes(damaged), [], MAKE)


def test_what_is_no_state_is_refused():
    with pytest.raises(
        TypeError, match="the state of a key is of type str; give bytes, or None for a new key"
    ):
        step("state", [], MAKE)


def test_a_model_that_cannot_be_saved_is_refused():
    with pytest.raises(TypeError, match="cannot be described without code"):
        step(None, [Event(1, None, "features", {})], dummy.NoChangeClassifier)


def test_costs_decide_the_label():
    def make():
        return DriftMoEClassifier("moe-data", n_experts=1, top_k=1, decision_costs={"rare": 100}, seed=1)

    rows = [({"x": 1.0}, "rare" if i % 10 == 0 else "often") for i in range(200)]
    events = [Event(i, None, "sample", {"features": x, "label": y}) for i, (x, y) in enumerate(rows)]
    last = step(None, events, make).predictions[-1]
    assert last.label == "rare"
    assert 0.0 < last.proba["rare"] < 0.5


def test_a_failure_leaves_no_half_taken_model_in_the_cache():
    cache, events = Cache(10), events_of(60, 3)
    state = step(None, events[:50], MAKE, cache=cache).state
    with pytest.raises(ValueError, match="comes after"):
        step(state, [*events[50:60], events[55]], MAKE, cache=cache)
    assert step(state, events[50:], MAKE, cache=cache) == step(state, events[50:], MAKE)


def test_the_cache_keeps_the_models_that_were_used_last():
    cache = Cache(2)
    kept = [
        step(None, [Event(1, None, "features", {"a": float(i)})], MAKE, cache=cache).state for i in range(3)
    ]
    assert len(set(kept)) == 1  # equal states of three keys: one model, and that is enough
    other = step(None, [Event(2, None, "features", {"a": 1.0})], MAKE, cache=cache).state
    third = step(None, [Event(3, None, "features", {"a": 1.0})], MAKE, cache=cache).state
    assert cache.take(kept[0]) is None
    assert cache.take(other) is not None
    assert cache.take(third) is not None
    with pytest.raises(ValueError, match="n_models=-1 must be 0 or more"):
        Cache(-1)


def test_what_makes_models_can_be_sent_to_other_processes():
    make = pickle.loads(pickle.dumps(MAKE))
    assert make().digest() == MAKE().digest()
    assert isinstance(step(None, events_of(5, 1), make).predictions[0], Prediction)


def test_features_wait_although_earlier_ones_with_their_id_were_refused():
    events = [
        Event(1, None, "sample", {"features": {"a": 1.0}, "label": "yes"}),
        Event(2, "z", "features", {"a": "text"}),
        Event(3, "z", "label", "yes"),
        Event(4, "z", "features", {"a": 2.0}),
    ]
    at_once = taken(events, lambda: 4)
    assert taken(events, lambda: 1) == at_once
    assert states.from_bytes(at_once[0]).waiting == {"z": {"a": 2.0}}


@pytest.mark.parametrize("name", ["class", "feature"])
def test_all_new_names_are_told_by_a_model_that_keeps_few_events(name):
    def make():
        return DriftMoEClassifier.small(memory=64, seed=1)

    rows = [({"a": 1.0}, f"c{i}") if name == "class" else ({f"f{i}": 1.0}, "c") for i in range(12)]
    events = [Event(i, None, "sample", {"features": x, "label": y}) for i, (x, y) in enumerate(rows)]
    alarms = step(None, events, make).alarms
    assert [alarm.sample for alarm in alarms if alarm.kind == f"new {name}"] == [*range(1, 13)]


def test_the_caller_may_change_features_that_wait():
    cache, x = Cache(1), {"a": 1.0}
    state = step(None, [Event(1, "z", "features", x)], MAKE, cache=cache).state
    x["a"] = 500.0
    label = [Event(2, "z", "label", "yes")]
    assert step(state, label, MAKE, cache=cache) == step(state, label, MAKE)


@pytest.mark.parametrize("kind", ["features", "sample"])
def test_features_whose_names_are_no_text_are_refused(kind):
    payload = {1: 2.0} if kind == "features" else {"features": {1: 2.0}, "label": "yes"}
    (alarm,) = step(None, [Event(1, "a", kind, payload)], MAKE).alarms
    assert (alarm.kind, alarm.text) == ("refused", "payload: names its features by text, and not by 1")
