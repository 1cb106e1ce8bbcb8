"""Clients of the HTTP application, and what all sources must come to."""

from __future__ import annotations

import pytest
from fake_worker import FakeWorker
from reading import TEXTS, handed_over
from starlette.testclient import TestClient

from driftmoe.service.http import create_app


@pytest.fixture
def worker():
    fake = FakeWorker()
    yield fake
    fake.stop()


@pytest.fixture
def client_of():
    """Return a client of the application of a worker."""
    clients = []

    def made(worker, raises=True, **arguments):
        app = create_app(worker, **arguments)
        client = TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=raises)
        clients.append(client)
        client.__enter__()
        return client

    yield made
    for client in clients:
        client.__exit__(None, None, None)


@pytest.fixture
def client(worker, client_of):
    return client_of(worker)


@pytest.fixture(scope="session")
def expected(tmp_path_factory):
    """What a worker comes to that is handed the events of `TEXTS`."""
    return handed_over(tmp_path_factory.mktemp("by hand"), TEXTS)
