"""Neural mixtures of experts: layers behind the routers, policies and losses that trees have on a stream."""

from driftmoe.nn.experts import FeedForwardExperts, upcycle
from driftmoe.nn.moe import MoELayer, MoEOutput

__all__ = ["FeedForwardExperts", "MoELayer", "MoEOutput", "upcycle"]
