"""Plan a grid: every model on every stream with every seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from driftmoe import own
from driftmoe.evaluation import TimeDelay
from driftmoe.experiment.run import Run, parsed_delay
from driftmoe.suggestions import meant

OpenStream = Callable[..., Any]
"""Called as `open_stream(name=, limit=, seed=)`; must be picklable, because other processes call it."""


def planned(
    stream_names: Sequence[str],
    specs: Sequence[str],
    seeds: Sequence[int],
    open_stream: OpenStream,
    *,
    limit: int | None,
    window: int = 1000,
    delay: str = "0",
    count_warm_up: bool = False,
) -> list[Run]:
    """Return the runs of a grid, stream by stream, then seed by seed, without duplicates.

    Parameters
    ----------
    stream_names, specs, seeds
        Names of streams for `open_stream`; names of models for `driftmoe.own.make`; seeds.
    open_stream
        Opens a stream by name; called once for each stream and seed, to hash its samples.
    limit
        Number of samples of each stream; `None` for all.
    window, delay, count_warm_up
        As in `Run`.

    Raises
    ------
    ValueError
        If a model or a stream is unknown, or the delay cannot be read. Every model is built once to check this.
    """
    for spec in specs:
        own.make(spec)
    runs = []
    for name in dict.fromkeys(stream_names):
        for seed in dict.fromkeys(seeds):
            stream = open_stream(name=name, limit=limit, seed=seed)
            check_delay(delay, stream)
            runs += [
                Run(name, stream.fingerprint(), spec, seed, limit, window, delay, count_warm_up)
                for spec in dict.fromkeys(specs)
            ]
    return runs


def check_delay(text: str, stream: Any) -> None:
    """Raise ValueError if a delay cannot be read, or its column is missing or holds no times."""
    delay, names = parsed_delay(text), [feature.name for feature in stream.features]
    if isinstance(delay, TimeDelay):
        delay.of(stream)
    if isinstance(delay, str) and delay not in names:
        raise ValueError(
            f"delay {text!r} is not a number of samples (1000), a range (100-2000) or a column "
            f"({meant(delay, names)}); "
            'a time such as "1 day" needs --time COLUMN'
        )
