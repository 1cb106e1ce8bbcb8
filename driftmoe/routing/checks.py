"""Checks that several policies share: their arguments, and the logits they read."""

from __future__ import annotations

import numpy as np
from torch import Tensor

REFUSED_LOGITS = (
    "logits with NaN, with +inf or with nothing but -inf in a row; -inf alone marks an expert out of "
    "service, and one expert at least must be in service"
)
"""Error message for a row of logits from which no expert can be chosen."""


def check_count(what: str, value: int) -> None:
    """Raise ValueError unless the value is an integer of 1 or more."""
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{what}={value!r}; choose an integer >= 1")


def check_share(what: str, value: float) -> None:
    """Raise ValueError unless the value is a number from 0 to 1."""
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"{what}={value!r}; choose a number from 0 to 1")


def check_option(what: str, value: str, allowed: tuple[str, ...]) -> None:
    """Raise ValueError unless the value is one of the allowed names."""
    if value not in allowed:
        raise ValueError(f"{what}={value!r}; available: {', '.join(allowed)}")


def check_k(k: int, n_experts: int) -> None:
    """Raise ValueError unless `k` experts can be chosen out of `n_experts`."""
    if not 1 <= k <= n_experts:
        raise ValueError(f"top_k: k={k} but there are {n_experts} experts; choose 1 <= k <= {n_experts}")


def check_alike(what: str, values: Tensor, like: Tensor) -> None:
    """Raise ValueError unless two tensors have the same shape."""
    if values.shape != like.shape:
        raise ValueError(
            f"{what} has the shape {tuple(values.shape)}, the other {tuple(like.shape)}; give the same"
        )
