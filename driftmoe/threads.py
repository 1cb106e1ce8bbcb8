"""Threads that share work. Its parts are independent, so results do not depend on the number of threads."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from itertools import count
from typing import Any


def do_parts(do: Callable[[int], Any], n_parts: int, n_threads: int) -> list[Any]:
    """Return `[do(0), do(1), ...]`. Each thread repeatedly takes the next free part.

    Parameters
    ----------
    do
        Does one part; it should release the GIL.
    n_parts
        Number of parts.
    n_threads
        Number of threads, including the calling one.
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
        wait(others)  # also after an error: they must not work on after this call returns
    for other in others:
        other.result()
    return results


def helpers(n_threads: int) -> ThreadPoolExecutor:
    """Return a pool of `n_threads` threads, the same one at each call."""
    return _helpers(n_threads, os.getpid())


@cache
def _helpers(n_threads: int, process: int) -> ThreadPoolExecutor:
    """Return a persistent pool. Each process has its own, because threads do not survive a fork."""
    return ThreadPoolExecutor(n_threads, thread_name_prefix="driftmoe")
