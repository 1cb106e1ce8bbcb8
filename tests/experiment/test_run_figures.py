"""The figures of a run: what is measured, and what its result tells."""

from __future__ import annotations

import json
import subprocess
import time

import pytest
from places import ROOT
from river import base
from small_grids import plan

import streams
from driftmoe import models
from driftmoe.experiment import Run, parsed_delay, run_job
from streams.opening import open_stream


def test_a_result_tells_all_that_is_needed_to_repeat_it(tmp_path):
    (run,) = plan("ht(grace_period=77)", delay="5")
    result, curve = run_job(run, open_stream(name="led_a", limit=300, seed=1))
    assert result["parameters"]["grace_period"] == 77
    assert result["stream_sha256"] == streams.make("led_a", seed=1, n_samples=300).fingerprint()
    assert set(result["versions"]) == {"python", "driftmoe", "river", "torch", "numpy"}
    assert (result["seed"], result["limit"], result["window"], result["delay"]) == (1, 300, 100, "5")
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    if head.returncode == 0:
        assert result["commit"].removesuffix("-dirty") == head.stdout.strip()
    assert [point["n_samples"] for point in curve] == [100, 200, 300]


class CompilesFirst(base.Classifier):
    """Takes its time at the first block that the process gives to any of its kind, as a compiled model does."""

    is_compiled = False

    def __init__(self):
        self.n_seen = 0

    def compile(self):
        if not CompilesFirst.is_compiled:
            time.sleep(1.0)
            CompilesFirst.is_compiled = True

    def predict_one(self, x):
        self.compile()
        return 0

    def learn_one(self, x, y):
        self.n_seen += 1

    def step_many(self, X, y, *, names, values, classes):
        self.compile()
        self.n_seen += len(y)
        return [classes[0]] * len(y)


@pytest.mark.parametrize("delay", ["0", "3"])
def test_no_time_of_a_compiler_is_in_the_figures_and_the_model_is_new(monkeypatch, delay):
    made = []
    monkeypatch.setattr(CompilesFirst, "is_compiled", False)

    def make():
        made.append(CompilesFirst())
        return made[-1]

    monkeypatch.setitem(models.MODELS, "late", make)
    stream = streams.make("sea", seed=1, n_samples=500)
    run = Run("sea", stream.fingerprint(), "late", 1, 500, 1000, delay)
    result, _ = run_job(run, stream)
    assert CompilesFirst.is_compiled
    assert result["seconds"] < 0.9
    assert [model.n_seen for model in made if model.n_seen != 300] == [
        500 - int(delay),
        0,
    ]  # the run's, and one for its parameters
    assert result["n_samples"] == 500


def test_a_result_tells_the_parameters_that_the_model_began_with():
    """river's forest replaces its own `max_features` by a number while it learns."""
    (run,) = plan("arf(n_models=1)")
    result, _ = run_job(run, open_stream(name="led_a", limit=300, seed=1))
    assert result["parameters"]["max_features"] == "sqrt"


def test_windows_without_a_sample_that_counts_are_no_points_of_the_curve():
    (run,) = plan("nb", delay="150")
    _, curve = run_job(run, open_stream(name="led_a", limit=300, seed=1))
    assert [point["n_samples"] for point in curve] == [200, 300]
    json.dumps(curve, allow_nan=False)


def test_delays_as_text():
    assert parsed_delay("0") == 0
    assert parsed_delay("100-2000") == (100, 2000)
    assert parsed_delay("due") == "due"
    with pytest.raises(ValueError, match="20 is above 3"):
        parsed_delay("20-3")
    with pytest.raises(ValueError, match="delay ''; write a number of samples"):
        parsed_delay("")
