"""Neural mixtures of experts: layers behind the routers, policies and losses that trees have on a stream."""

from driftmoe.nn.experts import FeedForwardExperts, upcycle
from driftmoe.nn.lora import LoRAExperts, Unweighted, flylora, lora_layer, mora, smora
from driftmoe.nn.moe import ChainedMoE, MoELayer, MoEOutput, RecurrentRouter, upcycled_layer

__all__ = [
    "ChainedMoE",
    "FeedForwardExperts",
    "LoRAExperts",
    "MoELayer",
    "MoEOutput",
    "RecurrentRouter",
    "Unweighted",
    "flylora",
    "lora_layer",
    "mora",
    "smora",
    "upcycle",
    "upcycled_layer",
]
