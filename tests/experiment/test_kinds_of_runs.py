"""Result lines say what kind of run they are of, and reports keep the kinds apart."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from driftmoe import report
from driftmoe.experiment import Run, kind_of_run, read_results, run_job
from driftmoe.neural import NeuralRun, language, open_experiment
from streams.opening import open_stream


@pytest.fixture(scope="module")
def evaluated():
    stream = open_stream(name="led_a", limit=300, seed=1)
    result, _ = run_job(Run("led_a", stream.fingerprint(), "nochange", 1, 300, 100), stream)
    return result


@pytest.fixture(scope="module")
def trained():
    with pytest.MonkeyPatch.context() as patched:
        few = replace(language.SIZES["medium"], n_in_curve=8, n_in_verdict=8)
        patched.setitem(language.SIZES, "medium", few)
        data = open_experiment("lm", 2, 1)
        result, _ = run_job(NeuralRun("lm", data.fingerprint(), "TopK(2)", 1, 2, 1), data)
    return result


def test_a_line_says_its_kind(evaluated, trained):
    assert (evaluated["kind"], trained["kind"]) == ("evaluation", "neural")
    assert (kind_of_run(evaluated), kind_of_run(trained)) == ("evaluation", "neural")


def test_old_lines_that_do_not_say_it_are_told_apart_by_their_figures(evaluated, trained):
    of_old = [{name: line[name] for name in line if name != "kind"} for line in (evaluated, trained)]
    assert [kind_of_run(line) for line in of_old] == ["evaluation", "neural"]


@pytest.mark.parametrize("kind", ["else", None, ["neural"]])
def test_a_line_of_unknown_kind_is_refused(evaluated, tmp_path, kind):
    (tmp_path / "results.jsonl").write_text(json.dumps(evaluated | {"kind": kind}) + "\n")
    with pytest.raises(ValueError, match="line 1 is not a result of this program: kind is "):
        read_results(tmp_path)


def test_a_report_goes_by_the_kind_not_by_the_figures(evaluated, trained):
    titles = [section.title for section in report.sections([evaluated, trained], [])]
    assert "Neural experiments" in titles
    counting = evaluated | {"expert_flops": 5.0}
    assert "Neural experiments" not in [section.title for section in report.sections([counting], [])]
