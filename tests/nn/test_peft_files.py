"""Adapters in peft's format: as peft reads and writes them where it is installed, and by its formula everywhere."""

from __future__ import annotations

import json
from functools import partial

import pytest
import torch
from small_layers import normal
from small_mixtures import FAMILIES, IDS, family
from torch import nn

from driftmoe.nn import fused_lora, inject, load_peft, lora_layer, merge_back, save_peft
from driftmoe.routing import Dense, TopK

torch_files = pytest.importorskip("safetensors.torch", reason="needs the extra nn")
pytest.importorskip("transformers", reason="needs the extra dev")

BOTH = ("experts.gate_up_proj", "experts.down_proj")
PLAIN = partial(lora_layer, policy=Dense(), rank=2, scale=1.5, router="random")


def logits(model):
    with torch.no_grad():
        return model(input_ids=IDS).logits


def adapted(kind):
    """A model with pairs as if they had learnt, around linear layers and in fused weights."""
    model = family(kind)
    layers = inject(model, BOTH, partial(fused_lora, rank=2, scale=1.5), seed=1)
    linear = inject(model, "q_proj", PLAIN, n_experts=1, seed=2) if kind != "deepseek" else {}
    with torch.no_grad():
        for i, pairs in enumerate([*layers.values(), *(layer.experts for layer in linear.values())]):
            pairs.b.copy_(normal(*pairs.b.shape, seed=i))
    return model, layers


@pytest.mark.parametrize("kind", FAMILIES)
def test_adapters_come_back_from_files_that_mean_what_they_mean_in_peft(kind, tmp_path):
    model, layers = adapted(kind)
    save_peft(model, tmp_path / "peft")
    loaded = family(kind)
    assert set(layers) <= set(load_peft(loaded, tmp_path / "peft"))
    assert torch.equal(logits(loaded), logits(model))
    learning = [{name for name, p in m.named_parameters() if p.requires_grad} for m in (model, loaded)]
    assert learning[0] == learning[1]

    tensors = torch_files.load_file(tmp_path / "peft" / "adapter_model.safetensors")
    config = json.loads((tmp_path / "peft" / "adapter_config.json").read_text())
    for name, lora in layers.items():
        owner = "base_model.model." + name.rpartition(".")[0]
        place = f"{owner}.base_layer" if name.endswith("gate_up_proj") else owner  # the first one lies within
        a = tensors[f"{place}.lora_A.weight"].reshape(len(lora.a), 2, -1)
        b = tensors[f"{place}.lora_B.weight"].reshape(-1, 2, len(lora.a))
        delta = torch.einsum("ore,eri->eoi", b, a) * config["lora_alpha"] / config["r"]
        weight = lora.weight + (delta.mT if kind == "gpt-oss" else delta)
        torch.testing.assert_close(lora(), weight, rtol=1e-5, atol=1e-6)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")  # that peft and its packages give
@pytest.mark.parametrize("kind", FAMILIES)
def test_peft_reads_our_files_and_we_read_its(kind, tmp_path):
    peft = pytest.importorskip("peft", reason="peft is not installed")
    model, _ = adapted(kind)
    save_peft(model, tmp_path / "ours")
    theirs = peft.PeftModel.from_pretrained(family(kind), tmp_path / "ours")
    torch.testing.assert_close(logits(theirs), logits(model), rtol=0, atol=1e-5)
    theirs.save_pretrained(tmp_path / "theirs")
    loaded = family(kind)
    load_peft(loaded, tmp_path / "theirs")
    torch.testing.assert_close(logits(loaded), logits(theirs), rtol=0, atol=1e-5)
    merge_back(loaded)


def test_ranks_are_scaled_as_rslora_does_and_one_weight_needs_no_wrapper_inside(tmp_path):
    model = family("mixtral")
    layers = inject(model, "experts.down_proj", partial(fused_lora, rank=4, scale=1.5))
    nn.init.ones_(next(iter(layers.values())).b)
    save_peft(model, tmp_path)
    assert "model.layers.0.mlp.experts.lora_A.weight" in str(
        list(torch_files.load_file(tmp_path / "adapter_model.safetensors"))
    )
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"]) == (4, 6)
    (tmp_path / "adapter_config.json").write_text(json.dumps(config | {"lora_alpha": 3, "use_rslora": True}))
    loaded = family("mixtral")
    load_peft(loaded, tmp_path)  # 3 / sqrt(4)
    assert torch.equal(logits(loaded), logits(model))


def test_settings_that_say_nothing_about_the_output_are_taken(tmp_path):
    save_peft(simple(value=1.0), tmp_path)
    file = tmp_path / "adapter_config.json"
    inert = {
        "revision": "main",
        "exclude_modules": ["1"],
        "lora_dropout": 0.1,
        "use_later_idea": None,
        "more": {},
    }
    file.write_text(json.dumps(json.loads(file.read_text()) | inert))
    model, x = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2)), normal(3, 4)
    before = model[0](x)
    layer = load_peft(model, tmp_path)["0"]
    said = x @ layer.experts.a[0].T @ torch.ones(2, 4)  # lora_alpha / r = 1.5
    torch.testing.assert_close(model[0](x), before + 1.5 * said)


def with_router():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    inject(model, "0", partial(lora_layer, policy=TopK(1), rank=2), n_experts=2)
    return model


def simple(rank=2, value=0.0):
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    layers = inject(model, "0", partial(PLAIN, rank=rank), n_experts=1)
    nn.init.constant_(layers["0"].experts.b, value)
    return model


def with_head():
    model = simple()
    model[1].requires_grad_()
    return model


def with_two_ranks():
    model = simple()
    inject(model, "1", partial(PLAIN, rank=1), n_experts=1)
    return model


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (with_router, "'0' is a layer of experts with a router, which peft does not know; use save_adapter"),
        (lambda: nn.Linear(2, 2), "nothing was injected"),
        (with_head, r"1\.weight may learn, too, which this format does not keep"),
        (with_two_ranks, r"several ranks and scales, \[\(1, 1\.5\), \(2, 1\.5\)\]"),
        (lambda: simple(value=float("nan")), "lora_B.weight holds NaN"),
    ],
)
def test_what_peft_cannot_say_is_refused(model, message, tmp_path):
    with pytest.raises(ValueError, match=f"save_peft: .*{message}"):
        save_peft(model(), tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"peft_type": "IA3"}, "peft_type='IA3'; only LORA"),
        ({"use_dora": True}, "use_dora=True in .* has no meaning here"),
        ({"alpha_pattern": {"0": 3}}, "alpha_pattern={'0': 3} in"),
        ({"bias": "all"}, "bias='all' in"),
        (
            {"use_later_idea": 0.5},
            "'use_later_idea'=0.5 in .* is not known here.* Known are .*exclude_modules",
        ),
        ({"init_lora_weights": "pissa"}, "init_lora_weights='pissa' in .* changes the model's weights"),
        ({"r": 0}, "r=0 and lora_alpha=3"),
        ({"r": 3}, r"lora_A.weight is of shape \(2, 4\) in .* and of shape \(3, 4\)"),
    ],
)
def test_adapters_that_mean_something_else_are_refused_and_the_model_stays(changed, message, tmp_path):
    save_peft(simple(), tmp_path)
    file = tmp_path / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changed))
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    with pytest.raises(ValueError, match=f"load_peft: .*{message}"):
        load_peft(model, tmp_path)
    assert type(model[0]) is nn.Linear
    assert all(p.requires_grad for p in model.parameters())


def test_adapters_of_other_models_and_damaged_files_are_refused(tmp_path):
    save_peft(simple(), tmp_path)
    with pytest.raises(ValueError, match="has a pair for '0', which is no linear layer"):
        load_peft(nn.Sequential(nn.ReLU()), tmp_path)
    with pytest.raises(ValueError, match="has a pair for '0', which is no linear layer"):
        load_peft(simple(), tmp_path)
    (tmp_path / "adapter_model.safetensors").write_bytes(b"no adapter")
    with pytest.raises(ValueError, match="is damaged, or no adapter"):
        load_peft(nn.Sequential(nn.Linear(4, 4)), tmp_path)
    (tmp_path / "adapter_config.json").write_text("{")
    with pytest.raises(ValueError, match=r"adapter_config\.json is damaged"):
        load_peft(nn.Sequential(nn.Linear(4, 4)), tmp_path)
