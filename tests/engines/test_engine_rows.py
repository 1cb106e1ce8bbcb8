"""What the adapters of engines share, without an engine."""

from __future__ import annotations

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
from streams_of_keys import MAKE

from driftmoe.engines import Event, rows, step
from driftmoe.engines.results import Result


def waiting_over(kept, calls):
    def noted(name, function):
        def call(*arguments):
            calls.append((name, *arguments))
            return function(*arguments)

        return call

    return rows.Waiting(
        noted("get", kept.get), noted("put", kept.__setitem__), noted("remove", kept.pop), lambda: kept
    )


def test_the_map_of_an_engine_serves_as_one_of_python():
    kept, calls = {"old": "1"}, []
    waiting = waiting_over(kept, calls)
    waiting["new"] = "2"
    assert (waiting["old"], waiting["new"], waiting.get("none"), "none" in waiting) == ("1", "2", None, False)
    assert waiting.pop("old") == "1"
    assert waiting.pop("none", None) is None
    with pytest.raises(KeyError, match="old"):
        waiting["old"]
    assert list(waiting) == list(kept) == ["new"]
    assert len(waiting) == 1
    # A call goes to another process, so that nothing is asked twice.
    assert calls == [("put", "new", "2"), ("get", "old"), ("get", "none"), ("remove", "old")]


def test_a_sample_whose_label_is_in_the_same_batch_is_not_written():
    kept, calls = {}, []
    events = [
        Event(1, "a", "features", {"x": 1.0}),
        Event(2, "b", "features", {"x": 2.0}),
        Event(3, "a", "label", 1),
    ]
    state = step(None, events, MAKE, waiting=waiting_over(kept, calls)).state
    assert [call[0] for call in calls] == ["get", "get", "put"]
    assert kept == {"b": '{"x":2.0}'}
    step(state, [Event(4, "b", "label", 0)], MAKE, waiting=waiting_over(kept, calls))
    assert kept == {}


def test_events_of_a_batch_may_be_mixed_and_there_twice():
    features = [Event(n, None, "features", {"x": float(n)}) for n in range(4)]
    label = Event(4, None, "sample", {"features": {"x": 0.0}, "label": "yes"})
    state, found = rows.take(
        "k", None, [label, *features[::-1], features[2], label, label], MAKE, waiting_over({}, []), 9
    )
    assert [one.seq for one in found if one.what == "prediction"] == [0, 1, 2, 3, 4]
    repeated = [one.seq for one in found if '"repeated"' in one.content]
    assert repeated == [2, 4, 4]
    expected = step(None, [*features, label], MAKE, waiting={})
    assert state == expected.state
    assert rows.take("k", state, [label], MAKE, waiting_over({}, []), 9)[0] == state


@pytest.mark.parametrize("payload", [None, "", "{", "yes", "[" * 100_000])
@pytest.mark.parametrize("kind", ["features", "label", "sample"])
def test_a_row_that_holds_no_json_is_refused_by_an_alarm(kind, payload):
    row = SimpleNamespace(seq=5, id="a", kind=kind, payload=payload)
    told = step(None, [rows.event_of(row)], MAKE)
    assert [(alarm.kind, alarm.seq) for alarm in told.alarms] == [("refused", 5)]


def test_a_row_is_the_event_that_it_holds():
    row = SimpleNamespace(seq=5, id="a", kind="label", payload='{"label": "yes", "weight": 0.1}')
    assert rows.event_of(row) == Event(5, "a", "label", {"label": "yes", "weight": 0.1})


def test_results_of_pieces_come_in_order_and_few_pieces_are_read_at_a_time():
    read = []

    def piece(*numbers):
        def of():
            read.append(numbers)
            return [Result("k", n, None, "prediction", "") for n in numbers]

        return min((n for n in numbers if n >= 0), default=-1), of

    found = rows.in_order([piece(5, 7, 6), piece(1, 4, -1), piece(2, 3), piece(-1)])
    assert [next(found).seq for _ in range(6)] == [-1, -1, 1, 2, 3, 4]
    assert (5, 7, 6) not in read[:-1]
    assert [one.seq for one in found] == [5, 6, 7]


def test_files_get_times_in_their_order_once(tmp_path):
    files = [tmp_path / name for name in "abc"]
    for file, time in zip(files, (5_000_000_000, 4_000_000_000, 5_000_300_000), strict=True):
        file.touch()
        os.utime(file, ns=(time, time))
    for _ in range(2):
        rows.grow_in_time(files)
        assert [file.stat().st_mtime_ns // 10**6 for file in files] == [5000, 5001, 5002]


def test_what_started_processes_say_goes_to_a_file(tmp_path, capfd):
    def says(text):
        subprocess.run([sys.executable, "-c", f"import os; os.write(2, b'{text}')"], check=True)

    with rows.told_to(tmp_path / "log"):
        says("inside")
    says("outside")
    assert (tmp_path / "log").read_text() == "inside"
    assert capfd.readouterr().err == "outside"


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("[FAILED] Query ended\n  File a.py\nValueError: no such\n  \nAborted", "ValueError: no such"),
        ("a.b.SomeException: outer\n\tat x\nCaused by: a.b.IOException: inner\n\tat y", "a.b.IOException: inner"),
        ("a.b.SomeException: outer\nKeyError: 'k'\nCaused by: a.b.IOException: inner", "KeyError: 'k'"),
        ("[ONE] of Java\n at line", "[ONE] of Java"),
    ],
)  # fmt: skip
def test_an_error_is_told_by_its_cause(text, cause):
    assert rows.cause_of(text) == cause
