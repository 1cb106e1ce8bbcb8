"""Files of adapters in which each tensor is signs and one number."""

from __future__ import annotations

import copy
import json
from functools import partial

import pytest
import torch
from small_layers import normal
from torch import nn

from benchmarks.faults import damage
from driftmoe.nn import inject, load_adapter, lora_layer, save_adapter, smora
from driftmoe.routing import TopK

torch_files = pytest.importorskip("safetensors.torch", reason="needs the extra nn")


def adapted(width=8, seed=0, make=None, rank=2):
    model = nn.Sequential(nn.Linear(width, width), nn.Tanh())
    model[0].weight.data, model[0].bias.data = normal(width, width), normal(width)
    inject(model, "0", make or partial(lora_layer, policy=TopK(2), rank=rank), n_experts=4, seed=seed)
    return model


def taught(model, seed=3):
    """The model after changes of all that learns, and what it was before."""
    start = copy.deepcopy(model.state_dict())
    for i, p in enumerate(p for p in model.parameters() if p.requires_grad):
        p.data += 0.1 * normal(*p.shape, seed=seed + i)
    return start


def test_the_largest_tenth_of_each_change_comes_back_with_its_sign_and_mean_size(tmp_path):
    model, other = adapted(), adapted()
    start = taught(model)
    save_adapter(model, tmp_path / "small", density=0.1, start=start)
    load_adapter(other, tmp_path / "small")
    for name, p in model.named_parameters():
        if not p.requires_grad:
            continue
        change = (p - start[name]).detach().flatten()
        kept = change.abs().topk(round(0.1 * len(change))).indices
        expected = torch.zeros_like(change)
        expected[kept] = change[kept].sign() * change[kept].abs().mean()
        torch.testing.assert_close(
            other.get_parameter(name).detach().flatten(), start[name].flatten() + expected
        )


@pytest.mark.parametrize(("density", "least"), [(0.05, 24), (0.1, 23), (0.5, 18)])
def test_a_file_is_many_times_smaller(density, least, tmp_path):
    model = adapted(width=512, rank=16)
    start = taught(model)
    save_adapter(model, tmp_path / "whole")
    for name, given in (("change", start), ("by itself", None)):
        save_adapter(model, tmp_path / name, density=density, start=given)
        ratio = (tmp_path / "whole").stat().st_size / (tmp_path / name).stat().st_size
        assert least < ratio < 32.0


def test_without_a_start_numbers_are_compressed_and_any_model_takes_them(tmp_path):
    model, other = (adapted(make=partial(smora, k=2), seed=seed) for seed in (0, 7))
    taught(model)
    model[0].moe.balancer.bias.copy_(normal(4))
    save_adapter(model, tmp_path / "small", density=0.5)
    load_adapter(other, tmp_path / "small")
    load_adapter(other, tmp_path / "small")  # nothing is added up
    assert other[0].moe.balancer.bias.unique().numel() == 3
    b, came = model[0].moe.experts.b.detach().flatten(), other[0].moe.experts.b.detach().flatten()
    kept = b.abs() >= b.abs().sort(descending=True).values[len(b) // 2 - 1]
    torch.testing.assert_close(came, torch.where(kept, b.sign() * b[kept].abs().mean(), 0.0))


def test_a_change_is_added_to_no_other_start(tmp_path):
    model = adapted()
    start = taught(model)
    save_adapter(model, tmp_path / "small", density=0.1, start=start)
    for other in (adapted(seed=1), model):  # another seed, and one that has learnt already
        before = copy.deepcopy(other.state_dict())
        with pytest.raises(
            ValueError, match=r"of another start than .* of the same floats \(this adapter has"
        ):
            load_adapter(other, tmp_path / "small")
        assert all(torch.equal(value, before[name]) for name, value in other.state_dict().items())
    for given, words in (
        ({"density": 0.0, "start": start}, "density=0"),
        ({"start": start}, "start without density"),
        ({"density": 0.1, "start": {}}, "start has no '0.moe.router.weight'"),
        ({"density": 0.1, "start": adapted(9).state_dict()}, "another shape for"),
    ):
        with pytest.raises(ValueError, match=words):
            save_adapter(model, tmp_path / "other", **given)
    assert not (tmp_path / "other").exists()


def test_flipped_bits_are_refused_or_change_nothing(tmp_path):
    model, file = adapted(), tmp_path / "small"
    start = taught(model)
    save_adapter(model, file, density=0.1, start=start)
    content = file.read_bytes()

    def read(data):
        other = adapted()
        file.write_bytes(data)
        try:
            load_adapter(other, file)
        except ValueError:
            return None
        return damage.weights(other)

    expected = read(content)
    few = (data for i, data in enumerate(damage.flipped(content, (1 << 3,))) if i % 17 == 0)
    tried, lost = damage.changed(read, expected, few)
    assert lost == 0
    assert tried > 80


def test_metadata_that_lie_are_refused(tmp_path):
    """Files of other programs have no digest."""
    model, file = adapted(), tmp_path / "small"
    taught(model)
    save_adapter(model, file, density=0.1)
    tensors = torch_files.load_file(file)
    with torch_files.safe_open(file, "pt") as opened:
        about = json.loads(opened.metadata()["compressed"])
    name = "0.moe.experts.a"
    for changed, signs, words in (
        ({}, 10**9, "bytes of signs for 0.moe.experts.a, and at most 8"),
        ({name + ".like": torch.tensor([0, 0, 4, 8, 2])}, None, "another shape for 0.moe.experts.a"),
        ({name + ".kept": torch.zeros(8, dtype=torch.uint8)}, None, "do not fit each other"),
        ({name + ".scale": torch.tensor(float("inf"))}, None, "holds NaN or infinite"),
    ):
        lying = {**about, "signs": {**about["signs"], **({name: signs} if signs else {})}}
        torch_files.save_file(tensors | changed, file, metadata={"compressed": json.dumps(lying)})
        with pytest.raises(ValueError, match=f"load_adapter: .*{words}"):
            load_adapter(adapted(), file)
