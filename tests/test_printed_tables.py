"""The tables that benchmarks print of their kept results are those that their page shows."""

from __future__ import annotations

import json
import re
from statistics import fmean

import pytest
from places import ROOT

from benchmarks import balance, late, neural, rare, surgery, wide
from benchmarks.beyond import __main__ as beyond
from benchmarks.beyond import report as beyond_report
from benchmarks.beyond import votes
from driftmoe.experiment import read_results

PAGE = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("benchmark", "printed"), [(late, late.table_of), (wide, wide.tables_of)], ids=["late", "wide"]
)
def test_the_page_shows_what_is_printed(benchmark, printed):
    text = printed(read_results(benchmark.RESULTS)[0])
    assert f"```text\n{text}\n```" in PAGE
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize("benchmark", [surgery, balance], ids=["surgery", "balance"])
def test_the_page_shows_the_tables_of_neural_experiments(benchmark):
    lines = [json.loads(line) for line in benchmark.RESULTS.read_text(encoding="utf-8").splitlines()]
    text = benchmark.table_of(lines)
    assert f"```text\n{text}\n```" in PAGE
    assert max(map(len, text.splitlines())) <= 80
    assert {line["seed"] for line in lines} == {11, 12, 13}


@pytest.mark.parametrize("file", [neural.LINES, "neural_apart.jsonl"])
def test_the_page_shows_the_rows_of_policies_in_neural_experiments(file):
    lines = read_results(ROOT / "benchmarks" / "results" / file)[0]
    rows = set(PAGE.splitlines())
    for name in {line["stream"] for line in lines}:
        assert set(neural.rows_of([line for line in lines if line["stream"] == name])) <= rows


def test_the_page_shows_the_table_of_rare_classes():
    text = rare.report(rare.read(rare.RESULTS), rare.LIMIT)
    assert text.rstrip("\n") in PAGE
    assert "Means over 3 seeds" in text
    assert "Runs of" not in text  # all are there


def test_the_page_shows_what_other_gates_and_fewer_trees_add():
    lines, altered = beyond.read_lines(beyond.LINES), beyond.read_lines(beyond.ALTERED)
    runs = {(line["stream"], line["seed"]) for line in lines}
    assert runs == {(stream, seed) for stream in votes.STREAMS for seed in votes.SEEDS}
    tables = [getattr(beyond_report, f"{of}_of")(lines) for of in ("ideas", "oracles", "surgery")]
    for text in (*tables, beyond_report.altered_of(altered)):
        assert f"```text\n{text}\n```" in PAGE
        assert max(map(len, text.splitlines())) <= 80


def test_means_without_the_stream_whose_labels_come_in_turn():
    rows = {
        key: row for key, row in late.accuracies(read_results(late.RESULTS)[0]).items() if key[0] != "rialto"
    }
    said = " ".join(PAGE.split())
    for other, form in (
        ("arf", "is {}, {} and {} points above ARF in the mean"),
        ("before", "and {}, {} and {} above `before`"),
    ):
        gains = [
            f"{fmean(row['default'] - row[other] for (_, of), row in rows.items() if of == delay):.1f}"
            for delay in late.DELAYS
        ]
        assert form.format(*gains) in said


def test_every_stream_of_the_wide_table_has_all_models_and_seeds():
    runs = {(line["stream"], line["model"], line["seed"]) for line in read_results(wide.RESULTS)[0]}
    streams = {stream for stream, *_ in runs}
    assert len(streams) == len(wide.STREAMS) + len(wide.FILES) >= 30
    assert runs >= {
        (stream, model, seed)
        for stream in streams
        for model in (*wide.OURS, *wide.PEERS, wide.BASELINE)
        for seed in wide.SEEDS
    }
    assert re.search(rf"first 10,000 samples of {len(streams)} streams", PAGE)
