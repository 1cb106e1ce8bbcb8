"""Notices layers whose routing has no gradients although the model around them has."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def lost_gradients(model: nn.Module, names: Collection[str]) -> Iterator[Callable[[], bool]]:
    """Yield a function that says, within a call of a named layer, whether its gradients are lost.

    They are if a module around the layer was called with gradients and the layer is called without, as in checkpoints
    of `use_reentrant=True`.
    """
    have_gradients: list[bool] = []  # of the calls that go on of modules with layers inside

    def enter(*_: object) -> None:
        have_gradients.append(torch.is_grad_enabled())

    def leave(*_: object) -> None:
        have_gradients.pop()

    handles = []
    for outer, module in model.named_modules():
        if any(name != outer and (not outer or name.startswith(outer + ".")) for name in names):
            handles += [
                module.register_forward_pre_hook(enter),
                module.register_forward_hook(leave, always_call=True),
            ]
    try:
        yield lambda: any(have_gradients) and not torch.is_grad_enabled()
    finally:
        for handle in handles:
            handle.remove()
