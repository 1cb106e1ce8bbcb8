"""What a report and a table say of streams whose labels come in an order."""

from __future__ import annotations

import pytest
from written_results import result, text_of

from driftmoe import report
from driftmoe.metrics import order_in
from driftmoe.report.label_order import order_note
from driftmoe.report.order_parts import order_parts
from driftmoe.report.parts import Command, Grid
from driftmoe.report.repeating import commands
from driftmoe.report.results import told_apart
from driftmoe.report.tables import table


def line(stream, model, seed, accuracy, *, majority=0.2, markov=0.9, **others):
    """A result line whose kappas are those of an accuracy over these baselines."""
    figures = {
        "kappa_m": (accuracy - majority) / (1 - majority),
        "kappa_o": (accuracy - markov) / (1 - markov),
    }
    return result(stream, model, seed, accuracy, **figures, **others)


RUNS = [
    line("a", "driftmoe", 1, 0.95), line("a", "driftmoe", 2, 0.97), line("a", "ht", 1, 0.5),
    line("a", "driftmoe", 1, 0.60, label_order="ignore"), line("a", "driftmoe", 2, 0.64, label_order="ignore"),
    line("b", "driftmoe", 1, 0.95, markov=0.24),
]  # fmt: skip


def test_kappas_tell_how_often_the_baselines_were_right():
    assert order_in(line("a", "x", 1, 0.7)) == (0.2, 0.9)
    assert order_in(line("a", "x", 1, 0.7) | {"kappa_o": 1.0}) is None  # never wrong: they tell nothing
    assert order_in({"accuracy": 0.5, "kappa_m": 0.5}) is None  # of an older version


def test_the_default_is_shown_with_and_without_the_order_where_labels_have_one():
    (grid,) = [part for part in order_parts(RUNS) if isinstance(part, Grid)]
    assert [[text for text, _ in row] for row in grid.rows] == [
        ["a, 1,000", "20.00", "90.00", "96.00 ± 1.41", "62.00 ± 2.83"]
    ]
    assert not [part for part in order_parts(RUNS) if isinstance(part, Command)]


def test_the_command_that_is_lacking_is_printed():
    parts = order_parts([RUNS[0], RUNS[1], line("a", "ht", 1, 0.5)])
    assert [part.text for part in parts if isinstance(part, Command)] == [
        "driftmoe evaluate a --limit 1000 --window 500 --label-order ignore -m driftmoe --seed 1 --seed 2"
    ]
    parts = order_parts([line("a", "ht", 1, 0.5, metrics={"brier": 0.1})])
    assert [part.text for part in parts if isinstance(part, Command)] == [
        "driftmoe evaluate a --limit 1000 --window 500 -m driftmoe --seed 1",
        "driftmoe evaluate a --limit 1000 --window 500 --label-order ignore -m driftmoe --seed 1",
    ]


@pytest.mark.parametrize(("markov", "is_shown"), [(0.2499, False), (0.25, True), (0.1, False)])
def test_five_points_above_the_majority_are_an_order(markov, is_shown):
    lines = [line("a", "ht", seed, 0.5, markov=markov) for seed in (1, 2)]
    assert bool(order_parts(lines)) == is_shown
    assert bool(order_note(lines)) == is_shown
    assert order_note([{**one, "label_order": "ignore"} for one in lines]) == ""
    late = [{**one, "delay": "500"} for one in lines]  # no model knows the last label
    assert (order_note(late), order_parts(late)) == ("", [])


def test_rows_with_another_order_are_rows_of_their_own_and_come_last_in_the_tests():
    lines = [
        *RUNS,
        line("a", "ht", 1, 0.4, label_order="ignore"),
        line("a", "driftmoe", 1, 0.5, shuffle_window=50),
    ]
    sections = report.sections(lines, [])
    grid = next(part for one in sections if one.title == "Accuracy" for part in one.parts)
    assert [row[0][0] for row in grid.rows][:4] == [
        "a, 1,000",
        "a, 1,000, label order ignored",
        "b, 1,000",
        "a, 1,000, shuffled in windows of 50",
    ]
    told = text_of(sections, "What was compared")
    assert "Left out: a, 1,000, label order ignored." in told
    assert "order of labels is ignored or samples are shuffled come last" in told
    assert "parameters of its runs differ" not in told
    (order,) = [one.parts for one in sections if one.title == "Labels in order"]
    assert order == order_parts(lines)


def test_other_experts_without_the_order_are_no_other_model():
    lines = [
        line("a", "driftmoe", 1, 0.9, parameters={"extras": ["history", "head"]}),
        line("a", "driftmoe", 1, 0.5, parameters={"extras": ["head"]}, label_order="ignore"),
    ]
    assert told_apart(lines)[1] == []
    lines.append(line("b", "driftmoe", 1, 0.9, parameters={"extras": ["head"]}))
    assert "parameters of its runs differ (extras)" in " ".join(told_apart(lines)[1])


def test_runs_are_repeated_with_their_order():
    lines = [line("a", "ht", 1, 0.5, label_order="ignore", shuffle_window=50)]
    (command,) = commands(lines)
    assert "--label-order ignore --shuffle-window 50 -m ht" in command.text


def test_a_table_says_so_and_gives_no_digits_of_a_kappa_without_meaning():
    lines = [line("a", "ht", seed, 0.5, markov=0.99) for seed in (1, 2)]
    text = table(lines, title="a")
    assert "by it alone 99.00 % can be predicted (markov; majority 20.00 %)" in " ".join(text.split())
    assert "<-1000" in text
    assert max(map(len, text.splitlines())) <= 80
