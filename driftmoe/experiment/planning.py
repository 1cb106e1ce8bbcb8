"""Plan a grid: every model on every stream with every seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from driftmoe import own
from driftmoe.evaluation import TimeDelay
from driftmoe.evaluation.delays import check_label_share
from driftmoe.experiment.delays import parsed_delay
from driftmoe.experiment.label_order import check_order, of_model
from driftmoe.experiment.measuring import check_gives_proba, computed, figures_of
from driftmoe.experiment.run import Run
from driftmoe.suggestions import meant

OpenStream = Callable[..., Any]
"""Called as `open_stream(name=, limit=, seed=)`; must be picklable, because other processes call it."""

WINDOWS = (100, 200, 500, 1000)
"""Windows to choose from."""

LEAST_POINTS = 40
"""Windows that a curve should have."""


def fitting_window(n_samples: int | None) -> int:
    """Return the largest of `WINDOWS` that divides a stream into at least `LEAST_POINTS`, or the smallest.

    Figures of less than 100 samples are mostly chance. Of less than 1,000 samples the window is a tenth, at least 20.

    Examples
    --------
    >>> from driftmoe.experiment import fitting_window
    >>> [fitting_window(n) for n in (150, 500, 1_500, 8_000, 45_312, None)]
    [20, 50, 100, 200, 1000, 1000]
    """
    if n_samples is None:
        return WINDOWS[-1]
    if n_samples < 10 * WINDOWS[0]:
        return max(20, n_samples // 10)
    return max((window for window in WINDOWS if n_samples >= LEAST_POINTS * window), default=WINDOWS[0])


def planned(
    stream_names: Sequence[str],
    specs: Sequence[str],
    seeds: Sequence[int],
    open_stream: OpenStream,
    *,
    limit: int | None,
    window: int | None = None,
    delay: str = "0",
    count_warm_up: bool = False,
    metrics: Sequence[str] = (),
    label_order: str = "use",
    shuffle_window: int | None = None,
    label_share: float = 1.0,
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
        As in `Run`. Without a window each stream has the one that fits its length: see `fitting_window`.
    metrics
        Metrics to compute beside the standard figures, as `driftmoe.metrics.asked` reads them.
    label_order, shuffle_window
        As in `Run`. `open_stream` shuffles.
    label_share
        As in `Run`.

    Raises
    ------
    ValueError
        If a model, a stream or a metric is unknown, or the delay cannot be read. Every model is built once to check
        this.
    """
    check_order(label_order, shuffle_window, delay)
    check_label_share(label_share)
    models = {spec: of_model(spec, own.make(spec), label_order) for spec in specs}
    runs = []
    for name in dict.fromkeys(stream_names):
        for seed in dict.fromkeys(seeds):
            stream = open_stream(name=name, limit=limit, seed=seed)
            check_delay(delay, stream)
            asked = computed(figures_of(metrics, stream))
            for spec, model in models.items():
                check_gives_proba(model, spec, asked)
            runs += [
                Run(
                    name, stream.fingerprint(), spec, seed, limit, window or fitting_window(stream.n_samples), delay,
                    count_warm_up, metrics=asked, label_order=label_order, shuffle_window=shuffle_window,
                    label_share=label_share,
                )
                for spec in models
            ]  # fmt: skip
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
