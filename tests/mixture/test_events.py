"""What a model notices: a readable twin of the detector, drifts made by hand, names, blocks, files and interrupts."""

from __future__ import annotations

import copy
import datetime as dt
import gc
import json
import pickle
import signal

import numpy as np
import pandas as pd
import pytest
from reference.watch import SlowWatch
from river import naive_bayes

import streams
from driftmoe import DriftMoEClassifier
from driftmoe.classifier import VARIANTS
from driftmoe.evaluation import prequential
from driftmoe.mixture import watch as watching
from driftmoe.mixture.events import Event, ExpertRise, events_of
from driftmoe.mixture.watch import KINDS, MOST, NO_VOTE, SAID_WRONG, Watch
from driftmoe.state import check_names
from driftmoe.transaction import carry_out
from streams.drift import Switching
from streams.synthetic.sea import SEA

SMALL = {"hidden": (8,), "batch_size": 32, "seed": 3}


def small(variant, **arguments):
    sizes = {} if variant == "moe-task" else {"n_experts": 4}
    if variant in ("moe-data", "moe-vote"):
        sizes["top_k"] = 2
    return DriftMoEClassifier(variant, **(SMALL | sizes | arguments))


def signs(n, seed, *, turns_at=None):
    """Samples whose label is the sign of a number; from `turns_at` on it is the other way round."""
    values = np.random.default_rng(seed).normal(size=n)
    return [
        ({"v": v}, (v > 0) != (turns_at is not None and i >= turns_at)) for i, v in enumerate(values.tolist())
    ]


def learnt(model, samples):
    for x, y in samples:
        model.learn_one(x, y)
    return model


def of_kind(model, *kinds):
    return [event for event in model.events() if event.kind in kinds]


# --------------------------------------------------------------------------------------------------
# The detector
# --------------------------------------------------------------------------------------------------


def watched(said, n_main, *, size=64, watch=None, targets=None):
    """Give a watch the answers of experts and, in the last column, of the mixture."""
    watch = Watch() if watch is None else watch
    n_watched = np.array([n_main])
    seen = np.array([0, 1])
    targets = np.zeros(len(said), np.int64) if targets is None else targets
    for first in range(0, len(said), size):
        changes = []
        rows = np.ascontiguousarray(said[first : first + size])
        seen[0] += len(rows)
        watch.plan(rows, n_watched, targets[first : first + size], 1, seen, None, changes)
        carry_out(changes)
    return watch


FIRST_NAMES = [
    (kind, {"sample": 1, "first": 0, "number": 1, "n_samples": 0, "before": 0.0, "after": 0.0}, [])
    for kind in (watching.NEW_CLASS, watching.NEW_FEATURE)
]
"""The records of the first sample."""


def answers(rates, n_each, seed, *, n_silent=0):
    """Answers of five experts and a mixture, with these error rates one after the other; some have no vote."""
    rng = np.random.default_rng(seed)
    parts = []
    for rate in rates:
        said = (rng.random((n_each, 6)) < rate).astype(np.int8)
        said[rng.random(said.shape) < n_silent] = NO_VOTE
        said[:, -1] = rng.random(n_each) < rate
        parts.append(said)
    return np.concatenate(parts)


@pytest.mark.parametrize("is_compiled", [True, False])
@pytest.mark.parametrize("n_silent", [0.0, 0.5])
def test_the_detector_says_what_its_readable_twin_says(is_compiled, n_silent, monkeypatch):
    if not is_compiled:
        names = (
            "watch",
            "put",
            "name_experts",
            "clear",
            "bet",
            "follow_rises",
            "richest",
            "count_votes",
            "start_anew",
        )
        for name in names:
            kernel = getattr(watching, name)
            monkeypatch.setattr(watching, name, getattr(kernel, "py_func", kernel))
    said = answers([0.05, 0.4, 0.0, 0.3, 0.31], 1200, 1, n_silent=n_silent)
    if n_silent:
        said[2000:2050, :3] = NO_VOTE  # no main expert votes
    slow = SlowWatch(3)
    for row in said.tolist():
        votes = [None if vote == NO_VOTE else vote for vote in row[:-1]]
        slow.update(row[-1], votes)
    found = [
        (KINDS[kind], r["sample"], r["first"], r["n_samples"], r["before"], r["after"], rises)
        for kind, r, rises in watched(said, 3).rows()
        if KINDS[kind] in ("warning", "drift")
    ]
    assert [one[:4] for one in found] == [one[:4] for one in slow.events]
    assert sum(one[0] == "drift" for one in found) >= 2
    for ours, theirs in zip(found, slow.events, strict=True):
        assert ours[4:6] == pytest.approx(theirs[4:6])
        named = [(one["expert"], one["n_votes"], one["before"], one["after"]) for one in ours[6]]
        assert [one[:2] for one in named] == [one[:2] for one in theirs[6]]
        assert np.array(named) == pytest.approx(np.array(theirs[6]))


def test_a_bet_by_hand():
    # After 300 samples, half of them wrong, q = 1/2 + 1/2 sqrt((1/4 + 1/5000) / 300). Then comes an error.
    said = np.array([[i % 2, i % 2] for i in range(301)], np.int8)
    said[300] = SAID_WRONG
    bets = watched(said, 1).state()["bets"]
    q = 0.5 + 0.5 * ((0.25 + 1 / 5000) / 300) ** 0.5
    p = 5 * q / (1 + 4 * q)
    assert bets[:, 3] == pytest.approx([p / q, p / q])  # the likelihood ratio of an error


def test_a_sample_without_main_votes_leaves_their_bets_alone():
    said = np.zeros((302, 2), np.int8)
    before = watched(said[:301], 1).state()["bets"]
    said[301, 0] = NO_VOTE
    after = watched(said, 1).state()["bets"]
    assert after[1].tolist() == before[1].tolist()
    assert after[0].tolist() != before[0].tolist()


@pytest.mark.parametrize("rate", [0.001, 0.1, 0.4])
def test_false_alarms_are_as_seldom_as_said(rate):
    """Over 600 000 samples, at most six false drifts and sixty false warnings are expected."""
    events = [
        KINDS[kind] for seed in range(6) for kind, *_ in watched(answers([rate], 100_000, seed), 5).rows()
    ]
    assert events.count("drift") <= 6
    assert events.count("warning") <= 60


@pytest.mark.parametrize(("before", "after", "most"), [(0.01, 0.3, 60), (0.1, 0.3, 150), (0.3, 0.6, 100)])
def test_a_rise_is_noticed_soon_and_dated(before, after, most):
    gaps, afters = [], []
    for seed in range(10):
        events = watched(answers([before, after], 4000, seed), 5).rows()
        event = next(record for kind, record, _ in events if kind == watching.DRIFT)
        assert 4000 < event["sample"] <= 4000 + most
        assert event["before"] == pytest.approx(before, abs=0.03)
        afters.append(event["after"])
        gaps.append(abs(event["first"] - 4001))
    assert np.median(gaps) < 30
    assert before < np.median(afters) < after + 0.1  # of few samples


@pytest.mark.parametrize(("before", "after"), [(0.1, 0.13), (0.2, 0.24)])
@pytest.mark.parametrize(("n_main", "gap", "tolerance"), [(5, 100, 0.01), (0, 500, 0.025)])
def test_a_weak_rise_is_dated_and_measured(before, after, n_main, gap, tolerance):
    """The alarm comes after about 360 samples, or 1500 if only the mixture is watched, and not in all runs."""
    found = []
    for seed in range(20):
        said = np.concatenate([answers([before], 6000, seed), answers([after], 8000, 100 + seed)])
        events = [
            one
            for one in watched(said, n_main).rows()
            if KINDS[one[0]] == "drift" and one[1]["sample"] > 6000
        ]
        found += events[:1]
    assert len(found) >= 12
    assert np.median([abs(record["first"] - 6001) for _, record, _ in found]) < gap
    assert np.median([record["before"] for _, record, _ in found]) == pytest.approx(before, abs=0.005)
    assert np.median([record["after"] for _, record, _ in found]) == pytest.approx(after, abs=tolerance)
    assert np.median([one["before"] for *_, rises in found for one in rises]) == pytest.approx(
        before, abs=0.01
    )


def test_what_was_before_does_not_run_on_during_the_rise():
    said = np.zeros((420, 1), np.int8)
    said[0:400:10] = said[400:] = SAID_WRONG
    alarms = [record for _, record, _ in watched(said, 0).rows() if record["sample"] > 400]
    assert [alarm["first"] for alarm in alarms] == [401, 401]
    for alarm in alarms:
        assert alarm["n_samples"] == alarm["sample"] - 400 > 1
        assert (alarm["before"], alarm["after"]) == (pytest.approx(0.1), 1.0)


@pytest.mark.parametrize(("n", "told"), [(99, ""), (100, "; its error was 1.0 % in its last 100 votes")])
def test_the_error_of_a_replaced_tree_is_told_if_it_rests_on_100_votes(n, told):
    watch, changes, said = Watch(), [], np.zeros((n, 2), np.int8)
    said[0] = SAID_WRONG
    watch.plan(said, np.array([1]), np.zeros(n, np.int64), 1, np.array([n, 1]), np.array([1]), changes)
    carry_out(changes)
    event = events_of(watch, 0, experts=["tree 1"], classes=["a"], features=["v"])[-1]
    assert str(event) == f"tree 1 was replaced after drift{told}"
    assert (event.before, event.n_samples) == ((pytest.approx(0.01), 100) if told else (None, None))


def test_alarms_as_sentences():
    event = Event(6430, "drift", (), 0.1, 0.13, 5001, 1430, (ExpertRise("tree 1", 0.1, 0.2, 50),))
    when = "in the last 1,430 samples, since sample 5,001"
    rose = f"the error rose from 10.0 % to 13.0 % {when}"
    assert str(event) == f"{rose}; most of all that of tree 1 (10.0 % to 20.0 %)"
    assert str(event._replace(kind="warning", experts=())) == f"{rose}, perhaps by chance"
    text = (
        f"the errors of experts rose {when}; the mixture's error was 10.0 % before and 9.0 % in these samples"
    )
    assert str(event._replace(after=0.09, experts=())) == text
    assert "in the last sample, since" in str(event._replace(n_samples=1))


def test_a_fall_is_no_drift():
    assert watched(answers([0.4, 0.05], 3000, 1), 5).rows() == FIRST_NAMES


def test_experts_that_did_not_rise_or_of_which_little_was_known_are_not_named():
    said = answers([0.1], 4000, 1)
    said[3000:, [1, 3, 5]] = np.random.default_rng(2).random((1000, 3)) < 0.6
    said[:2950, 0], said[3000:, 0] = NO_VOTE, SAID_WRONG
    drifts = [rises for kind, _, rises in watched(said, 5).rows() if kind == watching.DRIFT]
    assert sorted(rise["expert"] for rise in drifts[0]) == [1, 3]
    for rise in drifts[0]:
        assert rise["before"] == pytest.approx(0.1, abs=0.02)
        assert 0.3 < rise["after"] < 0.8


def test_of_each_kind_the_last_records_are_kept_and_the_others_counted():
    n = 3 * MOST + 7
    watch = watched(np.zeros((n, 1), np.int8), 0, targets=np.arange(n))
    events = watch.rows()
    assert [record["sample"] for _, record, _ in events] == [1, *range(n - MOST + 1, n + 1)]  # 1: a feature
    assert watch.n_dropped() == dict.fromkeys(KINDS, 0) | {"new class": n - MOST}
    other = Watch()
    other.restore(watch.state())
    assert other.rows() == events
    assert other.n_dropped() == watch.n_dropped()


# --------------------------------------------------------------------------------------------------
# A model's events
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_reversed_rule_is_a_drift_soon_and_a_stream_without_drift_has_none(variant, seed):
    model = learnt(small(variant, seed=seed), signs(1500, seed))
    assert of_kind(model, "warning", "drift", "tree replaced") == []
    (first, *_) = of_kind(learnt(small(variant, seed=seed), signs(1100, seed, turns_at=1000)), "drift")
    assert 1000 < first.sample <= 1030
    assert abs(first.since - 1001) <= 30
    assert first.before < 0.1 < 0.2 < first.after
    assert first.experts
    assert all(one.after > one.before + 0.1 for one in first.experts)


@pytest.mark.parametrize("seed", [5, 6])
def test_the_default_notices_an_abrupt_drift_of_sea(seed):
    concepts = [SEA(function=f, seed=seed + f) for f in (4, 3)]
    stream = Switching(concepts, [6000], n_samples=8000)
    model = DriftMoEClassifier(seed=1)
    list(prequential(stream, model))
    (first, *_) = of_kind(model, "drift")
    assert 6000 < first.sample <= 6400


def test_replaced_trees_are_told_with_their_names():
    model = learnt(small("driftmoe"), signs(1500, 1, turns_at=1000))
    replaced = of_kind(model, "tree replaced")
    report = model.routing_report().cumulative
    of_names = dict(zip(report.experts, model._mixture.n_replaced(2), strict=True))
    assert {event.names[0] for event in replaced} == {name for name, n in of_names.items() if n}
    assert all(event.sample > 1000 and event.sample % 32 == 0 for event in replaced)


def test_new_classes_and_features_are_told_by_name_in_the_sample_that_brought_them():
    labels = [("a", 1), 2.5, "b\udc80", dt.date(2020, 1, 2), float("inf"), b"\xff", True]
    model = small("moe-vote")
    for i, label in enumerate(labels):
        model.learn_one({"v": 1.0, ("f", i // 2): 2.0} | ({"w": "x"} if i > 4 else {}), label)
        model.learn_one({"v": 2.0}, label)
    assert [(e.sample, e.names) for e in of_kind(model, "new class")] == [
        (2 * i + 1, (label,)) for i, label in enumerate(labels)
    ]
    features = of_kind(model, "new feature")
    assert [(e.sample, set(e.names)) for e in features] == [
        (1, {"v", ("f", 0)}), (5, {("f", 1)}), (9, {("f", 2)}), (11, {"w"}), (13, {("f", 3)})
    ]  # fmt: skip
    for event in model.events():
        assert json.loads(json.dumps(event.to_dict(), allow_nan=False))["sample"] == event.sample
    assert of_kind(model, "new class")[0].to_dict() == {
        "sample": 1, "kind": "new class", "names": ["('a', 1)"], "before": None, "after": None, "since": None,
        "n_samples": None, "experts": [],
    }  # fmt: skip


def test_a_drift_as_json():
    model = learnt(small("moe-vote"), signs(1100, 1, turns_at=1000))
    (event, *_) = of_kind(model, "drift")
    text = json.dumps(event.to_dict(), allow_nan=False)
    assert json.loads(text)["experts"][0] == event.experts[0]._asdict()


def test_what_bounds_leave_out_is_no_event():
    model = small("moe-vote", max_features=1, max_classes=2)
    with pytest.warns(UserWarning, match="from now on"):
        learnt(model, [({"v": 1.0}, "a"), ({"v": 1.0, "w": 2.0}, "b"), ({"v": 1.0}, "c"), ({"v": 2.0}, "a")])
    assert model.events() == [
        Event(1, "new class", ("a",)), Event(1, "new feature", ("v",)), Event(2, "new class", ("b",))
    ]  # fmt: skip


def test_only_later_events_are_returned():
    model = learnt(small("moe-vote"), [({"v": 1.0}, i) for i in range(5)])
    assert [event.sample for event in model.events(since=3)] == [4, 5]
    assert model.events(since=5) == []
    with pytest.raises(TypeError, match="since='3' is of type str; give the number of a sample"):
        model.events(since="3")


def test_a_sample_of_weight_0_is_not_counted():
    model = small("moe-vote")
    model.learn_one({"v": 1.0}, "a")
    model.learn_one({"v": 1.0}, "b", w=0.0)
    model.learn_one({"v": 1.0}, "c", w=2.0)
    assert [(e.sample, e.names) for e in of_kind(model, "new class")] == [(1, ("a",)), (2, ("c",))]


# --------------------------------------------------------------------------------------------------
# Blocks, files, copies, interrupts
# --------------------------------------------------------------------------------------------------


def two_rules(n=1400):
    """A stream that changes in the middle."""
    return Switching(
        [streams.make("mixed", 1), streams.synthetic.Mixed(function=2, seed=2)], [n // 2], n_samples=n
    )


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("expert", [None, naive_bayes.GaussianNB()], ids=["trees", "river"])
def test_blocks_frames_and_the_evaluator_notice_what_the_loop_notices(variant, expert):
    stream = two_rules()
    if expert is not None:
        stream = two_rules(400)
    names, values = [f.name for f in stream.features], [f.values for f in stream.features]
    one = learnt(small(variant, expert=expert), stream)
    assert expert is not None or of_kind(one, "drift")
    for size in (7, 256):
        model = small(variant, expert=expert)
        for X, y in stream.blocks(size):
            model.step_many(X, y, names=names, values=values, classes=stream.classes)
        assert model.events() == one.events()
        assert model.state()["mixture"]["log"]["watch"]["numbers"].tobytes() == (
            one.state()["mixture"]["log"]["watch"]["numbers"].tobytes()
        )
    model = small(variant, expert=expert)
    list(prequential(stream, model))
    assert model.events() == one.events()
    model, samples = small(variant, expert=expert), list(stream)
    model.learn_many(pd.DataFrame([x for x, _ in samples]), [y for _, y in samples])
    assert model.events() == one.events()


def test_with_a_correction_of_the_logits_events_are_those_of_the_loop_too():
    stream = two_rules()
    one, many = (small("moe-vote", correction=0.05) for _ in range(2))
    learnt(one, stream)
    list(prequential(stream, many))
    assert many.events() == one.events()
    assert of_kind(one, "drift")


@pytest.mark.parametrize("variant", VARIANTS)
def test_files_pickles_and_copies_go_on_noticing(variant):
    samples = signs(1100, 1, turns_at=1000)
    model = learnt(small(variant), samples[:1004])  # within a rise
    others = [
        DriftMoEClassifier.from_bytes(model.to_bytes()), pickle.loads(pickle.dumps(model)), copy.deepcopy(model),
        model.clone(include_attributes=True),
    ]  # fmt: skip
    expected = learnt(model, samples[1004:]).events()
    assert "drift" in {event.kind for event in expected}
    for other in others:
        assert learnt(other, samples[1004:]).events() == expected
        assert other.digest() == model.digest()


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_state_without_a_watch_starts_one_that_takes_what_is_known_as_known(variant):
    samples = signs(1600, 1, turns_at=1500)
    old = learnt(small(variant), samples[:500])
    state = old.state()
    del state["mixture"]["log"]["watch"]
    model = small(variant)
    model.restore(state)
    assert model.events() == []
    learnt(model, samples[500:])
    assert [event.kind for event in model.events()][-1] in ("drift", "tree replaced")
    assert of_kind(model, "new class", "new feature") == []
    model.learn_one({"v": 1.0, "w": 1.0}, "new")
    assert [event.names for event in of_kind(model, "new class", "new feature")] == [("new",), ("w",)]


@pytest.mark.parametrize(
    ("part", "field", "value"),
    [
        ("new_classes", "first", 2),
        ("new_classes", "number", -1),
        ("new_features", "number", 9),
        ("rises", "expert", 40),
    ],
)
def test_records_of_unknown_names_are_refused(part, field, value):
    model = learnt(small("moe-vote"), signs(1100, 1, turns_at=1000))
    state = model.state()
    state["mixture"]["log"]["watch"][part][field][...] = value
    before = model.digest()
    with pytest.raises(ValueError, match=f"'{part}' in the state of Watch name"):
        model.restore(state)
    assert model.digest() == before


def test_more_features_than_the_encoder_knows_are_refused():
    model = learnt(small("moe-vote"), signs(20, 1))
    state = model.state()
    state["mixture"]["log"]["watch"]["counts"]["n_features"] = 7
    with pytest.raises(ValueError, match="n_features=7"):
        model.restore(state)


class Interrupted(BaseException):
    pass


@pytest.mark.parametrize("variant", ["driftmoe", "moe-vote", "moe-task"])
def test_no_interrupt_leaves_half_an_event(variant):
    """A timer interrupts learning again and again; samples that were not learnt are learnt again."""
    samples = signs(4400, 1, turns_at=4000)
    expected = learnt(small(variant), samples)
    model, n = small(variant), 0

    def interrupt(*_):
        raise Interrupted

    before = signal.signal(signal.SIGALRM, interrupt)
    gc.disable()  # what is raised within a callback of the collector is lost
    n_interrupts = 0
    try:
        while n < len(samples):
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.0004 * 1.25 ** (n_interrupts % 12))
                while n < len(samples):
                    model.learn_one(*samples[n])
                    n = model._mixture.log.n_samples
            except Interrupted:
                n_interrupts += 1
                n = model._mixture.log.n_samples
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
    except Interrupted:
        pytest.skip("the timer came between two tries")
    finally:
        gc.enable()
        signal.signal(signal.SIGALRM, before)
    assert n_interrupts > 20
    assert model.events() == expected.events()
    assert model.digest() == expected.digest()


def test_an_optional_entry_may_be_missing_and_no_other_may_come():
    for state in ({"a": 1}, {"a": 1, "b": 2}):
        check_names(state, ("a",), "a part", optional=("b",))
    match = "^the state of a part lacks 'a' and has unknown 'c'; it must have the entries a and may have b: restore"
    with pytest.raises(ValueError, match=match):
        check_names({"b": 2, "c": 3}, ("a",), "a part", optional=("b",))
