"""What several test files share: the real data, when they can be had."""

from __future__ import annotations

import gc
import logging
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import pytest

from streams import real

collect_ignore_glob = ["*conftest.py"]
"""No doctests are looked for in files of fixtures: pytest takes several of one name for one module."""

os.environ["DRIFTMOE_QUIET"] = "1"  # what a command writes must not depend on what is compiled already

WARMED = pytest.StashKey[Path]()
"""Of the run as a whole -> the folder of the warm-up before it."""

ARCHIVED = ("electricity", "weather", "covtype")


@pytest.fixture(autouse=True)
def _log_of_the_worker():
    """Commands that run in the process of a test send the worker's log to standard error; others want to see it."""
    yield
    log = logging.getLogger("driftmoe.service")
    log.handlers, log.propagate = [], True
    log.setLevel(logging.NOTSET)


@pytest.fixture(scope="session")
def fetched():
    """Folders of the real files by name: the user's cache, filled if need be, else the user's data folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(real.DATA_DIR_VARIABLE, raising=False)
        try:
            return {name: real.fetch(name).parent for name in ARCHIVED}
        except FileNotFoundError as error:
            reason = str(error)
    try:
        return {name: real.fetch(name).parent for name in ARCHIVED}
    except FileNotFoundError:
        pytest.skip(f"real data are out of reach: {reason}")


def pytest_configure():
    """Answer Ctrl-C, even where the shell has started pytest in the background.

    A shell makes such a command ignore the signal. Processes that tests start would inherit this, and a test that
    interrupts one would fail.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session):
    """Before the whole suite on several cores, compile all kernels once, in two processes."""
    config = session.config
    is_whole = config.args_source is pytest.Config.ArgsSource.TESTPATHS
    if is_whole and config.getoption("numprocesses", None) and not hasattr(config, "workerinput"):
        import numba  # and `warmed` imports it: the other runs need not wait for it
        import warmed

        if not numba.config.DISABLE_JIT:
            folder = config.stash[WARMED] = Path(tempfile.mkdtemp())
            config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
            warmed.warm_up(folder)
            warmed.share(folder)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node):
    """Tell each process that runs tests where the kernels of the warm-up are."""
    node.workerinput["warmed"] = str(node.config.stash.get(WARMED, ""))


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """Let the collector of garbage pass over what is loaded and found before the first test.

    A million objects stay until the end. To look at all of them again and again takes a tenth of the time of all tests.
    What tests make is collected as ever.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.collect()
        gc.freeze()


def pytest_collection_modifyitems(items):
    """Run slow tests first, so that none is left for the end, when other processes have nothing to do."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def pytest_collection_finish():
    """Start what the processes of tests are forked from, if there are tests that start some."""
    if commands := sys.modules.get("commands"):
        commands.prepare()


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium, for tests of pages."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs the package playwright")
    found = [
        path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))
    ]
    if not found:
        pytest.skip("needs Chromium")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=found[0], args=["--no-sandbox"])
        yield browser
        browser.close()
