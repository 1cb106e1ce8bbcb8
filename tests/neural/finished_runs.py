"""A short run of an experiment, from its data to its result."""

from __future__ import annotations

from driftmoe.neural import NeuralRun, open_experiment


def done(name, setup, seed=1, n_steps=6):
    data = open_experiment(name, n_steps, seed)
    run = NeuralRun(name, data.fingerprint(), setup, seed, n_steps, n_steps // 2)
    *shares, (result, curve) = run.do(data)
    assert shares == [0.5, 1.0]
    return result, curve
