"""Writing a report as HTML, as Markdown and as LaTeX."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from pathlib import Path

from driftmoe.report.latex import latex
from driftmoe.report.parts import Command, Grid, Part, Picture, Section
from driftmoe.staging import naming, write_files

LONG = 70
"""Number of characters above which a cell of the page may wrap."""

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
"""What the page may load: only what it holds."""


def page(parts: Sequence[Section], *, title: str) -> str:
    """Return the sections as a self-contained HTML page, which needs no other file and no network.

    Its script sorts tables and copies commands; without scripts the page is whole all the same.
    """
    here = Path(__file__)
    style, script = (here.with_name(name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    anchors = _anchors([section.title for section in parts])
    links = "".join(
        f'<li><a href="#{anchor}">{html.escape(section.title)}</a></li>'
        for anchor, section in zip(anchors, parts, strict=True)
    )
    body = [f"<header><h1>{html.escape(title)}</h1></header>"]
    if len(parts) > 1:
        body.append(f'<nav aria-label="Contents"><ul>{links}</ul></nav>')
    body.append("<main>")
    n_tables = 0
    for anchor, section in zip(anchors, parts, strict=True):
        heading = f'<h2 id="{anchor}"><a href="#{anchor}">{html.escape(section.title)}</a></h2>'
        body.append(heading)
        for part in section.parts:
            n_tables += isinstance(part, Grid)
            body.append(_html_part(part, f"Table {n_tables}, {section.title}"))
    body.append('</main><div id="said" class="sr" role="status"></div>')
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}"><title>{html.escape(title)}</title>'
        f"<style>{style}</style>"
    )
    body.append(f"<script>{script}</script>")
    top = f'<!doctype html>\n<html lang="en">\n<head>{head}</head>\n<body>'
    return "\n".join([top, *body, "</body>", "</html>", ""])


def _anchors(titles: Sequence[str]) -> list[str]:
    """Return a name for each section, to be linked to."""
    found: list[str] = []
    for title in titles:
        name = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "section"
        found.append(name if name not in found else f"{name}-{len(found)}")
    return found


def _html_part(part: Part, label: str) -> str:
    if isinstance(part, str):
        return f"<p>{html.escape(part)}</p>"
    if isinstance(part, Picture):
        image = f'<img alt="{html.escape(part.alt)}" src="{_data_url(part.svg)}">'
        return f'<div class="picture" tabindex="0" role="group" aria-label="Picture">{image}</div>'
    if isinstance(part, Command):
        text = html.escape(part.text)
        button = '<button type="button" hidden>Copy</button>'
        return f'<div class="command"><pre tabindex="0"><code>{text}</code></pre>{button}</div>'
    longest = [max((len(row[i][0]) for row in part.rows), default=0) for i in range(len(part.heading))]
    heading = "".join(
        f'<th scope="col"{_long(n)}>{html.escape(text).replace("(", "<wbr>(")}</th>'
        for text, n in zip(part.heading, longest, strict=True)
    )
    rows = [
        "<tr>" + "".join(_html_cell(text, bold, i == 0) for i, (text, bold) in enumerate(row)) + "</tr>"
        for row in part.rows
    ]
    n_body = len(rows) - part.n_foot
    body, foot = "\n".join(rows[:n_body]), "\n".join(rows[n_body:])
    foot = f"<tfoot>{foot}</tfoot>" if foot else ""
    return (
        f'<div class="table" tabindex="0" role="region" aria-label="{html.escape(label)}"><table>'
        f"<thead><tr>{heading}</tr></thead>\n<tbody>{body}</tbody>{foot}</table></div>"
    )


def _html_cell(text: str, bold: bool, is_first: bool) -> str:
    shown = f"<b>{html.escape(text)}</b>" if bold else html.escape(text)
    if is_first:
        return f'<th scope="row">{shown}</th>'
    return f"<td{_long(len(text))}>{shown}</td>"


def _long(n_characters: int) -> str:
    """Return the attribute of a cell that may wrap."""
    return ' class="long"' if n_characters > LONG else ""


def _data_url(svg: bytes) -> str:
    """Return a picture as an address that holds it, for an attribute in double quotes. Text is shorter than base64."""
    text = " ".join(svg[svg.index(b"<svg") :].decode("utf-8").split())
    text = re.sub(
        r"<[^<>]*>", lambda tag: tag[0].replace("'", "").replace('"', "'"), text
    )  # `"` takes six characters
    text = text.replace("%", "%25").replace("#", "%23").replace("&", "&amp;").replace('"', "&quot;")
    return f"data:image/svg+xml;charset=utf-8,{text}"


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
            elif isinstance(part, Command):
                fence = "`" * (2 + max(map(len, re.findall("`+", part.text)), default=1))
                body.append(f"{fence}sh\n{part.text}\n{fence}")
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
    """Write `report.html`, `report.md` and `report.tex`, with pictures in `report_files`. Return these paths.

    The pictures are there as SVG and as PDF. `report.tex` has all tables, in the commands of the package booktabs.

    Raises
    ------
    OSError
        If the folder cannot be written or the disk is full. The error names the file, and an earlier report remains.
    """
    pictures = folder / "report_files"
    files = {
        f"{pictures.name}/{part.name}.{ending}": data
        for section in parts
        for part in section.parts
        if isinstance(part, Picture)
        for ending, data in (("svg", part.svg), ("pdf", part.pdf))
    }
    files["report.html"] = page(parts, title=title).encode()
    files["report.md"] = markdown(parts, title=title, pictures=pictures.name).encode()
    files["report.tex"] = latex(parts, title=title, pictures=pictures.name).encode()
    kept = "the report is lost; results, and a report from before, are as they were"
    with naming(pictures, kept):
        pictures.mkdir(parents=True, exist_ok=True)
    return write_files(folder, files, kept=kept)[-3:]
