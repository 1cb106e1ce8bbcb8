"""Small plans of runs, and what they leave behind without the times."""

from __future__ import annotations

import json

import commands

from driftmoe.experiment import planned
from streams.opening import open_stream

# Of river's models, memory differs by some bytes: small objects may or may not be shared with others.
TIMES = {"samples_per_second", "seconds", "cpu_seconds", "ram_hours", "model_bytes"}

GRID = ["led_a", "sea_a", "-m", "ht", "-m", "driftmoe(n_experts=3)", "--limit", "1500", "--seed", "2"]


def command(name, *arguments, cwd):
    done = commands.driftmoe(name, *arguments, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done


def timeless(value):
    """Result lines without what depends on the clock and on the process."""
    if isinstance(value, dict):
        return {name: timeless(item) for name, item in value.items() if name not in TIMES}
    return [timeless(item) for item in value] if isinstance(value, list) else value


def kept(folder):
    return {file.name: timeless(json.loads(file.read_text())) for file in (folder / "jobs").iterdir()}


def plan(*specs, n=300, seeds=(1,), **options):
    return planned(["led_a"], specs, seeds, open_stream, limit=n, window=100, **options)


def without_moves(events):
    return [event for event in events if event.state != "moved"]
