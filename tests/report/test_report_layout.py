"""Tables on the terminal: whatever the width, every figure is there, and no line is longer."""

from __future__ import annotations

import pytest

from driftmoe import report
from driftmoe.report.layout import wrapped_name

HEADINGS = ["model", "accuracy %", "kappa-M %", "samples/s", "model MB"]
ROWS = [
    ["driftmoe", "86.40 ± 0.09", "-366.31 ± 11.33", "107,116 ± 1,200", "10.05 ± 0.12"],
    ["arf(n_models=30, grace_period=100)", "81.56 ± 0.05", "54.35 ± 1.37", "331 ± 3", "4.41 ± 0.01"],
]


@pytest.mark.parametrize("width", [26, 30, 40, 60, 80, 100])
def test_no_figure_is_lost_and_no_line_is_longer(width):
    lines = report.fitted(HEADINGS, ROWS, title="led_a, 3 000 samples", width=width).splitlines()
    assert max(map(len, lines)) <= width
    words = " ".join(lines).split()
    for row in ROWS:
        for cell in row[1:]:
            for figure in cell.split(" ± "):
                assert figure in words


def test_a_table_without_a_limit_has_one_line_for_each_row():
    lines = report.fitted(HEADINGS, ROWS, width=None).splitlines()
    assert len(lines) == 2 + len(ROWS)
    for line, row in zip(lines[2:], ROWS, strict=True):
        assert line.split() == " ".join(row).split()


def test_what_does_not_fit_beside_one_another_stands_in_several_tables():
    text = report.fitted(["model", "aaaaaaaa", "bbbbbbbb"], [["ht", "1", "2"], ["nb", "3", "4"]], width=14)
    assert text.splitlines() == [
        "model  aaaaaaaa", "───────────────", "ht            1", "nb            3", "",
        "model  bbbbbbbb", "───────────────", "ht            2", "nb            4",
    ]  # fmt: skip  # a single column is never cut


def test_names_are_not_wrapped_in_tables_that_are_divided_all_the_same():
    rows = [["arf(n_models=3, seed=1)", *["1,234.56"] * 7], ["ht (interrupted)", *["1,234.56"] * 7]]
    text = report.fitted(["model", *"abcdefg"], rows, width=80)
    assert text.count("arf(n_models=3, seed=1) ") == text.count("ht (interrupted) ") == 2


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("arf(n_models=30, grace_period=100)", ["arf(n_models=30,", "grace_period=100)"]),
        ("nochange", ["nochange"]),
        ("a" * 45, ["a" * 20, "a" * 20, "a" * 5]),
    ],
)
def test_a_name_is_wrapped_after_a_bracket_or_a_comma(name, lines):
    assert wrapped_name(name, 20).split("\n") == lines
