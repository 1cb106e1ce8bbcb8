"""Evaluation on streams, in three protocols that yield checkpoints.

`prequential` predicts each sample and then learns it, with delayed labels, warm start, sample weights, and a past that
slides or fades. `holdout` tests at intervals on samples that are not learned. `cross_validate` does cross-validation in
one pass over the stream.

`checks` refuses arguments that are not a stream or a classifier. `delays` gives the delay of each label and the weight
of each sample, and `clock` delays in time. `loops` runs a model over the samples, and `late_blocks` over blocks whose
labels come late. `tally` counts its predictions, and `user_metrics` reads the metrics that a user adds. `resuming`
lets an evaluation that was stopped go on.
"""

from __future__ import annotations

from driftmoe.evaluation.checks import has_learnt, last_step
from driftmoe.evaluation.clock import TimeDelay
from driftmoe.evaluation.delays import Delay, Weight
from driftmoe.evaluation.loops import BLOCK_SIZE, Answers, OwnLoop
from driftmoe.evaluation.prequential import Evaluation, prequential
from driftmoe.evaluation.protocols import cross_validate, holdout
from driftmoe.evaluation.tally import MEASURING_SHARE, Checkpoint
from driftmoe.evaluation.user_metrics import Metrics

__all__ = [
    "BLOCK_SIZE",
    "MEASURING_SHARE",
    "Answers",
    "Checkpoint",
    "Delay",
    "Evaluation",
    "Metrics",
    "OwnLoop",
    "TimeDelay",
    "Weight",
    "cross_validate",
    "has_learnt",
    "holdout",
    "last_step",
    "prequential",
]
