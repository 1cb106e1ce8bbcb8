"""Models of keys in processes of this machine: equal to the plain loop, whatever happens on the way."""

from __future__ import annotations

import json
import sqlite3
import sys
import time

import pytest
from commands import started
from streams_of_keys import MAKE, N_KEYS, SPEC, plain_loop, samples, written

from driftmoe.engines import Make, event_files, job, local, results
from driftmoe.engines.results import PREDICTION, figures_of, said

N, DELAY = 1000, 40


def digest_of(found, n=N, delay=DELAY):
    return figures_of(event_files.events_of(samples(n), "shop", delay), found).digest


@pytest.fixture(scope="module")
def expected():
    return digest_of(plain_loop(N, DELAY))


def settings(**changes):
    given = {
        "source": "shops.csv", "key": "shop", "delay": DELAY, "limit": None, "stream_seed": 1, "model": SPEC, "seed": 3,
        "prior": None, "n_in_batch": 400, "engine": "local",
    }  # fmt: skip
    return job.Settings(**given | changes)


def run(folder, *, make=MAKE, workers=1, ttl=1e6, n=N, progress=lambda *_: None, **changes):
    def events():
        return event_files.events_of(samples(n), "shop", DELAY)

    return job.run(folder, settings(**changes), make, events, ttl=ttl, parallelism=workers, progress=progress)


def test_predictions_are_those_of_the_plain_loop_with_any_number_of_workers(tmp_path, expected):
    shown = []
    one = run(tmp_path / "one", progress=lambda *what: shown.append(what))
    assert one.digest == expected
    assert (one.n_keys, one.n_events, one.n_predictions, one.n_scored) == (N_KEYS, 2 * N, N, N)
    assert shown[-1] == ("local: taking events", 2 * N, 2 * N)
    assert run(tmp_path / "three", workers=3, n_in_batch=77).digest == expected
    lines = [json.loads(line) for line in (tmp_path / "one" / "predictions.jsonl").read_text().splitlines()]
    truths = [y for _, y in samples(N)]
    assert one.n_right == sum(line["label"] == truths[int(line["id"])] for line in lines)
    assert one.first[10][0] == 10 * N_KEYS
    assert one.first[1000] == (one.n_scored, one.n_right)
    alarms = [json.loads(line) for line in (tmp_path / "one" / "alarms.jsonl").read_text().splitlines()]
    assert len(alarms) == sum(one.alarms.values()) > 0


def test_labels_may_come_with_their_samples():
    found = [said(one).label for one in plain_loop(200, 0)]
    assert digest_of(plain_loop(200, 0), 200, 0) != digest_of(plain_loop(200, 7), 200, 7)
    assert len(found) == 200


def test_a_job_that_fails_goes_on_with_another_number_of_workers(tmp_path, expected):
    class StopError(Exception):
        pass

    def stops(what, n, n_all):
        if n >= 800 and n_all is not None:
            raise StopError

    with pytest.raises(StopError):
        run(tmp_path / "job", workers=2, progress=stops)
    assert 0 < len(list(local.results(tmp_path / "job" / "out"))) < N
    assert run(tmp_path / "job").digest == expected


def test_a_command_that_is_killed_twice_goes_on_and_gives_the_same(tmp_path, expected):
    written(tmp_path / "shops.csv", N)
    command = (
        "-m", "driftmoe.cli", "keyed", "shops.csv", "--target", "y", "--key", "shop", "--delay", str(DELAY),
        "--checkpoint", "job", "--model", SPEC, "--model-seed", "3", "--batch", "100", "--json", "--quiet",
    )  # fmt: skip
    for n_least, n_workers in ((200, "1"), (600, "2")):
        process = started(*command, "--workers", n_workers, cwd=tmp_path)
        until = time.monotonic() + 60
        while n_results(tmp_path / "job" / "out") < n_least:
            assert process.returncode is None, process.stderr
            assert time.monotonic() < until
            time.sleep(0.01)
        process.kill()
        process.wait()
    assert n_results(tmp_path / "job" / "out") < 2 * N
    process = started(*command, cwd=tmp_path)
    assert process.wait() == 0, process.stderr
    figures = json.loads(process.stdout)
    assert figures["digest"] == expected
    again = started(*command, cwd=tmp_path)  # a job that is done only tells its figures
    assert again.wait() == 0, again.stderr
    assert json.loads(again.stdout) == figures


def n_results(out):
    try:
        return sum(1 for _ in local.results(out))
    except sqlite3.Error:  # a file that is just being made
        return 0


def test_a_folder_of_another_job_is_refused(tmp_path):
    run(tmp_path / "job", n=100)
    with pytest.raises(
        job.JobError, match=r"holds a job with delay 40, and now it is 41; give the same, or a new"
    ):
        run(tmp_path / "job", delay=41)
    with pytest.raises(
        job.JobError, match=r"holds a job with options of the file \{\}, and now it is \{'target': 'a'\}"
    ):
        run(tmp_path / "job", options={"target": "a"})
    with pytest.raises(job.JobError, match="holds other files, such as job; give a new folder"):
        run(tmp_path)


def test_a_job_without_its_events_takes_other_settings(tmp_path):
    def fails():
        raise ValueError("no such feature")

    with pytest.raises(ValueError, match="no such feature"):
        job.run(
            tmp_path / "job",
            settings(key="shpo"),
            MAKE,
            fails,
            ttl=1.0,
            parallelism=1,
            progress=lambda *_: None,
        )
    assert run(tmp_path / "job", n=50).n_predictions == 50


@pytest.mark.parametrize("engine", ["spark", "flink"])
def test_packages_that_are_missing_are_told_before_anything_is_written(tmp_path, monkeypatch, engine):
    for package in ("pyspark", "pyspark.sql", "pyflink", "pyflink.datastream"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=f"engine '{engine}' needs"):
        run(tmp_path / "job", engine=engine)
    assert not (tmp_path / "job").exists()


def test_a_file_is_no_folder_of_a_job(tmp_path):
    (tmp_path / "job").write_text("x")
    with pytest.raises(job.JobError, match="is a file; give a folder"):
        run(tmp_path / "job")


def test_a_number_is_the_key_that_its_text_is():
    keys = [key for key, _ in event_files.events_of([({"k": k}, 0) for k in (1007.0, 2, 0.5, "x")], "k")]
    assert keys == ["1007", "2", "0.5", "x"]


def test_a_command_that_was_killed_before_it_had_settings_leaves_a_folder_that_can_be_used(tmp_path):
    (tmp_path / "job").mkdir()
    for name in (".lock", "job.part"):
        (tmp_path / "job" / name).write_text("{")
    assert run(tmp_path / "job", n=50).n_predictions == 50


def test_two_commands_do_not_work_in_one_folder(tmp_path):
    def meets(what, n, n_all):
        with pytest.raises(job.JobError, match="another command works in this folder"):
            run(tmp_path / "job", n=100)

    run(tmp_path / "job", n=100, progress=meets)


def test_events_that_were_half_written_are_written_anew(tmp_path):
    folder = tmp_path / "events"
    folder.mkdir()
    (folder / "part-000000.jsonl").write_text("half")
    (folder / "part-000009.jsonl").write_text("old")
    assert event_files.about(folder) is None
    event_files.write(event_files.events_of(samples(50), "shop", 3), folder, 30, {"key": "shop"})
    assert [file.name for file in event_files.files_of(folder)] == [f"part-{i:06}.jsonl" for i in range(4)]
    assert list(event_files.read(folder)) == list(event_files.events_of(samples(50), "shop", 3))
    assert event_files.about(folder) == {"key": "shop", "n_events": 100}


def test_samples_without_a_key_are_refused():
    with pytest.raises(ValueError, match="sample 2 has no 'shop'; each needs its key"):
        list(event_files.events_of([({"shop": "a"}, 1), ({"shop": None}, 1)], "shop"))


def test_samples_that_wait_for_too_long_are_given_up(tmp_path):
    figures = run(tmp_path / "job", ttl=-1.0, n=300, n_in_batch=50)
    assert figures.alarms["unmatched"] > 100


def test_the_failure_of_a_key_names_it(tmp_path):
    with pytest.raises(RuntimeError, match=r"key 's\d': .*cannot be described without code"):
        run(tmp_path / "job", make=Make("nb"), n=100)


def test_the_state_of_keys_is_counted(tmp_path):
    run(tmp_path / "job", n=100)
    n_keys, n_bytes = local.n_state_bytes(tmp_path / "job" / "out")
    assert n_keys == N_KEYS
    assert 1_000 * N_KEYS < n_bytes < 50_000 * N_KEYS


def test_keys_are_shared_alike_in_every_process_and_version():
    assert [local.part_of(key) for key in ("", "a", "shop 7", "Ä")] == [0, 3, 8, 11]


class TestFigures:
    """An engine that loses, repeats or confuses predictions is told so."""

    found = plain_loop(60, 5)

    def figures(self, found):
        return figures_of(event_files.events_of(samples(60), "shop", 5), found)

    def test_all_is_well(self):
        assert self.figures(self.found).n_predictions == 60

    @pytest.mark.parametrize(
        ("spoilt", "message"),
        [
            (lambda found: [*found[:20], *found[21:]], "60 events need a prediction, and there are 59"),
            (lambda found: found[:-1], "60 events need a prediction, and there are 59"),
            (lambda found: [*found[:20], found[19], *found[20:]], "is there twice, or belongs to no event"),
            (
                lambda found: [*found[:20], found[20]._replace(key="other"), *found[21:]],
                "is one of 'other', not of",
            ),
            (lambda found: [*found[1:], found[0]], "belongs to no event"),
        ],
        ids=["one lost", "last lost", "one twice", "other key", "other order"],
    )
    def test_what_is_wrong_is_told(self, spoilt, message):
        with pytest.raises(RuntimeError, match=message):
            self.figures(spoilt(self.found))

    def test_a_changed_probability_changes_the_digest(self):
        changed = [
            *self.found[:-1],
            self.found[-1]._replace(content=self.found[-1].content.replace("1", "2")),
        ]
        assert self.figures(changed).digest != self.figures(self.found).digest

    def test_what_an_engine_writes_is_read_again(self):
        for one in self.found:
            assert one.what == PREDICTION
            assert next(results.results_of(one.key, results_step(said(one)))) == one


def results_step(prediction):
    from driftmoe.engines import Step

    return Step(b"", [prediction], [])


def test_a_full_disk_is_told_by_this_process_as_by_others(tmp_path, monkeypatch):
    def full(*_):
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(local._Part, "_take_key", full)
    with pytest.raises(RuntimeError, match="disk is full; what was committed holds"):
        run(tmp_path / "job", n=20)
