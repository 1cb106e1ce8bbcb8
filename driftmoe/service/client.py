"""A client that feeds a running worker: features now, labels later. It needs nothing but Python's own library."""

from __future__ import annotations

import http.client
import json
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

LONGEST_PAUSE = 10.0
"""Seconds between two attempts, at most."""

SECONDS = 60.0
"""Longest time to wait for an answer."""

MOST_SAID = 1_000_000
"""Predictions that are kept until their labels are sent, at most. Labels of older ones are not compared."""


class Refused(RuntimeError):  # noqa: N818  # as the worker calls it
    """A request that the worker will never take, such as one without the right token."""


@dataclass
class Fed:
    """What has come of a feed.

    Attributes
    ----------
    n_sent, n_scored, n_right
        Number of samples sent, of those whose prediction could be compared with their label, and of those where it was
        right.
    outcomes
        Outcome of events -> number.

    Examples
    --------
    >>> from driftmoe.service.client import Fed
    >>> fed = Fed(n_sent=100, n_scored=80, n_right=60, outcomes={"predicted": 100})
    >>> fed.n_right / fed.n_scored
    0.75
    """

    n_sent: int
    n_scored: int
    n_right: int
    outcomes: dict[str, int]


class Client:
    """Sends events to a worker, and sends them again until it takes them.

    Parameters
    ----------
    url
        Address of the worker.
    token
        Token that allows writing; `None` if the worker asks for none.
    patience
        Seconds to go on trying while the worker cannot be reached or is full.

    Raises
    ------
    ValueError
        If the address is not one of HTTP.

    Examples
    --------
    >>> from driftmoe.service.client import Client
    >>> client = Client("http://127.0.0.1:1", patience=0.0)
    >>> client.send([{"id": "a1", "features": {"x": 1.5}}])  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    ConnectionError: the worker could not be reached for 0 s: ...
    """

    def __init__(self, url: str, *, token: str | None = None, patience: float = 300.0) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} is not an address of a worker; give one such as http://127.0.0.1:8000")
        self._make = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._host, self._port, self._path = parts.hostname, parts.port, parts.path.rstrip("/")
        self._headers = {"Content-Type": "application/x-ndjson"}
        if token is not None:
            self._headers["Authorization"] = f"Bearer {token}"
        self._patience = patience
        self._connection: http.client.HTTPConnection | None = None

    def send(self, events: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        """Send events, and return the outcome of each, after the worker has committed them.

        Raises
        ------
        Refused
            If the worker does not take such a request. The message is the worker's.
        ConnectionError
            If it could not be reached for as long as the client is patient.
        """
        body = "".join(json.dumps(event, ensure_ascii=False) + "\n" for event in events).encode()
        pause, until = 0.1, time.monotonic() + self._patience
        while True:
            try:
                status, content, wait = self._request(body)
                reason = f"the worker answers {status}"
            except (OSError, http.client.HTTPException) as error:
                self.close()
                status, content, wait, reason = 503, b"", None, str(error) or type(error).__name__
            if status == 200:
                outcomes: list[dict[str, Any]] = json.loads(content)["events"]
                return outcomes
            if status not in (429, 502, 503, 504):
                raise Refused(f"{status}: {content.decode('utf-8', 'replace')[:500]}")
            pause = min(max(pause, wait or 0.0), LONGEST_PAUSE)
            if time.monotonic() + pause > until:
                raise ConnectionError(f"the worker could not be reached for {self._patience:g} s: {reason}")
            time.sleep(pause)
            pause = 2.0 * pause

    def _request(self, body: bytes) -> tuple[int, bytes, float | None]:
        if self._connection is None:
            self._connection = self._make(self._host, self._port, timeout=SECONDS)
        self._connection.request("POST", f"{self._path}/api/events", body, self._headers)
        answer = self._connection.getresponse()
        wait = answer.getheader("Retry-After")
        return answer.status, answer.read(), float(wait) if wait and wait.isdigit() else None

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def feed(
    client: Client,
    samples: Iterable[dict[str, Any]],
    *,
    delay: int = 0,
    batch: int = 100,
    rate: float | None = None,
    prefix: str = "feed-",
    progress: Callable[[int], None] | None = None,
) -> Fed:
    """Send samples to a worker as a stream would: the label of each comes `delay` samples later.

    Parameters
    ----------
    client
        Client of the worker.
    samples
        Events with features and label. One without id gets the prefix and its number, so that the same feed can be sent
        again: what the worker has is not learnt twice.
    delay
        Number of samples between features and label. With 0 they are sent together.
    batch
        Number of events in a request.
    rate
        Samples a second; `None` for as fast as the worker takes them.
    prefix
        Prefix of ids.
    progress
        Called with the number of samples sent.

    Examples
    --------
    Any object with `send` will do for a client. This one says "yes" to all:

    >>> from driftmoe.service.client import feed
    >>> class SaysYes:
    ...     def send(self, events):
    ...         said = {True: {"outcome": "predicted", "label": "yes"}, False: {"outcome": "learnt"}}
    ...         return [said["features" in event] for event in events]
    >>> samples = [{"features": {"x": 0.0}, "label": y} for y in ("yes", "no", "yes")]
    >>> fed = feed(SaysYes(), samples, delay=1)
    >>> fed.n_sent, fed.n_scored, fed.n_right
    (3, 3, 2)
    """
    fed, said, start = Fed(0, 0, 0, {}), {}, time.monotonic()
    for events in _batches(_late(samples, delay, prefix), batch):
        n_new = sum("features" in event for event in events)
        if rate is not None:
            time.sleep(max(0.0, start + (fed.n_sent + n_new) / rate - time.monotonic()))
        outcomes = client.send(events)
        fed.n_sent += n_new
        for event, outcome in zip(events, outcomes, strict=True):
            what = str(outcome["outcome"])
            fed.outcomes[what] = fed.outcomes.get(what, 0) + 1
            if "features" in event and outcome.get("label") is not None:
                said[event["id"]] = outcome["label"]
                if len(said) > MOST_SAID:
                    del said[next(iter(said))]
            if "label" in event and event["id"] in said:
                fed.n_scored += 1
                fed.n_right += said.pop(event["id"]) == event["label"]
        if progress is not None:
            progress(fed.n_sent)
    return fed


def _late(samples: Iterable[dict[str, Any]], delay: int, prefix: str) -> Iterator[dict[str, Any]]:
    """Yield events: features when they come, labels after `delay` more samples."""
    late: deque[dict[str, Any]] = deque()
    for n, sample in enumerate(samples):
        event = {"id": f"{prefix}{n}", **sample}
        if delay == 0 or "label" not in event or "features" not in event:
            yield event
            continue
        yield {name: value for name, value in event.items() if name != "label"}
        late.append({name: value for name, value in event.items() if name != "features"})
        if len(late) > delay:
            yield late.popleft()
    yield from late


def _batches(events: Iterable[dict[str, Any]], n: int) -> Iterator[list[dict[str, Any]]]:
    batch: list[dict[str, Any]] = []
    for event in events:
        batch.append(event)
        if len(batch) == n:
            yield batch
            batch = []
    if batch:
        yield batch
