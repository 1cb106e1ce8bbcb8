"""The worker over HTTP: requests with events, figures, models, streams of server-sent events, and the live page.

Needs `driftmoe[serve]`. Requests are read within bounds. An answer comes after the commit or says that it does not.
`driftmoe.service.http_guard` checks the sender before anything else.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from importlib.metadata import version

from driftmoe.extras import install

try:
    import prometheus_client  # noqa: F401 - to raise one error that says what to install
    import starlette  # noqa: F401
    import uvicorn  # noqa: F401
except ImportError:
    raise ImportError(
        f"the worker's HTTP server needs starlette, uvicorn and prometheus-client; {install('serve')}"
    ) from None

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from driftmoe.service import (
    http_events,
    http_figures,
    http_importances,
    http_mlflow,
    http_models,
    http_page,
    http_prometheus,
    http_streams,
)
from driftmoe.service.events import Limits
from driftmoe.service.http_answers import HEADERS, Refusal, json_answer, refused
from driftmoe.service.http_bodies import Held, RequestBounds
from driftmoe.service.http_context import Context, Worker
from driftmoe.service.http_guard import LOOPBACK, Guard
from driftmoe.service.http_openapi import openapi
from driftmoe.service.http_server import HttpServer

__all__ = ["HttpServer", "RequestBounds", "Worker", "create_app", "server_of"]

_log = logging.getLogger("driftmoe.service.http")


def create_app(
    worker: Worker,
    *,
    read_token: str | None = None,
    write_token: str | None = None,
    limits: Limits | None = None,
    bounds: RequestBounds | None = None,
    hosts: Iterable[str] | None = LOOPBACK,
    interval: float = 1.0,
    heartbeat: float = 15.0,
    most_readers: int = 64,
) -> Starlette:
    """Return the application that answers for a worker.

    Parameters
    ----------
    worker
        The worker; its methods are called from several threads.
    read_token, write_token
        Bearer tokens; the second allows reading too. Without either everyone may do everything. With a read token
        alone nobody may write.
    limits
        Greatest sizes of an event.
    bounds
        Greatest sizes of requests.
    hosts
        Allowed names in the `Host` header, without the port, so that no foreign name can be pointed at this machine;
        `None` allows all.
    interval
        Seconds between the states of a stream.
    heartbeat
        Seconds after which a silent stream shows that it lives.
    most_readers
        Greatest number of streams that are read at a time.

    Raises
    ------
    ValueError
        If a token is empty, holds spaces, or both are the same.
    """
    context = Context(
        worker,
        limits or Limits(),
        bounds or RequestBounds(),
        Held((bounds or RequestBounds()).all_bytes),
        interval,
        heartbeat,
        most_readers,
    )
    hosts = None if hosts is None else list(hosts)
    Guard(_nothing, read_token, write_token, hosts)  # to refuse bad tokens now, not at the first request
    app = Starlette(
        routes=_routes(),
        middleware=[Middleware(Guard, read_token=read_token, write_token=write_token, hosts=hosts)],
        exception_handlers={Refusal: _refused, HTTPException: _not_found, Exception: _failed},
    )
    app.router.redirect_slashes = False
    description = openapi(version("driftmoe"))
    app.state.context = context
    app.state.latest = http_streams.Latest(context)
    app.state.importances = http_importances.Importances(context)
    app.state.registry = http_prometheus.registry_of(worker)
    app.state.description = description
    app.state.docs = http_page.docs_page(description)
    app.state.page = http_page.live_page()
    return app


def server_of(
    worker: Worker,
    host: str = "127.0.0.1",
    port: int = 8000,
    *,
    read_token: str | None = None,
    write_token: str | None = None,
    limits: Limits | None = None,
    bounds: RequestBounds | None = None,
    hosts: Iterable[str] = (),
) -> HttpServer:
    """Return the server of a worker, bound to its address. Its `run` serves until SIGTERM or SIGINT comes.

    Parameters
    ----------
    worker, read_token, write_token, limits, bounds
        As in `create_app`.
    host, port
        Address to listen on; port 0 takes a free one.
    hosts
        Further names under which the server is asked. On the loopback interface only its own names and these are
        answered; on another one all are, unless some are given.

    Raises
    ------
    OSError
        If the address cannot be bound.
    """
    is_local = host in ("localhost", "::1") or host.startswith("127.")
    names = [*LOOPBACK, host, f"[{host}]", *hosts] if is_local or tuple(hosts) else None
    if not is_local and read_token is None:
        _log.warning("%s can be reached from other machines, and no token is needed to read", host)
    app = create_app(
        worker, read_token=read_token, write_token=write_token, limits=limits, bounds=bounds, hosts=names
    )
    return HttpServer(app, host, port)


def _routes() -> list[Route]:
    return [
        Route("/", http_page.index),
        Route("/docs", http_page.docs),
        Route("/openapi.json", _openapi),
        Route("/api/predict", http_events.predict, methods=["POST"]),
        Route("/api/learn", http_events.learn, methods=["POST"]),
        Route("/api/events", http_events.take, methods=["POST"]),
        Route("/api/metrics", http_figures.metrics),
        Route("/api/history", http_figures.history),
        Route("/api/alarms", http_figures.alarms),
        Route("/api/mistakes", http_figures.mistakes),
        Route("/api/importances", http_importances.importances),
        Route("/api/models", http_figures.models),
        Route("/api/stats", http_figures.stats),
        Route("/api/stream/metrics", http_streams.stream_metrics),
        Route("/api/stream/events", http_streams.stream_events),
        Route("/api/model/{name}", http_models.model, methods=["GET", "PUT"]),
        Route("/ping", http_mlflow.ping),
        Route("/invocations", http_mlflow.invocations, methods=["POST"]),
        Route("/metrics", http_prometheus.exposition),
    ]


async def _openapi(request: Request) -> Response:
    return json_answer(request.app.state.description)


async def _nothing(*_: object) -> None:
    """Stand for an application."""


async def _refused(_: Request, refusal: Exception) -> Response:
    assert isinstance(refusal, Refusal)
    return refused(refusal)


async def _not_found(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    messages = {
        404: "there is no such path; /docs lists all",
        405: f"{request.method[:20]} is not allowed here; /docs lists what is",
    }
    return refused(
        Refusal(error.status_code, messages.get(error.status_code, error.detail), headers=error.headers)
    )


async def _failed(request: Request, error: Exception) -> Response:
    """Answer a fault of the program, and say nothing about it to the sender; Starlette raises it again for the log."""
    answer = refused(Refusal(500, "the server failed at this request; its log says why"))
    for name, value in HEADERS.items():
        answer.headers.setdefault(name, value)
    return answer
