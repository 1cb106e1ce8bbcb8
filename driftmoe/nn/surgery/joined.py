"""Experts of several modules as one, and a router of several: what is added has parameters of its own.

So what was there can be frozen as a whole. A part of a parameter could not: weight decay and momentum would move it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import reduce
from itertools import accumulate, pairwise
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor, nn

from driftmoe.routing import Routing


class JoinedExperts(nn.Module):
    """Experts of several modules, numbered one after the other.

    Parameters
    ----------
    parts
        Modules such as `FeedForwardExperts` or `LoRAExperts`, with inputs and outputs of one width.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.nn import FeedForwardExperts
    >>> from driftmoe.nn.surgery import JoinedExperts
    >>> from driftmoe.routing import TopK
    >>> experts = JoinedExperts([FeedForwardExperts(3, 8, 16), FeedForwardExperts(1, 8, 32)])
    >>> experts.n_experts, experts(torch.ones(5, 8), TopK(2)(torch.randn(5, 4))).shape
    (4, torch.Size([5, 8]))
    """

    def __init__(self, parts: Sequence[nn.Module]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)

    @property
    def sizes(self) -> list[int]:
        """Number of experts of each part."""
        return [int(part.n_experts) for part in self.parts]  # type: ignore[arg-type]  # modules have any attribute

    @property
    def n_experts(self) -> int:
        """Number of experts of all parts."""
        return sum(self.sizes)

    def forward(self, x: Tensor, routing: Routing) -> Tensor:
        """Return the weighted sum of the chosen experts' outputs, shape (..., n_out)."""
        places = pairwise(accumulate(self.sizes, initial=0))
        outputs = [part(x, within(routing, a, b)) for part, (a, b) in zip(self.parts, places, strict=True)]
        return reduce(torch.add, outputs)

    def relevances(self, x: Tensor, temperature: float = 1.0) -> Tensor:
        """Return those of `LoRAExperts.relevances` over the ranks of all parts, shape (..., n_experts)."""
        each: list[Tensor] = [part.activations(x) for part in self.parts]  # type: ignore[operator]
        return F.normalize(torch.cat(each, -1), dim=-1) / temperature


def within(routing: Routing, start: int, stop: int) -> Routing:
    """Return the routing of the experts from `start` to `stop`, as far as their outputs need it."""
    at_most = None if routing.at_most is None else min(routing.at_most, stop - start)
    mask, weights = routing.mask[..., start:stop], routing.weights[..., start:stop]
    return replace(routing, weights=weights, mask=mask, at_most=at_most)


class JoinedRouter(nn.Module):
    """Routers side by side.

    Parameters
    ----------
    parts
        Routers that read the same rows.
    order
        Which of the logits of all parts, one after the other, comes first, second and so on; default as they are.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.nn.surgery import JoinedRouter
    >>> JoinedRouter([torch.nn.Linear(8, 4), torch.nn.Linear(8, 2)])(torch.ones(5, 8)).shape
    torch.Size([5, 6])
    """

    order: Tensor | None

    def __init__(self, parts: Sequence[nn.Module], order: Sequence[int] | None = None) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)
        first = next((t for part in parts for t in part.state_dict().values()), torch.zeros(0))
        is_changed = order is not None and list(order) != sorted(order)
        self.places = tuple(order or ()) if is_changed else None
        index = None if self.places is None else torch.tensor(self.places, device=first.device)
        self.register_buffer("order", index, persistent=False)  # from the same surgery it is the same

    def _apply(self, *args: Any, **kwargs: Any) -> JoinedRouter:
        """Move all to another device or type; `order` is made anew, as nothing comes back from the device meta."""
        super()._apply(*args, **kwargs)
        if self.order is not None:
            self.order = torch.tensor(self.places, device=self.order.device)
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of all parts, shape (..., n_logits)."""
        logits = torch.cat([part(x) for part in self.parts], -1)
        if self.order is None:
            return logits
        order = self.order
        if (
            order.device != logits.device
        ):  # still on the device meta, where `load_state_dict(assign=True)` leaves it
            order = torch.tensor(self.places, device=logits.device)
        return logits.index_select(-1, order)
