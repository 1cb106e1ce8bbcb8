"""A report as LaTeX: a document that compiles by itself, with tables to be copied into a paper."""

from __future__ import annotations

import re
from collections.abc import Sequence

from driftmoe.report.parts import Command, Grid, Picture, Section

PREAMBLE = r"""% The tables need \usepackage{booktabs}, and \usepackage{graphicx} if they are wide.
% Names beyond Latin letters need lualatex or xelatex.
\documentclass{article}
\usepackage[T1]{fontenc}
\usepackage[utf8]{inputenc}
\usepackage[margin=2cm]{geometry}
\usepackage{booktabs}
\usepackage{graphicx}
\usepackage{textcomp}
"""

SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "%": r"\%", "#": r"\#", "_": r"\_",
    "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"\textquotedbl{}", "`": r"\textasciigrave{}", "'": "'", "-": "{-}", "[": "{[}",
    "±": r"$\pm$", "\N{EN DASH}": "--", "\N{MINUS SIGN}": "$-$", "µ": r"\textmu{}", "→": r"$\rightarrow$",
    "\N{MULTIPLICATION SIGN}": r"$\times$", "…": r"\ldots{}", "≥": r"$\geq$", "≤": r"$\leq$",
}  # fmt: skip
"""Character -> how LaTeX writes it. A hyphen in braces, so that two of them, as in an option, stay two."""

WIDE = 90
"""Characters of a row above which a table is made narrower, to the width of the text."""


def latex(parts: Sequence[Section], *, title: str, pictures: str) -> str:
    """Return the sections as a LaTeX document, with the pictures in a folder beside it."""
    body = [PREAMBLE, r"\begin{document}", rf"\section*{{{escaped(title)}}}"]
    n_tables = 0
    for section in parts:
        body.append(rf"\subsection*{{{escaped(section.title)}}}")
        for part in section.parts:
            if isinstance(part, Grid):
                n_tables += 1
                body.append(table(part, caption=section.title, label=f"tab:{n_tables}"))
            elif isinstance(part, Picture):
                body.append(
                    rf"\noindent\includegraphics[width=\textwidth]{{{pictures}/{part.name}.pdf}}" + "\n"
                )
            elif isinstance(part, Command):
                body.append(rf"\begin{{flushleft}}\ttfamily {escaped(part.text)}\end{{flushleft}}")
            else:
                body.append(escaped(part) + "\n")
    return "\n".join([*body, r"\end{document}", ""])


def table(grid: Grid, *, caption: str, label: str) -> str:
    r"""Return a table in the commands of the package booktabs.

    Examples
    --------
    >>> from driftmoe.report import Grid
    >>> from driftmoe.report.latex import table
    >>> grid = Grid(["stream", "a_b"], [[("x", False), ("1.50 ± 0.10", True)]])
    >>> print(table(grid, caption="Accuracy", label="tab:1"))
    \begin{table}[ht]
    \centering
    \caption{Accuracy}\label{tab:1}
    \begin{tabular}{lr}
    \toprule
    stream & a\_b \\
    \midrule
    x & \textbf{1.50 $\pm$ 0.10} \\
    \bottomrule
    \end{tabular}
    \end{table}
    """
    n_body = len(grid.rows) - grid.n_foot
    rows = [
        " & ".join(rf"\textbf{{{escaped(text)}}}" if bold else escaped(text) for text, bold in row) + r" \\"
        for row in grid.rows
    ]
    lines = [*rows[:n_body], *([r"\midrule"] if 0 < grid.n_foot < len(rows) else []), *rows[n_body:]]
    columns, width = _columns(grid)
    tabular = [
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        " & ".join(map(escaped, grid.heading)) + r" \\",
        r"\midrule",
        *lines,
        r"\bottomrule",
        r"\end{tabular}",
    ]
    if width > WIDE and "p{" not in columns:
        tabular = [r"\resizebox{\textwidth}{!}{%", *tabular[:-1], tabular[-1] + "}"]
    top = [r"\begin{table}[ht]", r"\centering", rf"\caption{{{escaped(caption)}}}\label{{{label}}}"]
    return "\n".join([*top, *tabular, r"\end{table}"])


def _columns(grid: Grid) -> tuple[str, int]:
    """Return the kinds of the columns, and the characters of the longest row; long texts wrap."""
    texts = [grid.heading, *([text for text, _ in row] for row in grid.rows)]
    widths = [max(len(row[i]) for row in texts) for i in range(len(grid.heading))]
    kinds = ["l" if i == 0 else "r" for i in range(len(widths))]
    if len(widths) == 2 and widths[1] > WIDE // 2:
        kinds = [r"p{0.3\textwidth}", r"p{0.6\textwidth}"]
    return "".join(kinds), sum(widths)


def escaped(text: str) -> str:
    """Return a text as LaTeX prints it."""
    text = re.sub(r"(?<!\S)-(?=\d)", "\N{MINUS SIGN}", " ".join(text.split()))
    return re.sub(r".", lambda found: SPECIAL.get(found[0], found[0]), text)
