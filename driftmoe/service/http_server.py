"""A server on a socket: bounded connections, headers and waiting times, and a clean stop on SIGTERM and SIGINT."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol

from driftmoe.service.http_guard import HEADER_BYTES

HEADER_SECONDS = 10.0
"""Time to send a request's line and headers."""

STALL_SECONDS = 30.0
"""Time after which a reader that takes nothing of its answer is cut off."""

MOST_CONNECTIONS = 4_096

STOP_SECONDS = 5.0
"""Time that open requests get when the server stops."""

_log = logging.getLogger("driftmoe.service.http")


class HttpServer:
    """A server of an application, on a socket that is bound when it is made.

    Parameters
    ----------
    app
        The application of `driftmoe.service.http.create_app`.
    host, port
        Address to listen on; port 0 takes a free one.

    Raises
    ------
    OSError
        If the address cannot be bound.
    """

    def __init__(self, app: Starlette, host: str = "127.0.0.1", port: int = 8000) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.create_server((host, port), family=family, backlog=2048)
        self._app = app
        config = uvicorn.Config(
            app,
            http=_BoundedProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            h11_max_incomplete_event_size=HEADER_BYTES,
            limit_concurrency=MOST_CONNECTIONS,
            timeout_keep_alive=15,
            timeout_graceful_shutdown=int(STOP_SECONDS),
        )
        self._server = _Server(config, self._end_streams)
        self.port: int = self._socket.getsockname()[1]
        """The port that is bound."""
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{self.port}"
        """Address of the live page."""

    def run(self) -> None:
        """Serve until `stop` is called; in the main thread also until SIGTERM or SIGINT comes."""
        _log.info("listening on %s", self.url)
        self._server.run(sockets=[self._socket])
        _log.info("stopped")

    def close(self) -> None:
        """Let go of the address, if the server does not run."""
        self._socket.close()

    def stop(self) -> None:
        """Ask the server to stop; may be called from any thread."""
        self._end_streams()
        self._server.should_exit = True

    def _end_streams(self) -> None:
        self._app.state.context.is_stopping = True


class _Server(uvicorn.Server):
    """uvicorn's server, which returns after a signal and does not raise it again."""

    def __init__(self, config: uvicorn.Config, on_exit: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_exit = on_exit

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {
            number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: Any) -> None:
        self._on_exit()
        super().handle_exit(sig, frame)


class _BoundedProtocol(H11Protocol):
    """uvicorn's connection, with a time limit on headers and on readers that do not read."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._header_timer: asyncio.TimerHandle | None = None
        self._stall_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        # asyncio does it for sockets that know their protocol, which those of `create_server` do not. Without it the
        # end of each answer waits 40 ms for the client to acknowledge its beginning.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        super().connection_made(transport)
        self._header_timer = self.loop.call_later(HEADER_SECONDS, transport.abort)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch_headers()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stall_timer = self.loop.call_later(STALL_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._header_timer, self._stall_timer):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def _watch_headers(self) -> None:
        """Start the clock when a part of a request's headers is there, and stop it when all are.

        Between two requests uvicorn's own clock runs, which closes the connection without haste.
        """
        is_partial = str(self.conn.their_state) == "IDLE" and bool(self.conn.trailing_data[0])
        if is_partial and self._header_timer is None:
            self._header_timer = self.loop.call_later(HEADER_SECONDS, self.transport.abort)
        elif not is_partial and self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None
