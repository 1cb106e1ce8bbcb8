"""The benchmark of speed at tiny sizes, with a stand-in for Java: table, goals, and that it notices differences."""

from __future__ import annotations

import argparse
import json

import pytest

import streams
from benchmarks.speed import cases, goals, quick, report, scaling, timing, ways
from benchmarks.speed.samples import Samples
from driftmoe import DriftMoEClassifier

OPTIONS = argparse.Namespace(
    stream="led_a", second="rbf_f", seed=1, samples=400, few=80, fewest=5, repeats=1, capymoa_python="java"
)


class SlowJava:
    """Takes a millisecond for each sample."""

    def __init__(self, python, X, y, n_classes):
        self.about = {"nominal": False}
        assert X.shape == (400, 24 if n_classes == 10 else 10)

    def run(self, learner, n, *, nominal=False):
        return {"seconds": n / 1000, "accuracy": 0.5, "bytes": 1}

    def close(self):
        pass


def test_report_measures_every_case_and_judges_every_goal(monkeypatch, capsys):
    start = {"what": "start-up", "first_ever_s": 11.0, "cached_s": 1.0, "import_torch_s": 0.75}
    monkeypatch.setattr(timing, "SHORTEST", 1e-9)
    for module in (ways, cases):  # so that some labels come late
        monkeypatch.setattr(module, "DELAY", 10)
    monkeypatch.setattr(report, "Java", SlowJava)
    monkeypatch.setattr(report, "memory", lambda stream, sizes, tick: [{"what": "imports", "peak_mb": 1.0}])
    monkeypatch.setattr(report, "start_up", lambda n_repeats, tick: start)
    monkeypatch.setattr(goals.bound, "measure", lambda name, n_samples, repeats: (6.0, 2.0))
    lines = report.report(OPTIONS, streams.make("led_a", 1, 400), lambda what: None)
    by_name = {line["what"]: line for line in lines if "us_per_sample" in line}
    for mark in ("", cases.SECOND):
        assert by_name[f"CapyMOA: ARF-100{mark}"]["us_per_sample"] == 1000.0
        assert by_name[f"CapyMOA: ARF-100{mark}"]["n_samples"] == 40
        assert by_name[f"driftmoe: prequential{mark}"]["n_samples"] == 400
    judged = {line["goal"]: line for line in lines if "goal" in line}
    assert len(judged) == len(goals.GOALS) + 3
    ratio = 1000.0 / by_name["driftmoe: prequential, second"]["us_per_sample"]
    assert judged["the same, second stream / ARF-10"]["value"] == pytest.approx(ratio)
    assert judged["the same, nominal"]["value"] is None  # this Java has no nominal features
    assert [judged[name]["reached"] for name in list(judged)[-3:]] == [True, False, True]
    of_parts = [line["us_by_part"] for line in lines if "us_by_part" in line]
    assert len(of_parts) == 4
    assert of_parts[2]["neighbours, predict and learn"] > of_parts[0]["neighbours, predict and learn"] == 0.0
    assert "NOT reached" in capsys.readouterr().out


def test_check_finds_a_way_that_answers_otherwise():
    samples = Samples(streams.make("led_a", 1, 60), 60)

    def other_seed():
        return DriftMoEClassifier("moe-data", seed=2)

    table = [
        cases.Case("one", 60, lambda samples, n: ways.run_dicts(samples, n, make=ways.moe), "moe"),
        cases.Case("other", 60, lambda samples, n: ways.run_dicts(samples, n, make=other_seed), "moe"),
    ]
    timing.check(table[:1] * 2, samples, 60, lambda what: None)
    with pytest.raises(AssertionError, match="'other' and 'one'"):
        timing.check(table, samples, 60, lambda what: None)


def test_tenth_of_the_samples_is_compared_with_a_tenth():
    sizes = {case.name: case.n_samples for case in cases.forests(1000, None)}
    assert sizes == {
        "driftmoe: prequential": 1000,
        "driftmoe: prequential, a tenth": 100,
        cases.ASLEEP: 1000,
    }


def test_the_quick_gate_names_the_part_that_became_slower(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(quick, "N_IN_BLOCKS", 120)
    monkeypatch.setattr(quick, "N_SINGLE", 30)
    samples, kept = Samples(streams.make("led_a", 1, 120), 120), tmp_path / "kept.json"
    assert quick.run(samples, 1, lambda what: None, keeps=False, file=kept)
    assert "there are no bounds" in capsys.readouterr().out
    assert quick.run(samples, 1, lambda what: None, keeps=True, file=kept)
    bounds = json.loads(kept.read_text())
    assert list(bounds) == list(quick.WAYS)
    monkeypatch.setattr(quick, "measured", lambda *_: {way: dict(of) for way, of in bounds.items()})
    assert quick.run(samples, 1, lambda what: None, keeps=False, file=kept)
    way, part = quick.WAYS[0], max(bounds[quick.WAYS[0]], key=bounds[quick.WAYS[0]].get)
    bounds[way][part] *= 1.0 + 1.5 * (quick.SLOWER - 1.0)
    capsys.readouterr()
    assert not quick.run(samples, 1, lambda what: None, keeps=False, file=kept)
    told = capsys.readouterr().out
    assert told.count("SLOWER:") == 1
    assert f"SLOWER: {way}: {part}: 1.30 times as slow as it was" in told


def test_growth_is_measured_for_each_size_and_judged(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(scaling, "N_DICTS", 5)
    monkeypatch.setattr(scaling, "N_SPARSE", 5)
    monkeypatch.setattr(scaling, "WARM_UP", 5)
    monkeypatch.setattr(
        scaling, "WAYS", {name: scaling.WAYS[name] for name in ("moe-data, blocks", "tree, dicts")}
    )
    few = {"experts": [1, 2], "features": [3, 6], "classes": [2, 3], "values": [2, 300], "samples": [20, 40],
           "names": [20, 40]}  # fmt: skip
    lines = scaling.scaling(few, scaling.BASE | {"samples": 20, "experts": 2}, 1, lambda what: None)
    assert [(line["grows"], line[line["grows"]]) for line in lines] == [
        (w, n) for w, of in few.items() for n in of
    ]
    assert all(us > 0.0 for line in lines for us in line["us_per_sample"].values())
    assert list(lines[-1]["us_per_sample"]) == ["tree, dicts"]
    assert lines[3]["model_bytes"]["moe-data, blocks"] > lines[2]["model_bytes"]["moe-data, blocks"]
    judged = {(v["grows"], v["what"], v["figure"]): v for v in scaling.verdicts(lines)}
    a, b = (line["us_per_sample"]["tree, dicts"] for line in lines[-2:])
    assert judged["names", "tree, dicts", "us_per_sample"]["factor"] == pytest.approx(b / a, abs=0.01)
    scaling.print_growth(lines)
    assert "| names, MB | 20 | 40 | outgrows by |" in capsys.readouterr().out
    scaling.draw_growth(lines, tmp_path / "growth.png")
    assert (tmp_path / "growth.png").read_bytes().startswith(b"\x89PNG")


def test_lines_that_are_measured_again_take_the_place_of_those_in_the_file(tmp_path):
    file = tmp_path / "lines.jsonl"
    old = [{"grows": what, "us_per_sample": {"tree, dicts": 1.0}} for what in scaling.SCALES]
    new = [{"grows": "values", "us_per_sample": {"tree, dicts": 2.0}}] * 2
    assert scaling.with_kept(new, file) == new
    file.write_text("".join(json.dumps(line) + "\n" for line in old))
    at = list(scaling.SCALES).index("values")
    assert scaling.with_kept(new, file) == [*old[:at], *new, *old[at + 1 :]]


def test_what_outgrows_its_size_is_judged_over_all_pairs():
    assert scaling.worst_factor([1, 2, 4], [1.0, 4.0, 4.0], is_flat=False) == 2.0
    assert scaling.worst_factor([1, 2, 4], [1.0, 4.0, 4.0], is_flat=True) == 4.0
    assert scaling.worst_factor([10, 100, 1000], [1.0, 12.0, 190.0], is_flat=False) == pytest.approx(1.9)
