"""A report as LaTeX: read back by a small parser, it holds the figures of the report; it compiles where LaTeX is."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest
from places import ROOT
from written_results import CURVES, RESULTS

from driftmoe import report
from driftmoe.experiment import read_results
from driftmoe.report.latex import SPECIAL, escaped, latex, table

PLAIN = {written: character for character, written in SPECIAL.items() if written != character}


def read(text):
    """Return a text of LaTeX as it is printed."""
    tokens = sorted(PLAIN, key=len, reverse=True)
    return re.sub("|".join(map(re.escape, tokens)), lambda found: PLAIN[found[0]], text)


def cells_of(row):
    """Return the cells of a row as (text, whether it is bold)."""
    cells = []
    for cell in re.split(r"(?<!\\)&", row.strip().removesuffix(r"\\")):
        bold = re.fullmatch(r"\\textbf\{(.*)\}", cell.strip())
        cells.append((read(bold[1] if bold else cell.strip()), bool(bold)))
    return cells


def tables_of(text):
    """Return the heading and the rows of each table, and the number of rows below the last rule."""
    found = []
    for inside in re.findall(r"\\toprule\n(.*?)\\bottomrule", text, re.DOTALL):
        head, *groups = inside.split("\\midrule\n")
        rows = [[cells_of(row) for row in group.strip().split("\n") if row] for group in groups]
        n_foot = len(rows[1]) if len(rows) > 1 else 0
        found.append(
            report.Grid(
                [cell for cell, _ in cells_of(head)], [row for group in rows for row in group], n_foot
            )
        )
    return found


def test_latex_of_the_papers_table_equals_the_report():
    results, _ = read_results(ROOT / "benchmarks" / "results" / "paper.jsonl")
    longest = max(line["limit"] for line in results)
    lines, _ = report.usable([line for line in results if line["limit"] == longest])
    grid = report.comparison_grid(lines, "accuracy")
    (read_back,) = tables_of(table(grid, caption="Accuracy", label="tab:paper"))
    assert len(grid.rows) > 8
    assert any(bold for row in grid.rows for _, bold in row)
    assert read_back == grid


def test_every_table_of_a_report_is_in_its_latex():
    sections = report.sections(RESULTS, CURVES)
    grids = [part for section in sections for part in section.parts if isinstance(part, report.Grid)]
    text = latex(sections, title="t", pictures="report_files")
    squeezed = [
        report.Grid(g.heading, [[(" ".join(t.split()), b) for t, b in row] for row in g.rows], g.n_foot)
        for g in grids
    ]
    assert tables_of(text) == squeezed
    assert len(grids) > 8
    for environment in ("table", "tabular", "document"):
        assert text.count(rf"\begin{{{environment}}}") == text.count(rf"\end{{{environment}}}") > 0


def test_what_latex_would_take_for_a_command_is_text():
    hostile = r"a_b$x^2$ 50% & #1 {~} \input{/etc/passwd} --drop <|> 'n' \"q\" `c`"
    grid = report.Grid(["x", hostile], [[("1", False), (hostile, True)]])
    text = table(grid, caption=hostile, label="tab:1")
    assert tables_of(text) == [grid]
    assert r"\input" not in text


def test_a_report_compiles(written, tmp_path):
    if shutil.which("pdflatex") is None:
        pytest.skip("needs pdflatex: the report was read by a parser only")
    shutil.copy(written / "report.tex", tmp_path)
    shutil.copytree(written / "report_files", tmp_path / "report_files")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "report.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")
    assert "Missing character" not in done.stdout


def test_a_minus_before_a_number_is_no_hyphen():
    assert escaped("-0.49 ± 0.19") == r"$-$0.49 $\pm$ 0.19"
    assert escaped("[b].csv") == "{[}b].csv"  # after the end of a row a bracket would be taken for its height
    assert escaped("--delay 1-2 kappa-M") == "{-}{-}delay 1{-}2 kappa{-}M"
