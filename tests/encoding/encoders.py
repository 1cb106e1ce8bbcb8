"""Encoders that have learnt samples."""

from __future__ import annotations

import numpy as np

from driftmoe.encoding import Encoder
from driftmoe.transaction import StepPlan, carry_out


def learnt(*samples):
    encoder = Encoder()
    for sample in samples:
        sample = encoder.clean(sample)
        encoder.enter(sample, 0)
        encoder.inputs(encoder.vector(sample)[np.newaxis], is_learning=True)
    return encoder


def scaled(encoder, vectors, weights):
    """The inputs for some rows, and the moments after they have been learnt."""
    plan = StepPlan()
    inputs = encoder.plan_inputs(vectors, weights, plan)
    carry_out(plan)
    return inputs, encoder._moments
