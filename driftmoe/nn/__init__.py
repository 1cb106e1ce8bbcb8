"""Neural mixtures of experts: layers that use the same routing policies and losses as the mixtures of trees."""

from driftmoe.nn.adapters import load_adapter, save_adapter
from driftmoe.nn.classifier import NeuralMoEClassifier
from driftmoe.nn.deep import RecurrentLayers, chained_layer
from driftmoe.nn.experts import FeedForwardExperts, upcycle
from driftmoe.nn.experts_interface import register_experts
from driftmoe.nn.fused import FusedLoRA, FusedWeight, fused_lora, merge_back, remove_pairs
from driftmoe.nn.injecting import ParameterCounts, count_parameters, inject, layer_counts, record, thaw
from driftmoe.nn.lora import LoRAExperts, Unweighted, flylora, lora_layer, mora, smora
from driftmoe.nn.mixed import MixedExperts, attention_rank, skip_layer
from driftmoe.nn.moe import ChainedMoE, MoELayer, MoEOutput, RecurrentRouter, upcycled_layer
from driftmoe.nn.oracle import Oracle, oracle
from driftmoe.nn.peft_files import load_peft, save_peft
from driftmoe.nn.rerouting import Rerouting, own_policies, reroute
from driftmoe.nn.rewiring import adapt_routing, reset_routing, routing_distance, steer
from driftmoe.nn.routers import PreGate, ProductTopK
from driftmoe.nn.watching import LayerUsage, usage, watch

__all__ = [
    "ChainedMoE",
    "FeedForwardExperts",
    "FusedLoRA",
    "FusedWeight",
    "LayerUsage",
    "LoRAExperts",
    "MixedExperts",
    "MoELayer",
    "MoEOutput",
    "NeuralMoEClassifier",
    "Oracle",
    "ParameterCounts",
    "PreGate",
    "ProductTopK",
    "RecurrentLayers",
    "RecurrentRouter",
    "Rerouting",
    "Unweighted",
    "adapt_routing",
    "attention_rank",
    "chained_layer",
    "count_parameters",
    "flylora",
    "fused_lora",
    "inject",
    "layer_counts",
    "load_adapter",
    "load_peft",
    "lora_layer",
    "merge_back",
    "mora",
    "oracle",
    "own_policies",
    "record",
    "register_experts",
    "remove_pairs",
    "reroute",
    "reset_routing",
    "routing_distance",
    "save_adapter",
    "save_peft",
    "skip_layer",
    "smora",
    "steer",
    "thaw",
    "upcycle",
    "upcycled_layer",
    "usage",
    "watch",
]
