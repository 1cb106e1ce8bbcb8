"""Pages in HTML: the live page and the description of the interface, each in one file, without the network.

Scripts and styles are allowed by their hashes alone, so that nothing which gets into a page can run.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from importlib import resources
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

STYLE = """
:root{color-scheme:light dark;--ink:#1a1c20;--soft:#5b616b;--line:#dfe2e7;--ground:#fff;--code:#f4f5f7;--mark:#1f5fbf}
@media(prefers-color-scheme:dark){:root{--ink:#e8eaed;--soft:#a0a6b0;--line:#33373e;--ground:#16181b;--code:#202327;
--mark:#7db0ff}}
body{margin:0 auto;max-width:60rem;padding:1.5rem 1rem 4rem;font:16px/1.5 system-ui,sans-serif;color:var(--ink);
background:var(--ground);overflow-wrap:anywhere}
h1{font-size:1.5rem}h2{font-size:1.05rem;margin:2.2rem 0 .4rem;padding-top:1rem;border-top:1px solid var(--line)}
h2 code{background:none;padding:0}h2 b{color:var(--mark)}h3{font-size:.9rem;margin:1rem 0 .2rem;color:var(--soft)}
code,pre{font:13px/1.5 ui-monospace,monospace;background:var(--code);border-radius:4px}code{padding:.1em .3em}
pre{padding:.7rem;overflow-x:auto}table{border-collapse:collapse;font-size:.9rem}td,th{text-align:left;padding:.2rem
.8rem .2rem 0;vertical-align:top}a{color:var(--mark)}
"""

POLICY = (
    "default-src 'none'; script-src {scripts}; style-src {styles}; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class Page(Response):
    """A page whose own scripts and styles may run, and no others."""

    media_type = "text/html"

    def __init__(self, text: str) -> None:
        super().__init__(
            text, headers={"content-security-policy": _policy(text), "cache-control": "no-cache"}
        )


def live_page() -> str:
    """Return the text of the live page."""
    return resources.files("driftmoe.service").joinpath("page", "index.html").read_text(encoding="utf-8")


async def index(request: Request) -> Response:
    """Return the live page."""
    return Page(request.app.state.page)


async def docs(request: Request) -> Response:
    """Return the description of the interface as a page."""
    return Page(request.app.state.docs)


def docs_page(description: dict[str, Any]) -> str:
    """Return an OpenAPI description as a page to read."""
    info = description["info"]
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f'<title>{_text(info["title"])}</title><link rel="icon" href="data:,"><style>{STYLE}</style></head><body>'
        f"<h1>{_text(info['title'])} <small>{_text(info['version'])}</small></h1><p>{_text(info['description'])}</p>"
        '<p><a href="/">Live page</a> · <a href="/openapi.json">OpenAPI 3.1 as JSON</a></p>'
    ]
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            parts.append(_operation(method, path, operation))
    return "".join(parts) + "</body></html>\n"


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    parts = [
        f"<h2><code><b>{_text(method.upper())}</b> {_text(path)}</code></h2><p>{_text(operation['summary'])}",
        f" {_text(operation.get('description', ''))}</p>",
    ]
    if given := operation.get("parameters"):
        rows = "".join(
            f"<tr><td><code>{_text(one['name'])}</code><td>in {_text(one['in'])}<td>{_text(one['description'])}"
            for one in given
        )
        parts.append(f"<h3>Parameters</h3><table>{rows}</table>")
    for kind, body in operation.get("requestBody", {}).get("content", {}).items():
        for name, example in body.get("examples", {}).items():
            value = example["value"]
            shown = value if isinstance(value, str) else json.dumps(value, indent=2)
            parts.append(f"<h3>{_text(name)} — {_text(kind)}</h3><pre>{_text(shown)}</pre>")
    rows = "".join(
        f"<tr><td><code>{_text(status)}</code><td>{_text(answer['description'])}"
        for status, answer in operation["responses"].items()
    )
    return "".join(parts) + f"<h3>Answers</h3><table>{rows}</table>"


def _text(text: str) -> str:
    return html.escape(str(text))


def _policy(text: str) -> str:
    hashes = {
        tag: " ".join(
            f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
            for content in re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        )
        for tag in ("script", "style")
    }
    return POLICY.format(scripts=hashes["script"] or "'none'", styles=hashes["style"] or "'none'")
