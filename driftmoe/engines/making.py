"""How the model of a new key is made, in any process of a cluster."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from typing import Any

from driftmoe import models, saving


@dataclass(frozen=True)
class Make:
    """Makes the model of a new key. It can be sent to the workers of a cluster.

    Parameters
    ----------
    spec
        Model as text, as for `driftmoe evaluate`.
    seed
        Seed of each model.
    prior
        File of a trained model that votes in each key's mixture, and is never taught. Every worker has to find it
        under this path, and reads it once.

    Examples
    --------
    >>> from driftmoe.engines import Make
    >>> make = Make("moe-data(n_experts=1, top_k=1)", seed=1)
    >>> make().n_experts
    1
    """

    spec: str
    seed: int = 1
    prior: str | None = None

    def __call__(self) -> Any:
        """Return a new model."""
        model = models.make(self.spec, seed=self.seed)
        return model if self.prior is None else model.clone({"prior": self.loaded_prior()})

    def loaded_prior(self) -> Any:
        """Return the prior, or `None`."""
        return None if self.prior is None else _loaded(os.path.abspath(self.prior))


@cache
def _loaded(path: str) -> Any:
    return saving.load(path)
