"""Labels that come a time after their samples."""

from __future__ import annotations

import pytest
from river import naive_bayes

import streams
from driftmoe import models
from driftmoe.evaluation import TimeDelay, prequential
from driftmoe.evaluation.clock import seconds_of
from driftmoe.experiment import delay_by_time, parsed_delay
from streams.files import open_file


def run(stream, model, **arguments):
    *_, last = prequential(stream, model, window=100, keep_predictions=True, **arguments)
    return last


def at(*times):
    return [({"when": time, "a": i % 3}, "yn"[i % 2]) for i, time in enumerate(times)]


def test_a_label_comes_after_the_last_sample_that_is_not_later_than_it_is_due():
    # due at 20, 30, 30, 45, 90: after samples 3, 4, 4, 4 and 5 of these times
    assert TimeDelay(20, "when").of(at(0, 10, 10, 25, 70)).tolist() == [2, 2, 1, 0, 0]
    assert TimeDelay(0, "when").of(at(0, 10, 10, 25, 70)).tolist() == [0, 1, 0, 0, 0]
    assert TimeDelay(1000, "when").of(at(0, 10, 10, 25, 70)).tolist() == [4, 3, 2, 1, 0]


@pytest.mark.parametrize(
    "make", [lambda: models.make("moe-data(n_experts=3)", seed=1), naive_bayes.GaussianNB]
)
def test_with_a_sample_each_hour_a_day_is_24_samples(tmp_path, make):
    """In blocks and one by one."""
    lines = [
        f"2024-01-{1 + i // 24:02}T{i % 24:02}:00:00,{i * i % 17},{i * i % 17 > 8:d}" for i in range(400)
    ]
    file = tmp_path / "a.csv"
    file.write_text("\n".join(["when,a,y", *lines]))
    timed = run(open_file(file), make(), delay=TimeDelay(86_400, "when"))
    counted = run(open_file(file, drop=["when"]), make(), delay=24)
    assert timed.predictions == counted.predictions
    assert timed.n_warm_up == counted.n_warm_up == 25
    assert timed.cumulative == counted.cumulative


def test_uneven_times_give_what_a_loop_by_the_clock_gives():
    samples = at(*[i * i % 97 // 9 + 3 * i for i in range(150)])
    samples.sort(key=lambda sample: sample[0]["when"])
    model, waiting, expected = naive_bayes.GaussianNB(), [], []
    for x, y in samples:
        now, seen = x["when"], {"a": x["a"]}
        for due in [one for one in waiting if one[0] < now]:
            model.learn_one(*due[1:])
        waiting = [one for one in waiting if one[0] >= now]
        expected.append((y, model.predict_one(seen)))
        waiting.append((now + 20, seen, y))
    found = [
        pair
        for checkpoint in prequential(
            samples, naive_bayes.GaussianNB(), delay=TimeDelay(20, "when"), keep_predictions=True, window=50
        )
        for pair in checkpoint.predictions
    ]
    assert [tuple(pair) for pair in found] == expected


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ((5, 9, 8), "goes back by 1 s at sample 3; sort the samples by time first"),
        ((5, "soon"), "the time of sample 2 in column 'when' is 'soon'; write seconds, or ISO 8601"),
        ((5, float("nan")), "the time of sample 2 in column 'when' is missing"),
        (
            (1_709_251_216_000,),
            "1 in column 'when' is 1709251216000, which is no number of seconds but looks like",
        ),
        ((-62e9, 2e11), "looks like milliseconds; divide it by 1,000, or write ISO 8601"),
        ((1_709_251_216_000_000,), "looks like microseconds; divide it by 1,000,000, or"),
        ((1_709_251_216_000_000_000,), "looks like nanoseconds; divide it by 1,000,000,000, or"),
    ],
)
def test_a_time_that_is_none_or_goes_back_is_refused(times, message):
    with pytest.raises(ValueError, match=message):
        TimeDelay(1, "when").of(at(*times))


def test_a_column_that_is_not_there_is_refused_with_the_one_that_is_meant():
    with pytest.raises(ValueError, match="no column 'att' for the time; did you mean 'att"):
        TimeDelay(1, "att").of(streams.make("led", n_samples=10))
    with pytest.raises(ValueError, match="sample 1 has no 'wen'; did you mean 'when'"):
        TimeDelay(1, "wen").of(at(1, 2))


class Once:
    """Samples that `iter` begins only once."""

    def __init__(self, samples):
        self.samples = iter(samples)

    def __iter__(self):
        return self.samples


@pytest.mark.parametrize("once", [iter, Once, lambda samples: (sample for sample in samples)])
def test_a_stream_that_gives_its_samples_only_once_is_refused(once):
    """The times would use them up, and nothing would be evaluated."""
    stream = once(at(*range(300)))
    with pytest.raises(ValueError, match=r"reads the stream twice, and this .* only once; give a list"):
        list(prequential(stream, naive_bayes.GaussianNB(), delay=TimeDelay(50, "when")))
    assert len(list(stream)) == 300


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1 day", 86_400), ("90 s", 90), ("1.5 hours", 5_400), ("2weeks", 1_209_600), ("15min", 900),
     ("24x", None), ("1000", None), ("day", None), ("-5 s", None)],
)  # fmt: skip
def test_times_as_text(text, seconds):
    assert seconds_of(text) == seconds


def test_the_text_of_a_run_holds_the_time_and_its_column():
    assert parsed_delay(delay_by_time("1 day", "my when")) == TimeDelay(86_400, "my when")
    assert delay_by_time("100-200", None) == "100-200"
    for delay, column in (("1 day", None), ("5", "when")):
        with pytest.raises(ValueError, match="time"):
            delay_by_time(delay, column)
