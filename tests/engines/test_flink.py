"""Models of keys on Flink. What needs Flink and Java is left out without them."""

from __future__ import annotations

import json
import os
import shutil
import sys

import pytest
from streams_of_keys import MAKE, N_KEYS, plain_loop, samples

from driftmoe.engines import event_files, flink, job
from driftmoe.engines.results import ALARM, PREDICTION, Result, figures_of
from driftmoe.engines.rows import event_of

N, DELAY = 600, 40


class FakeValue:
    """The value of a key, as Flink gives it to Python."""

    def __init__(self):
        self.kept = None

    def value(self):
        return self.kept

    def update(self, value):
        self.kept = value


class FakeMap:
    """The map of a key, as Flink gives it to Python."""

    def __init__(self):
        self.kept = {}

    def get(self, key):
        return self.kept.get(key)

    def put(self, key, value):
        self.kept[key] = value

    def remove(self, key):
        del self.kept[key]

    def keys(self):
        return iter(self.kept)


@pytest.fixture
def events(tmp_path):
    folder = tmp_path / "events"
    event_files.write(event_files.events_of(samples(200), "shop", DELAY), folder, 100, {})
    return folder


def test_the_lines_of_a_job_give_the_models_all_events_in_order(events, tmp_path):
    models = flink._Models(MAKE, 60.0, 100, flink._events_of_text, flink._line_of)
    states, lines = {}, flink._input(event_files.files_of(events), tmp_path).read_text().splitlines()
    assert len(lines) == 4 * N_KEYS
    found = []
    for line in lines:
        key, text = element = flink._element_of(line)
        assert all(read[0] == key for read in map(event_files.read_line, text.split("\t")))
        value, waiting = states.setdefault(key, (FakeValue(), FakeMap()))
        found += [
            Result(*json.loads(told)) for told in models.take(key, models.read(element), value, waiting)
        ]
    predictions = sorted((one for one in found if one.what == PREDICTION), key=lambda one: one.seq)
    assert predictions == plain_loop(200, DELAY)
    assert all(waiting.kept == {} for _, waiting in states.values())


def test_keys_may_hold_anything(tmp_path):
    keys = ["a\tb", "c\nd", "\u2028", '"', ""]
    some = [(key, event_files.Event(i, None, "features", {"x\t": "\n"})) for i, key in enumerate(keys)]
    event_files.write(some, tmp_path / "events", 10, {})
    text = flink._input(event_files.files_of(tmp_path / "events"), tmp_path).read_text()
    elements = [flink._element_of(line) for line in text.removesuffix("\n").split("\n")]
    assert [(key, *flink._events_of_text((key, told))) for key, told in elements] == some


def checkpoint_of(folder, job_id, n, is_complete=True):
    made = folder / "checkpoints" / job_id / f"chk-{n}"
    made.mkdir(parents=True)
    if is_complete:
        (made / "_metadata").touch()
    return made


def test_a_job_goes_on_from_the_last_complete_checkpoint_and_drops_all_others(tmp_path):
    assert flink._last_checkpoint(tmp_path) is None
    old = [checkpoint_of(tmp_path, "ab", 9), checkpoint_of(tmp_path, "ab", 7)]
    last, begun = checkpoint_of(tmp_path, "cd", 10), checkpoint_of(tmp_path, "cd", 11, is_complete=False)
    shared = tmp_path / "checkpoints" / "ab" / "shared" / "1"
    shared.parent.mkdir()
    shared.touch()
    assert flink._last_checkpoint(tmp_path) == last
    flink._forget_others(tmp_path, last)
    assert (last / "_metadata").exists()
    assert shared.exists()
    assert not any(folder.exists() for folder in (*old, begun))


def test_results_without_a_checkpoint_are_those_of_a_job_that_is_done(events, tmp_path, monkeypatch):
    monkeypatch.setattr(flink, "check_installed", lambda: None)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "part-x-0").touch()
    (tmp_path / "out" / ".part-x-1.inprogress.y").touch()
    flink._input(event_files.files_of(events), tmp_path)
    told = []
    flink.run(events, tmp_path / "out", tmp_path, MAKE, ttl=1.0, parallelism=1, progress=told.append)
    assert told == [400]
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["part-x-0"]
    assert not (tmp_path / flink.INPUT).exists()


def test_only_committed_results_count(events, tmp_path):
    def write(name, *numbers):
        rows = [Result("k", n, None, ALARM if n < 0 else PREDICTION, "{}") for n in numbers]
        (tmp_path / name).write_text("".join(flink._line_of(row) + "\n" for row in rows))

    written = flink._Written(tmp_path, flink._n_events_until(event_files.files_of(events)))
    assert written.n_events() == 0
    write("part-a-1", 150, 3, -1)
    write("part-b-0", 2, 199)
    write(".part-a-2.inprogress.x", 300)
    found = [one.seq for one in flink.results(tmp_path)]
    assert sorted(found) == [-1, 2, 3, 150, 199]
    assert [n for n in found if n >= 0] == [2, 3, 150, 199]
    assert written.n_events() == 200
    write("part-c-0", 320)
    assert written.n_events() == 300


def test_parallelism_has_a_bound(events, tmp_path, monkeypatch):
    monkeypatch.setattr(flink, "check_installed", lambda: None)
    with pytest.raises(RuntimeError, match="parallelism=129 on Flink; choose 1 to 128"):
        flink.run(events, tmp_path, tmp_path, MAKE, ttl=1.0, parallelism=129, progress=print)


def test_without_flink_the_error_says_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyflink.datastream", None)
    monkeypatch.setitem(sys.modules, "pyflink", None)
    with pytest.raises(
        ImportError, match=r"missing; the engine 'flink' needs Flink in .*: docs/guides/keyed-flink.md"
    ):
        flink.run(tmp_path, tmp_path, tmp_path, MAKE, ttl=1.0, parallelism=1, progress=print)


@pytest.fixture
def _installed():
    pytest.importorskip("pyflink")
    if shutil.which("java") is None:
        pytest.skip("Flink needs Java")


@pytest.mark.slow
@pytest.mark.usefixtures("_installed")
@pytest.mark.filterwarnings("ignore")
def test_predictions_are_those_of_the_plain_loop_though_a_run_stops_and_is_rescaled(
    tmp_path, monkeypatch, capfd
):
    class StopError(Exception):
        pass

    def stops(n):
        if n > 0:
            raise StopError

    def go(progress, parallelism):
        events = event_files.events_of(samples(N), "shop", DELAY)
        given = job.Settings(
            source="shops.csv", key="shop", delay=DELAY, limit=None, stream_seed=1, model=MAKE.spec, seed=3, prior=None,
            n_in_batch=20, engine="flink",
        )  # fmt: skip
        return job.run(
            tmp_path / "job", given, MAKE, lambda: events, ttl=1e6, parallelism=parallelism,
            progress=lambda what, n, n_all: None if n_all is None else progress(n),
        )  # fmt: skip

    monkeypatch.setattr(flink, "SECONDS", 0.1)
    with pytest.raises(StopError):
        go(stops, 2)
    assert len(list(flink.results(tmp_path / "job" / "out"))) > 0
    assert flink._last_checkpoint(tmp_path / "job" / "engine") is not None
    shown = []
    found = go(shown.append, 1)
    expected = figures_of(event_files.events_of(samples(N), "shop", DELAY), plain_loop(N, DELAY))
    assert found.digest == expected.digest
    assert 0 < shown[0] <= shown[-1] == 2 * N
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
@pytest.mark.usefixtures("_installed")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("hold", [0.0, 0.05])
def test_rows_of_a_stream_become_predictions(tmp_path, hold):
    from pyflink.common import Row, Types

    environment = flink._environment(tmp_path, None, 1, "hashmap")
    rows = [
        Row(key, event.seq, event.id, event.kind, json.dumps(event.payload))
        for key, event in event_files.events_of(samples(50), "shop", 10)
    ]
    text = Types.STRING()
    kind = Types.ROW_NAMED(["key", "seq", "id", "kind", "payload"], [text, Types.LONG(), text, text, text])
    assert event_of(Row(seq=1, id=None, kind="label", payload="1")).payload == 1
    with flink.predictions(
        environment.from_collection(rows, kind), MAKE, ttl=3600.0
    ).execute_and_collect() as told:
        found = [Result(*row) for row in told]
    predictions = sorted((one for one in found if one.what == PREDICTION), key=lambda one: one.seq)
    assert predictions == plain_loop(50, 10)
    assert "_python_worker_execution_mode" not in os.environ
