"""The online mixture of experts with small networks in place of trees."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from river import base

from driftmoe.classifier import DriftMoEClassifier
from driftmoe.experts import NetworkPrototype
from driftmoe.mixture import MIXTURES
from driftmoe.mixture.arguments import Argument, Arguments, check_widths, number
from driftmoe.routing import Policy

VARIANTS = tuple(name for name, mixture in MIXTURES.items() if "n_experts" in mixture.ARGUMENTS)
"""Variants whose experts can be networks. In the other variants each expert belongs to one class."""


class NeuralMoEClassifier(DriftMoEClassifier):
    """Online mixture of small networks, with the same router, policies and gate as the mixture of trees.

    Input, labels, blocks and errors are as in `driftmoe.DriftMoEClassifier`. So trees and networks can be compared as
    experts on any stream. They can also be mixed, because `extras` may contain experts of other kinds, such as trees.

    Parameters
    ----------
    variant
        How the experts share the work, and which of them answer: `"driftmoe"`, `"moe-vote"` or `"moe-data"`, as in
        `DriftMoEClassifier`.
    n_experts
        Number of networks; default: 12.
    expert_hidden
        Widths of the hidden layers of each network.
    expert_rate
        Step size of the networks' optimiser (Adam).
    top_k, policy, gate, hidden, learning_rate
        Settings of the router, with the same defaults as in `DriftMoEClassifier`.
    extras
        Experts of other kinds in `"driftmoe"`; default: `("head",)`, the router's own class probabilities.
    batch_size
        Number of samples between two gradient steps of router and networks; default: 16.
    max_features, max_classes, max_bytes
        Greatest number of features, classes and bytes, as in `DriftMoEClassifier`. Networks have nothing to give up, so
        that too small a bound on the bytes refuses new names.
    decision_costs
        Costs by which a class is predicted, as in `DriftMoEClassifier`.
    seed
        Seed of all initial weights and of the Poisson weights of `"driftmoe"`.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If an argument is out of range or would have no effect.

    Notes
    -----
    Networks read the same inputs as the router: numbers standardised online, and a column for each nominal value. Each
    network minimises the cross-entropy of the samples that it learns by gradient descent. In `"driftmoe"` the samples
    have Poisson weights, which makes the networks differ. All networks take a step together, once per mini-batch.
    Before the first step they have no vote.

    See Also
    --------
    driftmoe.DriftMoEClassifier : the same with Hoeffding trees.
    driftmoe.nn.MoELayer : experts within a network, trained end to end.

    Examples
    --------
    >>> from river import datasets, evaluate, metrics
    >>> from driftmoe.nn import NeuralMoEClassifier
    >>> model = NeuralMoEClassifier(n_experts=4, seed=1)
    >>> evaluate.progressive_val_score(datasets.Phishing().take(500), model, metrics.Accuracy()).get() > 0.8
    True
    """

    _variants: ClassVar[tuple[str, ...]] = VARIANTS
    _own_defaults: ClassVar[dict[str, Any]] = {"extras": ("head",), "batch_size": 16}
    _own_arguments: ClassVar[Arguments] = {
        "expert_hidden": Argument((64,), check_widths),
        "expert_rate": Argument(
            0.03, number(lambda value: 0.0 < value < math.inf, "a number above 0, such as 0.03")
        ),
    }

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
        max_features: int | None = None,
        max_classes: int | None = None,
        max_bytes: int | None = None,
        decision_costs: dict[Any, float] | None = None,
        seed: int | None = None,
    ) -> None:
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
            max_features=max_features,
            max_classes=max_classes,
            max_bytes=max_bytes,
            decision_costs=decision_costs,
            seed=seed,
        )

    @classmethod
    def _unit_test_params(cls) -> Iterator[dict[str, Any]]:
        for variant in VARIANTS:
            yield {"variant": variant, "n_experts": 3, "hidden": (8,), "expert_hidden": (8,), "seed": 1}

    def _prototype(self) -> NetworkPrototype:
        return NetworkPrototype(
            hidden=self.expert_hidden,
            learning_rate=self.expert_rate,
            batch_size=self._setting("batch_size"),
        )
