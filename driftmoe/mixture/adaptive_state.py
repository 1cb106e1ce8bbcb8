"""What the state of the adaptive mixture holds beside its parts, the check of it, and how a prior changes its start."""

from __future__ import annotations

from typing import Any

import numpy as np

from driftmoe.arithmetic import log_of
from driftmoe.mixture.router import Router
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


PRIOR_LEAD = np.array([3.0, 0.0])
"""Initial values of a prior's two log-likelihood memories, in nats. Those of all other experts start at 0.

The first covers about ten samples, within which the other experts learn the little that they need to be judged.
"""


def lean_on(expert: int, memories: np.ndarray, router: Router) -> None:
    """Let the gate start with trust in an expert: a prior, beside experts that have learnt nothing.

    Its memories start at `PRIOR_LEAD`, which fades. The router's logit starts at the logarithm of the number of other
    experts, so that the prior counts as much as all of them together where all do equally well. Otherwise many experts
    that are a little worse outvote it; `benchmarks.fleet` shows what both are worth.

    Parameters
    ----------
    expert
        Index of the expert.
    memories
        Log-likelihood memories, shape (n_memories, n_logits); changed.
    router
        Its bias is changed.
    """
    memories[:, expert] = PRIOR_LEAD
    n_others = router.n_outputs - 1
    router.start_higher(expert, float(log_of([n_others])[0]))


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
