"""Routing: which experts process a sample, and with which weights.

A *policy* turns the logits of a router into a `Routing`: `policy(logits) -> Routing`. The policies here are frozen
dataclasses over pure functions. They are the same for trees on a stream and for layers of a network. Each of them

- works row by row: a row alone gets bit for bit what it gets in a batch,
- computes in float32 at least, for logits of any leading shape,
- breaks ties for the lowest index,
- is differentiable through the weights of the experts that it keeps.

A logit of -inf marks an expert out of service. Such an expert is never chosen, and adding such experts to a router
changes nothing. NaN, +inf and a row of nothing but -inf are errors.

For numpy logits, `route` asks the policy row by row and avoids the cost of torch's calls. Each policy has a second
implementation for this, in plain float64. Tests hold the two equal.

What is measured on a stream
----------------------------
Top-p and entropy rules read a distribution over experts. The softmax of the logits is that distribution only if the
logits were trained as a softmax. A router trained by binary cross-entropy on *which experts were right* gives
sigmoid(z_i) = P(expert i is right). Twelve logits of +4 (every expert is right) then have the same softmax as twelve
logits of -4 (every expert is wrong), with the same, maximal entropy: the easiest samples look like the hardest. For
such logits, measure the distribution of *the first right expert* (`measure="first-right"`, `first_right`).
"""

from __future__ import annotations

from driftmoe.routing.balance import BiasBalancer, RandomRouter
from driftmoe.routing.combining import contrast, remix
from driftmoe.routing.entropy import Measure, first_right, tsallis_entropy
from driftmoe.routing.masks import Score, top_k_mask, top_p_mask
from driftmoe.routing.policies import Dense, EntropyHybrid, GroupTopK, Rank, TopK, TopP
from driftmoe.routing.presets import ADAMOE, DYNMOLE, HARDER_TASKS, NULLS, STREAM
from driftmoe.routing.result import Choice, Plan, Routing
from driftmoe.routing.rule import Policy, Rule, as_rule, at_step, route
from driftmoe.routing.table import TableRouter
from driftmoe.routing.wrappers import LinearK, Scheduled, WithNull, WithShared

__all__ = [  # noqa: RUF022  # `driftmoe.models` names the policies and presets of this list, in this order
    "Dense",
    "TopK",
    "TopP",
    "EntropyHybrid",
    "GroupTopK",
    "Rank",
    "WithNull",
    "WithShared",
    "Scheduled",
    "LinearK",
    "DYNMOLE",
    "HARDER_TASKS",
    "ADAMOE",
    "NULLS",
    "STREAM",
    "Policy",
    "Rule",
    "as_rule",
    "at_step",
    "route",
    "Choice",
    "Plan",
    "Routing",
    "BiasBalancer",
    "RandomRouter",
    "TableRouter",
    "contrast",
    "remix",
    "Measure",
    "Score",
    "first_right",
    "tsallis_entropy",
    "top_k_mask",
    "top_p_mask",
]
