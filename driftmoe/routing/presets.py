"""Ready-made settings of policies."""

from __future__ import annotations

from driftmoe.routing.policies import EntropyHybrid, TopK, TopP
from driftmoe.routing.wrappers import WithNull

DYNMOLE = EntropyHybrid(q=1.1, threshold=0.9, p=0.75, min_k=2, inclusive=False, renorm=False)
"""The constants of DynMoLE's code (arXiv 2504.00661)."""

HARDER_TASKS = TopP(p=0.4, min_k=1, inclusive=True, renorm=False)
"""The constants of the code of "Harder Tasks Need More Experts" (arXiv 2403.07652)."""

ADAMOE = WithNull(TopK(4), n_null=16)
"""AdaMoE (arXiv 2406.13233) as its code sets it for Mixtral: 8 true experts, whose router has 24 outputs.

It follows the paper in that the weights of the true experts are renormalised. So the router learns nothing from the
task where a row chose one true expert, whose weight is always 1. `NULLS` is the setting to prefer."""

NULLS = WithNull(TopK(4), n_null=8, renorm=False)
"""Null experts that learn better: as many as 8 true ones, weights as among all experts, and a larger balance loss."""

STREAM = EntropyHybrid(
    q=1.1, threshold=0.9, p=0.95, min_k=1, inclusive=True, renorm=True, measure="first-right"
)
"""For logits of "expert i is right": as many experts as are needed to have a right one, or all if none is trusted.

With 12 trees this was about 3 experts a sample (measured in `benchmarks/README.md`), and more after a drift. A larger
`p` asks more experts, and is more accurate on samples for which no tree is."""
