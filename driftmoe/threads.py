"""Threads that share work whose parts do not touch each other, so that results do not depend on their number."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from itertools import count
from typing import Any


def do_parts(do: Callable[[int], Any], n_parts: int, n_threads: int) -> list[Any]:
    """Return `[do(0), do(1), ...]`: each thread takes the next part that none has taken.

    Parameters
    ----------
    do
        Does a part; it should let go of Python's lock.
    n_parts
        Number of parts.
    n_threads
        Threads at work, the calling one among them.
    """
    results: list[Any] = [None] * n_parts
    parts = count()

    def work() -> None:
        while (part := next(parts)) < n_parts:
            results[part] = do(part)

    others = [helpers(n_threads - 1).submit(work) for _ in range(n_threads - 1)]
    try:
        work()
    finally:
        wait(others)  # nobody may touch what they work on before all are done with it
    for other in others:
        other.result()
    return results


def helpers(n_threads: int) -> ThreadPoolExecutor:
    """Return so many threads beside the calling one, the same each time."""
    return _helpers(n_threads, os.getpid())


@cache
def _helpers(n_threads: int, process: int) -> ThreadPoolExecutor:
    """Threads that stay; of each process its own, since they do not survive a fork."""
    return ThreadPoolExecutor(n_threads, thread_name_prefix="driftmoe")
