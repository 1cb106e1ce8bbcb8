"""Plan the runs of the neural experiments."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import torch

from driftmoe.neural.language import Language, TrainingOfLanguage
from driftmoe.neural.runs import N_POINTS, NeuralRun, open_experiment
from driftmoe.neural.setups import Setup, check_setup, default_setups
from driftmoe.neural.variants import language_variant, names_of

N_TRIED = 2, 6
"""Steps of a trial of the time that a step takes: those that do not count, because they come first, and those after."""

FOR_EVALUATION = 0.1
"""Share of the time that is kept for evaluating."""


def planned_training(
    name: str,
    setups: Sequence[str] | None,
    seeds: Sequence[int],
    *,
    steps: int | None = None,
    minutes: float | None = None,
    n_workers: int = 1,
    size: str = "medium",
    device: str = "cpu",
    dtype: str = "float32",
    dialects: int = 1,
) -> list[NeuralRun]:
    """Return the runs of an experiment: every setup with every seed.

    Parameters
    ----------
    name
        `"lm"`, `"adapt"`, `"drift"` (all kinds of drift) or `"conflict"` (both kinds); or one of `EXPERIMENTS`.
    setups
        Texts for `Setup.parsed`; `None` for `SETUPS`, and also `"mola"` in `"adapt"`;
        `CONFLICT_SETUPS` in `"conflict"`.
    seeds
        Seeds of the weights, of the order of the data and of the drifts.
    steps
        Number of optimiser steps; `None` for the experiment's default.
    minutes
        Minutes that all runs of `"lm"` shall take together, in the place of `steps`. A step of each setup is timed now,
        so that it is another number of steps each time.
    n_workers
        Number of runs at a time, by which `minutes` are shared.
    size
        Of the transformer of `"lm"`: `"small"`, `"medium"` or `"large"`.
    device, dtype
        Where `"lm"` runs, `"cpu"` or `"cuda"`, and whether its products are in `"float32"` or `"bf16"`.
    dialects
        Number of dialects in `"adapt"` that contradict each other; 1 for its three tasks.

    Raises
    ------
    ValueError
        If the experiment is unknown or has no such variant, a setup cannot be read, or a package or device that the
        experiment needs is missing.

    Examples
    --------
    >>> from driftmoe.neural import planned_training
    >>> [run.stream for run in planned_training("conflict", ["TopK(2)"], [1], steps=40)]
    ['conflict-equal', 'conflict-mean']
    >>> planned_training("lm", ["TopK(2)"], [1], steps=40, size="small")[0].stream
    'lm-small'
    """
    names = names_of(name, size=size, device=device, dtype=dtype, dialects=dialects)
    setups = list(dict.fromkeys(setups or default_setups(names[0])))
    if minutes is not None:
        if steps is not None or not names[0].startswith("lm") or not 0.0 < minutes < math.inf:
            raise ValueError(
                f"minutes={minutes} with steps={steps} of {name}; minutes are of lm, above 0, and in the place of steps"
            )
        for setup in setups:
            check_setup(setup, names[0], 1)
        steps = steps_within(60.0 * minutes * n_workers / len(dict.fromkeys(seeds)), names[0], setups)
    runs: list[NeuralRun] = []
    for full in names:
        for seed in dict.fromkeys(seeds):
            data = open_experiment(full, steps, seed)
            n_steps = steps or data.n_steps
            for setup in setups:
                check_setup(setup, full, n_steps)
            window = max(n_steps // N_POINTS, 1)
            runs += [NeuralRun(full, data.fingerprint(), setup, seed, n_steps, window) for setup in setups]
    return runs


def steps_within(seconds: float, name: str, setups: Sequence[str]) -> int:
    """Return how many steps, rounded down to two digits, runs of a variant of `lm` with each setup can take in turn."""
    text, n_threads = Language(language_variant(name)), torch.get_num_threads()
    try:
        torch.set_num_threads(1)  # as in a run
        of_all = sum(seconds_of_step(text.start(Setup.parsed(setup), 1, sum(N_TRIED))) for setup in setups)
    finally:
        torch.set_num_threads(n_threads)
    n = max(int((1.0 - FOR_EVALUATION) * seconds / of_all), 1)
    unit = 10 ** max(len(str(n)) - 2, 0)
    return n // unit * unit


def seconds_of_step(training: TrainingOfLanguage) -> float:
    """Return the mean time of a step, after the first ones."""
    n_first, n_timed = N_TRIED
    for step in range(n_first):
        losses = training.learn(step)
    _ = losses.sum().item()  # the host waits for the device
    start = time.perf_counter()
    for step in range(n_first, n_first + n_timed):
        losses = training.learn(step)
    _ = losses.sum().item()
    return (time.perf_counter() - start) / n_timed
