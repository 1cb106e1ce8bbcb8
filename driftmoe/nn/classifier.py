"""Networks in the place of trees: the online mixture of experts whose experts are small networks."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
from river import base

from driftmoe.classifier import DriftMoEClassifier
from driftmoe.experts import Networks
from driftmoe.mixture import MIXTURES, PerClass
from driftmoe.routing import Policy

VARIANTS = tuple(name for name, mixture in MIXTURES.items() if mixture is not PerClass)
"""A network tells all classes apart."""


class NeuralMoEClassifier(DriftMoEClassifier):
    """Online mixture of experts that are small networks, behind the router, the policies and the gate of trees.

    All that `driftmoe.DriftMoEClassifier` says of input, labels, blocks and errors holds, so that trees and networks
    can be compared as experts on any stream, and mixed: `extras` may name experts of other kinds, trees among them.

    Parameters
    ----------
    variant
        How experts share the work and who answers: `"driftmoe"`, `"moe-vote"` or `"moe-data"`, as in
        `DriftMoEClassifier`.
    n_experts
        Number of networks; default: 12.
    expert_hidden
        Widths of the hidden layers of each.
    expert_rate
        Step size of their optimiser (Adam).
    top_k, policy, gate, hidden, learning_rate
        Of the router, as in `DriftMoEClassifier`, with its defaults.
    extras
        Experts of other kinds in `"driftmoe"`; default: `("head",)`, the router's own class probabilities.
    batch_size
        Samples between two steps of router and networks; default: 16.
    seed
        Source of all first weights and of the Poisson weights of `"driftmoe"`.

    Raises
    ------
    TypeError
        If an argument is of the wrong type.
    ValueError
        If an argument is out of range, or would have no effect.

    Notes
    -----
    Networks read what the router reads: numbers standardised online, and a column for each nominal value. Each descends
    on the cross-entropy of the samples that it is taught, weighted in `"driftmoe"` as often as a Poisson draw says,
    which makes them differ. They step together, once a mini-batch; before the first step they have no vote.

    See Also
    --------
    driftmoe.DriftMoEClassifier : the same of Hoeffding trees.
    driftmoe.nn.MoELayer : experts within a network, trained end to end.

    Examples
    --------
    >>> from river import datasets, evaluate, metrics
    >>> from driftmoe.nn import NeuralMoEClassifier
    >>> model = NeuralMoEClassifier(n_experts=4, seed=1)
    >>> evaluate.progressive_val_score(datasets.Phishing().take(500), model, metrics.Accuracy()).get() > 0.8
    True
    """

    _has_networks: ClassVar[bool] = True
    _own_defaults: ClassVar[dict[str, Any]] = {"extras": ("head",), "batch_size": 16}

    def __init__(
        self,
        variant: str = "driftmoe",
        *,
        n_experts: int | None = None,
        expert_hidden: Sequence[int] = (64,),
        expert_rate: float = 0.03,
        top_k: int | None = None,
        policy: Policy | None = None,
        extras: Sequence[str | base.Classifier] | None = None,
        gate: str | None = None,
        hidden: tuple[int, ...] | None = None,
        learning_rate: float | None = None,
        batch_size: int | None = None,
        seed: int | None = None,
    ) -> None:
        if variant not in VARIANTS:
            raise ValueError(f"variant={variant!r}; available: {', '.join(VARIANTS)}")
        if not isinstance(expert_hidden, tuple | list) or not all(
            isinstance(width, int | np.integer) and not isinstance(width, bool) and width >= 1
            for width in expert_hidden
        ):
            raise ValueError(
                f"expert_hidden={expert_hidden!r}; give the width of each hidden layer, such as (64,)"
            )
        if (
            not isinstance(expert_rate, int | float | np.number)
            or isinstance(expert_rate, bool)
            or not 0.0 < expert_rate < np.inf
        ):
            raise ValueError(f"expert_rate={expert_rate!r}; choose a number above 0, such as 0.03")
        self.expert_hidden = expert_hidden
        self.expert_rate = expert_rate
        super().__init__(
            variant,
            n_experts=n_experts,
            top_k=top_k,
            policy=policy,
            extras=extras,
            gate=gate,
            hidden=hidden,
            learning_rate=learning_rate,
            batch_size=batch_size,
            seed=seed,
        )

    @classmethod
    def _unit_test_params(cls) -> Iterator[dict[str, Any]]:
        for variant in VARIANTS:
            yield {"variant": variant, "n_experts": 3, "hidden": (8,), "expert_hidden": (8,), "seed": 1}

    def _new_experts(self, rng: np.random.Generator) -> tuple[Networks, Iterable[Hashable]]:
        return Networks(
            self._setting("n_experts"),
            hidden=self.expert_hidden,
            learning_rate=self.expert_rate,
            batch_size=self._setting("batch_size"),
            rng=rng,
        ), ()
