"""Surgery on layers of experts: what they do, and layers with fewer, merged or more experts.

Each operation returns a new layer and leaves the given one as it is. `install` puts layers into a model.
Layers whose routing was moved (`adapt_routing`, `steer`) are refused until `reset_routing`.
"""

from driftmoe.nn.compressing import compress, decompress
from driftmoe.nn.surgery.budgets import allocate
from driftmoe.nn.surgery.fitting import FittedMerge, fit_merge
from driftmoe.nn.surgery.growing import grow
from driftmoe.nn.surgery.installing import install
from driftmoe.nn.surgery.joined import JoinedExperts, JoinedRouter
from driftmoe.nn.surgery.merging import groups, merge
from driftmoe.nn.surgery.merging_back import merge_back
from driftmoe.nn.surgery.mixtures import prune_mixtures
from driftmoe.nn.surgery.policies import Beside, Merged
from driftmoe.nn.surgery.profiling import collect, owners, peaks, similarity, super_experts
from driftmoe.nn.surgery.pruning import prune, pruning_costs
from driftmoe.nn.surgery.ranks import add_ranks, merge_flylora, prune_ranks
from driftmoe.nn.surgery.recombining import recombine
from driftmoe.nn.watching import usage

__all__ = [
    "Beside",
    "FittedMerge",
    "JoinedExperts",
    "JoinedRouter",
    "Merged",
    "add_ranks",
    "allocate",
    "collect",
    "compress",
    "decompress",
    "fit_merge",
    "groups",
    "grow",
    "install",
    "merge",
    "merge_back",
    "merge_flylora",
    "owners",
    "peaks",
    "prune",
    "prune_mixtures",
    "prune_ranks",
    "pruning_costs",
    "recombine",
    "similarity",
    "super_experts",
    "usage",
]
