"""Encoders that have learnt samples."""

from __future__ import annotations

import numpy as np

from driftmoe.encoding import Encoder


def learnt(*samples):
    encoder = Encoder()
    for sample in samples:
        sample = encoder.clean(sample)
        encoder.enter(sample, 0)
        encoder.inputs(encoder.vector(sample)[np.newaxis], is_learning=True)
    return encoder
