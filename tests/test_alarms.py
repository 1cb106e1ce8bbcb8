"""How the benchmark of alarms counts, by hand."""

from __future__ import annotations

import pytest

from benchmarks import alarms


def line(found, drifts=((5000, 100), (10_000, 1000)), stream="s", detector="DriftMoE"):
    return {
        "stream": stream,
        "seed": 1,
        "n_samples": 20_000,
        "drifts": drifts,
        "detector": detector,
        "alarms": found,
    }


def test_the_first_alarm_in_the_window_detects_and_those_outside_are_false():
    # Windows: 4900 to 7050, and 9000 to 12500. The changes begin at 4950 and 9500.
    delays, missed, false, outside = alarms.score(line([100, 4899, 4960, 4970, 7049, 7050, 9100]))
    assert (delays, missed, false) == ([10, 0], 0, 3)
    assert outside == 20_000 - 2150 - 3500


def test_a_drift_without_an_alarm_is_missed():
    assert alarms.score(line([12_499]))[:3] == ([2999], 1, 0)


def test_lost_streams_come_first_with_a_star():
    found = {}
    for stream, ours, others in (("sea_a", [5000], [5100]), ("led_a", [5200], [5100])):
        lines = [
            line(ours if name == alarms.OURS else others, ((5000, 100),), stream, name)
            for name in alarms.COLUMNS
        ]
        found |= alarms.figures(lines)
    rows = alarms.table(found, alarms.ABRUPT, alarms.is_later, lambda figures: f"{figures['delay']:.0f}")
    assert [row.split()[:3] for row in rows[1:]] == [["led_a*", "250", "150"], ["sea_a", "50", "150"]]
    assert max(map(len, rows)) <= 80


def test_figures_are_of_all_seeds():
    lines = [line([4960, 9500]), line([300, 5000]), line([5100, 9600])]
    figures = alarms.figures(lines)["s", "DriftMoE"]
    assert (figures["drifts"], figures["missed"], figures["delay"], figures["runs"]) == (6, 1, 50, 3)
    assert figures["false"] == pytest.approx(1e5 / (3 * 14_350))


def test_a_run_is_a_line_for_each_detector_and_a_broken_file_goes_on(tmp_path):
    lines = alarms.run("mixed_a", 1, 4000)
    assert [one["detector"] for one in lines] == list(alarms.COLUMNS)
    path = tmp_path / "alarms.jsonl"
    path.write_text("".join(alarms.json.dumps(one) + "\n" for one in [*lines, *lines])[:-30])
    assert alarms._lines(path) == lines
