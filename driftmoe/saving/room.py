"""The memory that a model takes before it has learnt anything, from its arguments.

The arguments of a file claim sizes of which it may hold nothing: 10^9 experts, or layers of 30,000 units. What they
would take is worked out before a model is built.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

PER_EXPERT = 10_000
"""Bytes of an expert: an empty tree with its monitors, or a network without weights; measured."""

PER_WEIGHT = 24
"""Bytes of a weight: in float32 with both moments of Adam, and in float64 while it is drawn."""

PER_THREAD = 1 << 18
"""Bytes of a thread, so that a file cannot claim thousands."""

PER_SAMPLE = 56
"""Bytes of a sample that neighbours remember, without its inputs; two kinds of neighbours."""

FREE = 1 << 28
"""Bytes that every file may claim."""

TIMES = 16
"""And how many times the bytes of the file, in addition."""


def room_of(settings: Mapping[str, Any]) -> int:
    """Return the bytes that the settings of a mixture claim, roughly. What it does not take is `None`."""
    n_experts, policy = settings["n_experts"] or 0, settings["policy"]
    n_outputs = n_experts + 4 * len(settings["extras"] or ()) + getattr(policy, "n_null", 0)
    hidden, batch_size = settings["hidden"], settings["batch_size"]
    room = _of_network([0, *hidden, n_outputs], batch_size) + PER_EXPERT * n_experts
    if "expert_hidden" in settings:
        room += n_experts * _of_network([0, *settings["expert_hidden"], 0], batch_size)
    return int(room + PER_SAMPLE * (settings["memory"] or 0) + PER_THREAD * (settings["n_threads"] - 1))


def _of_network(widths: Sequence[int], batch_size: int) -> int:
    """Return the bytes of the weights of a network, and of the activations and targets of a mini-batch."""
    n_weights = sum((n_in + 1) * n_out for n_in, n_out in pairwise(widths))
    return PER_WEIGHT * n_weights + 4 * batch_size * (sum(widths) + widths[-1] + 1)


def check_room(room: int, n_bytes: int, what: str) -> None:
    """Raise ValueError if a model claims more room than its arrays of `n_bytes` allow; `what` is what went wrong."""
    if room > (allowed := FREE + TIMES * n_bytes):
        raise ValueError(
            f"{what}: the arguments claim {room:,} bytes for a model that has learnt {n_bytes:,} bytes, which may "
            f"claim {allowed:,}; choose fewer experts, or smaller hidden layers, memory, batch_size or n_threads"
        )
