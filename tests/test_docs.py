"""README and the pages in docs/ as a reader follows them: their commands and code run, and print what they show."""

from __future__ import annotations

import contextlib
import inspect
import io
import pkgutil
import re
import shlex
import sys
import threading
import warnings

import commands
import pytest
from places import ROOT
from typer.testing import CliRunner

from driftmoe.cli import app

PAGES = ["README.md", *sorted(str(p.relative_to(ROOT)) for p in (ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
URL = "http://127.0.0.1:8000"

NOT_RUN = {
    "README.md": "installs into an environment",
    "docs/guides/install.md": "installs into an environment, or into an image; compiles everything",
    "docs/guides/runs.md": "needs a cluster, or eight machines; MOA's models need Java",
    "docs/guides/streams.md": "needs the network",
    "docs/guides/paper.md": "takes hours, and Java",
    "docs/guides/neural.md": "starts a worker for each policy; tests/neural/ tries the command",
    "docs/guides/keyed-flink.md": "needs Flink, and a cluster; tests/engines/ tries it",
    "docs/guides/keyed-spark.md": "needs Spark, and a cluster; tests/engines/ tries it",
    "docs/guides/serving.md": "a worker runs until it is stopped; brokers; tests/service/ tries them",
}
"""Pages with blocks marked `console`, which are not run -> why."""

SLOW = {"README.md", "docs/guides/runs.md", "docs/guides/paper.md", "docs/guides/neural.md"}
"""Pages that start several processes, or draw a report over several streams."""

FEWER = {"--limit": "600", "--checkpoint-every": "200", "--steps": "5", "--workers": "1"}
"""Options with the number that they get here."""


def blocks(page):
    return BLOCK.findall((ROOT / page).read_text(encoding="utf-8"))


def runnable(page):
    return [b for b in blocks(page) if b[0] in ("python", "sh") and not (b[0] == "python" and URL in b[1])]


@pytest.mark.parametrize(
    "page",
    [pytest.param(page, marks=pytest.mark.slow if page in SLOW else ()) for page in PAGES if runnable(page)],
)
def test_what_a_page_tells_to_run_runs(page, tmp_path, monkeypatch, fetched):
    """All blocks of a page, in order, in one folder; Python's share their names, and `text` after one is its output.

    A block that begins with a comment such as `# mymodels.py` is also in that file.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    names, printed = {"__name__": "__main__"}, None
    for language, text in blocks(page):
        if language == "python" and URL not in text:
            out = io.StringIO()
            with contextlib.redirect_stdout(out), warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # as a bound gives, once
                exec(compile(text, page, "exec"), names)
            printed = out.getvalue()
            if file := re.match(r"# (\w+)\.py\n", text):
                (tmp_path / f"{file[1]}.py").write_text(text, encoding="utf-8")
                monkeypatch.setitem(sys.modules, file[1], None)  # forgotten after the test
                del sys.modules[file[1]]
        elif language == "text" and printed is not None:
            assert printed.strip() == text.strip()
            printed = None
        elif language == "sh":
            printed = None
            for line in text.replace("\\\n", " ").splitlines():
                if line.startswith("driftmoe "):
                    done = command(*shorter(shlex.split(line, comments=True)[1:]))
                    assert done.exit_code == 0, f"{line}\n{done.output}\n{done.exception!r}"
                else:
                    assert line.startswith("make "), f"{page}: {line} is not run; mark the block as `console`"


def command(*arguments):
    """Run `driftmoe` in this process, which has its kernels in memory."""
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        return CliRunner(env={"COLUMNS": "80", "NO_COLOR": "1"}).invoke(app, list(arguments))


def shorter(arguments):
    """Return the arguments of a command with fewer samples."""
    for option, number in FEWER.items():
        if option in arguments:
            arguments[arguments.index(option) + 1] = number
    if arguments[0] in ("evaluate", "grid") and not {"--limit", "--help"} & set(arguments):
        arguments += ["--limit", FEWER["--limit"]]
    if arguments[0] == "evaluate" and "--help" not in arguments:
        arguments += ["--force"]  # of one length, two examples may be the same run
    if arguments[0] == "neural" and not {"--steps", "--help"} & set(arguments):
        arguments += ["--steps", FEWER["--steps"]]
    return arguments


@pytest.mark.parametrize("page", PAGES)
def test_a_block_that_is_not_run_has_a_reason(page):
    languages = {language for language, _ in blocks(page)}
    assert languages <= {"python", "sh", "text", "console", "json", "dockerfile"}
    assert ("console" in languages) == (page in NOT_RUN)


def test_the_example_of_a_client_is_answered(tmp_path):
    """The page on serving says `127.0.0.1:8000`; here a free port takes its place."""
    from driftmoe.service import Settings, Store, Worker
    from driftmoe.service.http import server_of

    (example,) = [b for lang, b in blocks("docs/guides/serving.md") if lang == "python" and URL in b]
    worker = Worker(Store(tmp_path), Settings(model="moe-data"))
    worker.start()
    server = server_of(worker, port=0)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        done = commands.python("-c", example.replace(URL, server.url), cwd=tmp_path)
    finally:
        server.stop()
        thread.join()
        worker.stop()
    assert done.returncode == 0, done.stderr
    assert worker.counts == {"events": 2, "predicted": 1, "learnt": 1}


# How the pages look

BEHIND = {
    "--md-primary-fg-color": "#ffffff",  # the header's text
    "--md-primary-fg-color--dark": "#ffffff",
    "--md-typeset-a-color": "#f5f5f5",  # code in links is on grey
    "--md-accent-fg-color": "#f5f5f5",
    "--md-code-hl-number-color": "#272a35",  # code on dark pages
    "--md-code-hl-constant-color": "#272a35",
}
"""Colour in site.css -> the one of the theme that is before or behind it."""


def luminance(color):
    """Relative luminance, WCAG 2.2."""
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("name", BEHIND)
def test_the_colours_of_the_pages_have_the_contrast_of_wcag_aa(name):
    style = (ROOT / "docs" / "assets" / "site.css").read_text(encoding="utf-8")
    (color,) = re.findall(rf"{name}: (#[0-9a-f]{{6}});", style)
    dark, light = sorted(map(luminance, (color, BEHIND[name])))
    assert (light + 0.05) / (dark + 0.05) >= 4.5


# The reference

DOCUMENTED = [
    name
    for page in sorted((ROOT / "docs" / "reference").glob("*.md"))
    for name in re.findall(r"^::: ([\w.]+)", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
]

NO_EXAMPLE = {
    "from_capymoa": "needs Java; tests/streams/test_streams_adapters.py, skipped without it",
    "to_capymoa": "needs Java; tests/streams/test_streams_adapters.py, skipped without it",
}


def public(name):
    """Return the classes and functions that the reference shows of a module, or a class alone, by name."""
    found = pkgutil.resolve_name(name)
    if inspect.isclass(found):
        return {found.__name__: found}
    things = {n: thing for n, thing in vars(found).items() if getattr(thing, "__module__", None) == name}
    if hasattr(found, "__all__"):
        things = {n: getattr(found, n) for n in found.__all__}
    return {n: thing for n, thing in things.items() if n[0] != "_" and is_for_examples(thing)}


def is_for_examples(thing):
    """Exceptions only say what went wrong."""
    return inspect.isfunction(thing) or (inspect.isclass(thing) and not issubclass(thing, Exception))


@pytest.mark.parametrize("name", DOCUMENTED)
def test_each_public_name_has_an_example(name):
    own = {
        n: vars(thing).get("__doc__") or "" if inspect.isclass(thing) else thing.__doc__
        for n, thing in public(name).items()
    }
    assert [n for n, text in own.items() if ">>>" not in text and n not in NO_EXAMPLE] == []


def test_the_reference_shows_what_can_be_imported():
    import driftmoe

    assert {
        "driftmoe",
        "driftmoe.evaluation",
        "driftmoe.metrics",
        "driftmoe.routing",
        "driftmoe.nn",
        "streams",
    } <= set(DOCUMENTED)
    assert set(public("driftmoe")) == set(driftmoe.__all__)
