"""What a file of an adapter says besides tensors: settings of its layers, and the model around it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from driftmoe.nn import inject, load_adapter, lora_layer, mora, save_adapter, upcycled_layer
from driftmoe.nn.adapters import _text
from driftmoe.routing import LinearK, Rule, Scheduled, TopK, TopP

torch_files = pytest.importorskip("safetensors.torch", reason="needs the extra nn")

LORA = partial(lora_layer, policy=TopK(2), rank=1)


def network(make=LORA, target="0", activation=nn.ReLU, width=5):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 4), activation())
    model.add_module("ffn", nn.Sequential(nn.Linear(4, 6), activation(), nn.Linear(6, 4)))
    model.add_module("head", nn.Linear(4, width))
    inject(model, target, make, n_experts=2, seed=1)
    return model


@pytest.fixture
def file(tmp_path):
    save_adapter(network(), tmp_path / "adapter")
    return tmp_path / "adapter"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            partial(LORA, policy=TopK(1)),
            r"policy of 0\.moe is TopK\(k=2\) in .* and TopK\(k=1\) in the model",
        ),
        (partial(LORA, policy=TopP(0.5)), r"policy of 0\.moe is TopK"),
        (
            partial(LORA, scale=1.0),
            r"scale of 0\.moe is 2\.0 in .* and 1\.0 in the model; inject with the settings",
        ),
        (partial(LORA, router="random"), r"router of 0\.moe is Linear in .* and RandomRouter in the model"),
    ],
)
def test_an_adapter_is_refused_by_layers_with_other_settings(file, make, message):
    other = network(make)
    before = [tensor.clone() for tensor in other.state_dict().values()]
    with pytest.raises(ValueError, match=message):
        load_adapter(other, file)
    assert all(map(torch.equal, before, other.state_dict().values()))


def test_settings_that_are_no_dataclasses_are_told_apart(tmp_path):
    """MoRA's temperature, and the activation of upcycled experts, which shapes do not tell."""
    save_adapter(network(partial(mora, k=1, temperature=0.1)), tmp_path / "mora")
    load_adapter(network(partial(mora, k=1, temperature=0.1)), tmp_path / "mora")
    with pytest.raises(ValueError, match=r"relevances\(temperature=0\.1\) in .*relevances\(temperature=1\)"):
        load_adapter(network(partial(mora, k=1, temperature=1.0)), tmp_path / "mora")
    upcycled = partial(upcycled_layer, policy=TopK(1))
    save_adapter(network(upcycled, "ffn"), tmp_path / "relu")
    with pytest.raises(ValueError, match=r"experts of ffn\.moe is .*relu.* and .*gelu"):
        load_adapter(network(upcycled, "ffn", nn.GELU), tmp_path / "relu")


def top_of_half(logits):
    return TopK(1)(logits)


@pytest.mark.parametrize(
    "policy", [top_of_half, Scheduled(TopK(1), LinearK(1, 2, 3)), Scheduled(TopK(1), len)]
)
def test_any_policy_can_be_saved_and_is_its_own(tmp_path, policy):
    save_adapter(network(partial(LORA, policy=policy)), tmp_path / "adapter")
    load_adapter(network(partial(LORA, policy=policy)), tmp_path / "adapter")


@dataclass(frozen=True)
class TopOf(Rule):
    """A policy that a later version gives one field more."""

    k: int

    def __call__(self, logits):
        return TopK(self.k)(logits)


@dataclass(frozen=True)
class LaterTopOf(TopOf):
    noise: float = 0.0


LaterTopOf.__name__ = "TopOf"


@pytest.mark.parametrize(
    ("policy", "same"),
    [
        (TopP(0.5), TopP(np.float64(0.5))),
        (TopP(1), TopP(1.0)),
        (TopOf(1), LaterTopOf(1)),
        (partial(top_of_half), partial(top_of_half)),
    ],
)
def test_equal_policies_have_equal_texts(tmp_path, policy, same):
    save_adapter(network(partial(LORA, policy=policy)), tmp_path / "adapter")
    load_adapter(network(partial(LORA, policy=same)), tmp_path / "adapter")


def test_a_set_among_the_settings_has_one_text_in_any_process():
    names = [f"name {i}" for i in range(10, 30)]  # in a set their order depends on the process
    assert _text(set(names)) == f"{{{', '.join(map(repr, names))}}}"


@pytest.mark.parametrize("other", [network(width=6), network(activation=nn.PReLU)], ids=["shape", "name"])
def test_an_adapter_is_refused_by_another_base(file, other):
    with pytest.raises(ValueError, match="belongs to another model: around the adapter, names or shapes"):
        load_adapter(other, file)


def test_other_weights_of_the_base_are_refused_on_request(file, tmp_path):
    other = network()
    with torch.no_grad():
        other[0].moe.shared_expert.weight[0, 0] += 1.0
    load_adapter(other, file)
    save_adapter(network(), tmp_path / "strict", base_weights=True)
    load_adapter(network(), tmp_path / "strict")
    for changed in (other, network().bfloat16()):
        with pytest.raises(ValueError, match="belongs to other weights"):
            load_adapter(changed, tmp_path / "strict")


def test_the_digest_of_a_base_is_of_the_names_before_layers_were_injected(tmp_path):
    digests = []
    for target in ("0", "head"):
        save_adapter(network(target=target), tmp_path / target)
        with torch_files.safe_open(tmp_path / target, "pt") as opened:
            digests.append(opened.metadata()["base"])
    assert digests[0] == digests[1]


def test_settings_that_cannot_be_read_are_damage(file, tmp_path):
    tensors = torch_files.load_file(file)
    for text in ("[", "3", '[{"layers": 3}]', "[[]]", '{"a": 1}'):
        torch_files.save_file(tensors, tmp_path / "lies", metadata={"layers": text})
        with pytest.raises(ValueError, match="its settings of layers cannot be read"):
            load_adapter(network(), tmp_path / "lies")
    torch_files.save_file(tensors, tmp_path / "lies", metadata={"layers": "[]"})
    with pytest.raises(ValueError, match=r"experts of 0\.moe is missing in"):
        load_adapter(network(), tmp_path / "lies")


def test_a_file_without_settings_is_read_as_those_of_earlier_versions(file, tmp_path):
    torch_files.save_file(torch_files.load_file(file), tmp_path / "old", metadata={"format": "pt"})
    load_adapter(network(partial(LORA, scale=1.0)), tmp_path / "old")
