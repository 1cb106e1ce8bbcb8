"""Writing a report as HTML and as Markdown."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from pathlib import Path

from driftmoe.report.parts import Picture, Section
from driftmoe.staging import naming, write_files

LONG = 70
"""Number of characters above which a cell of the page may wrap."""

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; max-width: 1200px; margin: 2rem auto; padding: 0 1rem; }
h2 { margin-top: 2.5rem; }
div { overflow-x: auto; }
table { border-collapse: collapse; font-size: 14px; font-variant-numeric: tabular-nums; }
th, td { padding: 0.3rem 0.7rem; border-bottom: 1px solid #ddd; text-align: right; }
td { white-space: nowrap; }
td.long { white-space: normal; }
th:first-child, td:first-child, td.long { text-align: left; }
thead th { border-bottom: 2px solid #1a1a1a; }
img { max-width: 100%; }
"""


def page(parts: Sequence[Section], *, title: str) -> str:
    """Return the sections as a self-contained HTML page, which needs no other file and no network."""
    body = [f"<h1>{html.escape(title)}</h1>"]
    for section in parts:
        body.append(f"<h2>{html.escape(section.title)}</h2>")
        for part in section.parts:
            if isinstance(part, str):
                body.append(f"<p>{html.escape(part)}</p>")
            elif isinstance(part, Picture):
                body.append(f'<p><img alt="{html.escape(part.alt)}" src="{_data_url(part.svg)}"></p>')
            else:
                heading = "".join(
                    f"<th>{html.escape(text).replace('(', '<wbr>(')}</th>" for text in part.heading
                )
                rows = "\n".join(
                    "<tr>" + "".join(_html_cell(text, bold) for text, bold in row) + "</tr>"
                    for row in part.rows
                )
                body.append(
                    f"<div><table><thead><tr>{heading}</tr></thead>\n<tbody>{rows}</tbody></table></div>"
                )
    return (
        f'<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>{STYLE}</style></head>\n<body>\n" + "\n".join(body) + "\n</body>\n</html>\n"
    )


def _html_cell(text: str, bold: bool) -> str:
    tag = '<td class="long">' if len(text) > LONG else "<td>"
    return f"{tag}<b>{html.escape(text)}</b></td>" if bold else f"{tag}{html.escape(text)}</td>"


def _data_url(svg: bytes) -> str:
    """Return a picture as an address that holds it. Text is shorter than base64."""
    text = svg[svg.index(b"<svg") :].decode("utf-8").replace("%", "%25").replace("#", "%23")
    return html.escape("data:image/svg+xml;charset=utf-8," + " ".join(text.split()))


def markdown(parts: Sequence[Section], *, title: str, pictures: str) -> str:
    """Return the sections as Markdown, with links to pictures in the folder `pictures` beside the file."""
    body = [f"# {_plain(title)}"]
    for section in parts:
        body.append(f"## {_plain(section.title)}")
        for part in section.parts:
            if isinstance(part, str):
                body.append(_plain(part))
            elif isinstance(part, Picture):
                body.append(f"![{_in_cell(part.alt)}]({pictures}/{part.name}.svg)")
            else:
                rows = [[(text, False) for text in part.heading], *part.rows]
                texts = [
                    "| " + " | ".join(f"**{_in_cell(t)}**" if bold else _in_cell(t) for t, bold in row) + " |"
                    for row in rows
                ]
                rule = "|:--" + "|--:" * (len(part.heading) - 1) + "|"
                body.append("\n".join([texts[0], rule, *texts[1:]]))
    return "\n\n".join(body) + "\n"


def _plain(text: str) -> str:
    """Escape a paragraph for Markdown, so that names of models and streams appear unchanged. Code remains code."""
    # Code is text between two single backticks on one line that cannot be taken for HTML.
    parts = re.split(r"((?<!`)`[^`<>&\n]+`(?!`))", text)
    return "".join(part if i % 2 else _escaped(part).replace("`", "\\`") for i, part in enumerate(parts))


def _in_cell(text: str) -> str:
    """Escape a name or a figure for a cell of a Markdown table."""
    return _escaped(text).replace("`", "\\`").replace("|", "\\|")


def _escaped(text: str) -> str:
    text = re.sub(r"([\\*\[\]~])", r"\\\1", " ".join(text.splitlines()))
    text = html.escape(text, quote=False)  # not every Markdown renderer knows a backslash before these
    return re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", text)  # within a word an underscore has no meaning


def write(parts: Sequence[Section], folder: Path, *, title: str) -> list[Path]:
    """Write `report.html`, and `report.md` with its pictures in `report_files`. Return the paths of the first two.

    Raises
    ------
    OSError
        If the folder cannot be written or the disk is full. The error names the file, and an earlier report remains.
    """
    pictures = folder / "report_files"
    files = {
        f"{pictures.name}/{part.name}.svg": part.svg
        for section in parts
        for part in section.parts
        if isinstance(part, Picture)
    }
    files["report.html"] = page(parts, title=title).encode()
    files["report.md"] = markdown(parts, title=title, pictures=pictures.name).encode()
    kept = "the report is lost; results, and a report from before, are as they were"
    with naming(pictures, kept):
        pictures.mkdir(parents=True, exist_ok=True)
    return write_files(folder, files, kept=kept)[-2:]
