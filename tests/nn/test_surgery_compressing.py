"""Sparse tensors of three values."""

from __future__ import annotations

import pytest
import torch
from small_layers import normal

from driftmoe.nn.surgery import compress, decompress


@pytest.mark.parametrize("density", [0.05, 0.3, 1.0])
def test_the_largest_numbers_are_kept_as_signs_times_their_mean_magnitude(density):
    tensor = normal(7, 11)
    back = decompress(compress({"a": tensor}, density=density))["a"]
    n_kept = max(1, round(density * 77))
    kept = tensor.abs() >= tensor.abs().flatten().sort(descending=True).values[n_kept - 1]
    expected = torch.where(kept, tensor.sign() * tensor[kept].abs().mean(), 0.0)
    torch.testing.assert_close(back, expected)
    torch.testing.assert_close(decompress(compress({"a": back}, density=density))["a"], back)


def test_the_scale_of_compeft_is_a_multiple_of_the_deviation():
    tensor = normal(100)
    back = decompress(compress({"a": tensor}, density=0.2, alpha=2.0))["a"]
    torch.testing.assert_close(back.abs().max(), 2.0 * tensor.std(correction=0))
    mean = decompress(compress({"a": tensor}, density=0.2))["a"]
    assert (mean - tensor).norm() < (back - tensor).norm()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_types_shapes_and_integers_come_back_and_changes_are_added_to_the_base(dtype):
    base = {
        "a": normal(3, 1, 5, dtype=dtype),
        "n": torch.tensor([3]),
        "zero": torch.zeros(4),
        "none": torch.zeros(0),
    }
    state = {**base, "a": base["a"] + torch.eye(5, dtype=dtype)[:3, None]}
    back = decompress(compress(state, density=0.2, base=base), base=base)
    for name, tensor in state.items():
        assert back[name].dtype == tensor.dtype
        torch.testing.assert_close(back[name], tensor, atol=0.02, rtol=0.0)


def test_a_compressed_file_is_a_small_part_of_the_whole(tmp_path):
    from safetensors.torch import load_file, save_file

    state = {"a": normal(8, 4, 256), "b": normal(8, 4, 512, seed=1)}
    save_file(state, tmp_path / "whole")
    packed = compress(state, density=0.1)
    save_file(packed, tmp_path / "packed")
    whole, small = ((tmp_path / name).stat().st_size for name in ("whole", "packed"))
    assert small < whole / 20
    for name, tensor in decompress(load_file(tmp_path / "packed")).items():
        assert torch.equal(tensor, decompress(packed)[name])


def test_wrong_arguments_are_refused():
    state = {"a": torch.ones(3)}
    for arguments, words in (
        ({"density": 0.0}, r"share in \(0, 1\]"),
        ({"density": 2.0}, r"share in \(0, 1\]"),
        ({"alpha": -1.0}, "finite number > 0"),
        ({"base": {}}, "base has no 'a'"),
        ({"base": {"a": torch.ones(4)}}, "another shape for 'a'"),
    ):
        with pytest.raises(ValueError, match=words):
            compress(state, **arguments)
    with pytest.raises(ValueError, match="NaN or infinite"):
        compress({"a": torch.tensor([float("nan")])})
    with pytest.raises(ValueError, match="comes twice"):
        compress({"a": torch.ones(3), "a.kept": torch.tensor([1])})
    packed = compress(state)
    with pytest.raises(ValueError, match=r"a\.signs' is missing"):
        decompress({name: part for name, part in packed.items() if name != "a.signs"})
    with pytest.raises(ValueError, match="do not fit each other"):
        decompress({**packed, "a.kept": packed["a.kept"].repeat(2)})
