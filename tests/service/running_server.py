"""An HTTP server in a thread of its own."""

from __future__ import annotations

import threading
from contextlib import contextmanager

from driftmoe.service.http import HttpServer, create_app


@contextmanager
def running(worker, port=0, **arguments):
    """Serve a worker until the block ends; yields the server."""
    server = HttpServer(create_app(worker, **({"interval": 0.05} | arguments)), port=port)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield server
    finally:
        server.stop()
        thread.join()
