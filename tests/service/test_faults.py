"""The rows of `benchmarks.service.faults`, with few faults each; and that a harmed run would be seen."""

from __future__ import annotations

import multiprocessing
import os
import random
from dataclasses import replace

import pytest

from benchmarks.service import clients, deaths, disks, files
from benchmarks.service.outcome import compared

pytestmark = pytest.mark.skipif(
    os.name == "nt" or "fork" not in multiprocessing.get_all_start_methods(),
    reason="the trials fork their workers and kill them",
)

TRIALS = {
    "kill -9": (deaths.at_random, 4),
    "kill -9, by time": (deaths.at_random_by_time, 3),
    "kill -9 before statements": (deaths.at_statements, 8),
    "SIGTERM": (deaths.by_sigterm, 3),
    "disk full": (disks.full, 1),
    "copied while running": (disks.copied, 1),
    "files copied": (disks.torn, 1),
    "two workers": (disks.two_workers, 1),
    "rotated": (files.rotated, 4),
    "copytruncate": (files.cut, 4),
    "half lines": (files.half_lines, 8),
    "many clients": (clients.many, 100),
    "readers that do not read": (clients.slow_readers, 8),
    "random bodies": (clients.nonsense, 500),
}


@pytest.mark.slow
@pytest.mark.parametrize("trial", TRIALS)
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_nothing_is_lost_and_nothing_is_there_twice(trial, tmp_path):
    run, n = TRIALS[trial]
    tried = run(tmp_path, n, random.Random(5))
    assert (tried.lost, tried.duplicated) == (0, 0)
    assert tried.survived == tried.n >= n


def test_a_loss_and_a_repetition_would_be_seen(tmp_path):
    _, whole = deaths.left_alone(tmp_path, 40)
    assert compared(whole, whole) == (0, 0)
    assert len(whole.digests) == 2
    assert whole.counts["learnt"] > 10
    assert len(whole.sent) > 30
    fewer = replace(whole, samples=whole.samples[1:])
    assert compared(whole, fewer) == (1, 0)
    assert compared(fewer, whole) == (0, 1)
    assert compared(whole, replace(whole, digests=whole.digests | {"other": "0"})) == (1, 0)
    assert compared(whole, replace(whole, counts=whole.counts | {"learnt": 1}))[0] > 0
    first = next(iter(whole.sent))
    assert compared(whole, replace(whole, sent={k: v for k, v in whole.sent.items() if k != first})) == (1, 0)
