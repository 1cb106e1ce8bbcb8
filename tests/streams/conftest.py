"""Fixtures of the tests of real streams: a cache of their own, small files, a server."""

from __future__ import annotations

import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from small_sources import ARCHIVED, SMALL, know, shrink

from streams import cache as cache_module
from streams import real


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache folder of the test's own; pytest makes the session's fixtures before it."""
    monkeypatch.delenv(real.DATA_DIR_VARIABLE, raising=False)
    monkeypatch.setattr(cache_module, "cache_dir", lambda: tmp_path / "cache")
    return tmp_path / "cache"


@pytest.fixture
def small(monkeypatch):
    """The archive's three data sets, with a few rows each."""
    for name, n_rows in zip(ARCHIVED, (3, 2, 1), strict=True):
        changes = {"target": "target", "n_samples": n_rows, "n_features": 1 + (name == "electricity")}
        know(monkeypatch, name, SMALL[name], **changes)


@pytest.fixture
def server():
    """A web server whose `pages` map a path to (status, headers, body); other paths wait for the end.

    A body that is a list of pieces comes a piece each twentieth of a second.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path not in http.pages:
                http.over.wait(10)
                return
            status, headers, body = http.pages[self.path]
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            if isinstance(body, bytes):
                self.wfile.write(body)
                return
            for piece in body:
                if http.over.wait(0.05):
                    return
                with suppress(ConnectionError):  # the client has given up
                    self.wfile.write(piece)

        def log_message(self, *_):
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.pages, http.over = {}, threading.Event()
    http.url = f"http://127.0.0.1:{http.server_port}"
    thread = threading.Thread(target=http.serve_forever, args=(0.01,))
    thread.start()
    yield http
    http.over.set()
    http.shutdown()
    thread.join()
    http.server_close()


@pytest.fixture
def small_airlines(monkeypatch):
    shrink(monkeypatch, "airlines", 3, 2)
