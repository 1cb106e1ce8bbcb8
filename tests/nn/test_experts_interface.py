"""Our dispatch in the models of transformers: the outputs and gradients of their own loop over experts."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from small_layers import normal
from small_mixtures import FAMILIES, IDS, family

from driftmoe.nn import fused_lora, inject, register_experts, reroute, watch
from driftmoe.nn.experts_interface import experts_forward
from driftmoe.routing import TopP

pytest.importorskip("transformers", reason="needs the extra dev")

PAIRS = ("experts.gate_up_proj", "experts.down_proj")


@pytest.fixture(scope="module", autouse=True)
def registered():
    register_experts()


def train(model, implementation):
    model.set_experts_implementation(implementation)
    output = model(input_ids=IDS).logits
    output.square().mean().backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return output.detach(), gradients


def pairs_in(model):
    layers = inject(model, PAIRS, partial(fused_lora, rank=2), seed=1)
    with torch.no_grad():
        for i, lora in enumerate(layers.values()):
            lora.b.copy_(normal(*lora.b.shape, seed=i))
    return layers


@pytest.mark.parametrize("is_adapted", [False, True], ids=["", "with pairs"])
@pytest.mark.parametrize("kind", FAMILIES)
def test_outputs_and_gradients_are_those_of_the_loop_over_experts(kind, is_adapted):
    model = family(kind)
    if is_adapted:
        pairs_in(model)
    expected, gradients = train(model, "eager")
    output, own = train(model, "driftmoe")
    torch.testing.assert_close(output, expected, rtol=0, atol=1e-5)
    assert own.keys() == gradients.keys()
    torch.testing.assert_close(own, gradients, rtol=1e-3, atol=1e-5)


def dense_tensors(model, implementation):
    """How many tensors of the size of all experts' weights a step keeps for backward, beside the weights."""
    model.set_experts_implementation(implementation)
    sizes = {p.numel() for name, p in model.named_parameters() if name.endswith("_lora.weight")}
    own, kept = {p.untyped_storage().data_ptr() for p in model.parameters()}, set()

    def keep(tensor):
        if tensor.numel() in sizes and tensor.untyped_storage().data_ptr() not in own:
            kept.add(tensor.untyped_storage().data_ptr())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = model(input_ids=IDS[:1, :5]).logits
    assert output.requires_grad
    return len(kept)


def test_no_weight_with_its_pairs_is_kept_for_backward():
    model = family("mixtral", intermediate_size=40)
    pairs_in(model)
    assert dense_tensors(model, "grouped_mm") == 3  # of four: no gradient goes to the rows of the first
    assert dense_tensors(model, "driftmoe") == 0


def test_rows_of_a_rerouted_model_cost_only_the_experts_that_they_chose(monkeypatch):
    model, n_pairs = family("mixtral"), []
    model.set_experts_implementation("eager")
    with torch.no_grad(), reroute(model, TopP(0.6)), watch(model) as records:
        expected = model(input_ids=IDS).logits
        model.set_experts_implementation("driftmoe")
        monkeypatch.setattr(
            "driftmoe.nn.experts_interface.collect",
            lambda lines, plan, n: n_pairs.append(len(lines)) or torch.ops.aten.zeros([n, lines.shape[1]]),
        )
        model(input_ids=IDS)
        monkeypatch.undo()
        output = model(input_ids=IDS).logits
    torch.testing.assert_close(output, expected, rtol=0, atol=1e-5)
    chosen = int(records[0][1].routing.mask.sum())
    assert n_pairs[0] == chosen < 24 * int(records[0][1].routing.n_used.max())


def test_halves_and_no_rows_and_generation():
    model = family("qwen3").bfloat16()
    model.set_experts_implementation("driftmoe")
    told = {"max_new_tokens": 2, "min_new_tokens": 2, "do_sample": False, "pad_token_id": 0}
    assert model.generate(IDS, **told).shape == (2, 14)
    experts = model.model.layers[0].mlp.experts
    x, chosen = torch.zeros(0, 16, dtype=torch.bfloat16), torch.zeros(0, 2, dtype=torch.int64)
    assert experts_forward(experts, x, chosen, x[:, :2]).shape == (0, 16)
    assert (
        experts(normal(3, 16, dtype=torch.bfloat16), chosen.new_ones(3, 2), x.new_ones(3, 2)).dtype == x.dtype
    )


def test_experts_spread_over_devices_are_refused():
    model = family("mixtral")
    model.set_experts_implementation("driftmoe")
    model.model.layers[0].mlp.experts._is_expert_parallel = True
    with pytest.raises(ValueError, match="MixtralExperts is spread over several devices"):
        model(input_ids=IDS)
