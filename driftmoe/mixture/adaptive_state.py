"""What the state of the adaptive mixture holds beside its parts, and the check of it."""

from __future__ import annotations

from typing import Any

import numpy as np

from driftmoe.state import State, array_of, count_of, misfit

ARRAYS = (
    "log_likelihood_memories", "memory_weights", "memory_weight_moments", "memory_weight_gradients", "logit_biases",
    "average_losses", "average_gate_weights", "is_group_probed",
)  # fmt: skip
"""Arrays of the gate. The attribute of each has a leading underscore."""

OF_GATE = (*ARRAYS[:5], "n_memory_weight_steps", *ARRAYS[5:])
"""Entries of the gate, in the order that files have had from the start: a digest depends on it."""

NAMES = ("experts", "extras", "router", "log", "n_seen", "poisson_key", *OF_GATE)
"""All entries of a state."""


def checked_gate(state: State, mixture: Any) -> tuple[dict[str, np.ndarray], int, int, int]:
    """Return the arrays of the gate from the state of a mixture with the same arguments, and its three counts.

    These are the number of samples, of steps of the memory weights, and the key of the Poisson draws.
    """
    arrays = {}
    for name in ARRAYS:
        like = vars(mixture)[f"_{name}"]
        arrays[name] = array_of(state, name, like.dtype, like.shape, mixture)
    least = arrays["memory_weight_moments"][1].min()
    if least < 0.0:
        allowed = "the second moments must be 0 or more"
        raise misfit(mixture, "memory_weight_moments", f"has {least} in its second row", allowed)
    n_seen, n_steps = count_of(state, "n_seen", mixture), count_of(state, "n_memory_weight_steps", mixture)
    return arrays, n_seen, n_steps, count_of(state, "poisson_key", mixture, at_most=2**64 - 1)
