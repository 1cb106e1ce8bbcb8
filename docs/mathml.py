"""Formulas become MathML while the site is built, so that a reader needs neither a script nor a network.

An extension of Python-Markdown, named in `mkdocs.yml`. It comes after `pymdownx.arithmatex`, which finds the formulas.
"""

from __future__ import annotations

import html
import re
from typing import Any

from latex2mathml.converter import convert
from markdown import Markdown
from markdown.extensions import Extension
from markdown.postprocessors import Postprocessor

FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)


class MathML(Postprocessor):
    r"""Replaces what is marked as `\(...\)` or `\[...\]`."""

    def run(self, text: str) -> str:
        """Return the page with MathML in the place of LaTeX."""
        return FORMULA.sub(_formula, text)


def _formula(found: re.Match[str]) -> str:
    tag, latex = found.groups()
    display = "block" if tag == "div" else "inline"
    return f'<{tag} class="formula">{convert(html.unescape(latex).strip(), display=display)}</{tag}>'


class MathMLExtension(Extension):
    """Adds the replacement after all others."""

    def extendMarkdown(self, md: Markdown) -> None:  # noqa: N802  # Python-Markdown's name
        """Register it."""
        md.postprocessors.register(MathML(md), "mathml", -1)


def makeExtension(**options: Any) -> MathMLExtension:  # noqa: N802  # Python-Markdown's name
    """Return the extension; Python-Markdown calls this."""
    return MathMLExtension(**options)
