"""Plan the runs of the neural experiments."""

from __future__ import annotations

from collections.abc import Sequence

from driftmoe.neural.runs import EXPERIMENTS, N_POINTS, NeuralRun, open_experiment
from driftmoe.neural.setups import check_setup, default_setups


def planned_training(
    name: str, setups: Sequence[str] | None, seeds: Sequence[int], *, steps: int | None = None
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

    Raises
    ------
    ValueError
        If the experiment is unknown, a setup cannot be read, or a package that the experiment needs is missing.

    Examples
    --------
    >>> from driftmoe.neural import planned_training
    >>> [run.stream for run in planned_training("conflict", ["TopK(2)"], [1], steps=40)]
    ['conflict-equal', 'conflict-mean']
    """
    names = [full for full in EXPERIMENTS if full == name or full.startswith(f"{name}-")]
    if not names:
        raise ValueError(f"unknown experiment {name!r}; available: lm, adapt, drift, conflict")
    setups = list(dict.fromkeys(setups or default_setups(name)))
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
