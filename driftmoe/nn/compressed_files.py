"""Adapters in files as signs and one number a tensor: what `save_adapter(density=...)` writes.

The tensors are those of `compress`. The metadata say how many bytes of signs each tensor has, so that a file is checked
against the model before its tensors are read, and which start the changes are added to.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from os import PathLike

import torch
from torch import Tensor

from driftmoe.nn.compressing import KEPT, LIKE, SCALE, SIGNS, compress, decompress
from driftmoe.strict_json import from_json

COMPRESSED = "compressed"
"""Name among the metadata of a file that is compressed."""


def packed(
    state: Mapping[str, Tensor], density: float, start: Mapping[str, Tensor] | None
) -> tuple[dict[str, Tensor], str]:
    """Return the tensors of a file, and what its metadata say of them."""
    base = None if start is None else _start_of(state, start)
    tensors = compress(state, density=density, base=base)
    about = {
        "signs": {
            name.removesuffix(LIKE): len(tensors[name.removesuffix(LIKE) + SIGNS])
            for name in tensors
            if name.endswith(LIKE)
        },
        "start": None if base is None else _digest(base),
    }
    return tensors, json.dumps(about, separators=(",", ":"))


def wanted(state: Mapping[str, Tensor], metadata: Mapping[str, str]) -> Mapping[str, Tensor]:
    """Return tensors without content, of the names and shapes that a file must have: those of the model if not packed.

    Raises
    ------
    ValueError
        If the metadata cannot be read, or claim more than the model can have.
    """
    if COMPRESSED not in metadata:
        return state
    about = from_json(metadata[COMPRESSED])
    n_signs = about.get("signs") if isinstance(about, dict) else None
    expected: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if not tensor.is_floating_point():
            expected[name] = tensor
            continue
        most = -(-tensor.numel() // 8)
        n = n_signs.get(name) if isinstance(n_signs, dict) else None
        if type(n) is not int or not 0 <= n <= most:
            raise ValueError(f"it has {n!r:.40} bytes of signs for {name}, and at most {most} can be")
        wide = torch.promote_types(tensor.dtype, torch.float32)
        expected[name + KEPT] = torch.empty(most, dtype=torch.uint8, device="meta")
        expected[name + SIGNS] = torch.empty(n, dtype=torch.uint8, device="meta")
        expected[name + SCALE] = torch.empty((), dtype=wide, device="meta")
        expected[name + LIKE] = torch.empty(2 + tensor.dim(), dtype=torch.int64, device="meta")
    return expected


def unpacked(
    tensors: Mapping[str, Tensor],
    state: Mapping[str, Tensor],
    metadata: Mapping[str, str],
    path: str | PathLike[str],
) -> Mapping[str, Tensor]:
    """Return the tensors of a file in full, in the types of the model's.

    Raises
    ------
    ValueError
        If they were saved as changes of another start than the model's, do not fit each other, or are too large.
    """
    if COMPRESSED not in metadata:
        return tensors
    start = from_json(metadata[COMPRESSED]).get("start")
    base = None if start is None else {name: t for name, t in state.items() if t.is_floating_point()}
    if base is not None and _digest(base) != start:
        raise ValueError(
            f"load_adapter: {path} has changes of another start than that of this model; inject with the seed with "
            "which the adapter began, into a model of the same floats (this adapter has "
            f"{', '.join(sorted({str(tensor.dtype) for tensor in base.values()}))}), and load before anything is learnt"
        )
    for name, tensor in state.items():
        about = tensors[name + LIKE].tolist() if tensor.is_floating_point() else None
        if about is not None and (about[2:] != list(tensor.shape) or about[0] not in (0, 1)):
            raise ValueError(
                f"load_adapter: {path} is damaged: it has another shape for {name}; save it again"
            )
    try:
        whole = decompress(tensors, base=base)
    except ValueError as error:
        raise ValueError(f"load_adapter: {path} is damaged: {error}; save the adapter again") from None
    for name, tensor in whole.items():
        whole[name] = tensor.to(state[name].dtype)
        if not bool(torch.isfinite(whole[name]).all()):
            raise ValueError(
                f"load_adapter: {name} in {path} is too large for {state[name].dtype}; load it into a wider model"
            )
    return whole


def _start_of(state: Mapping[str, Tensor], start: Mapping[str, Tensor]) -> dict[str, Tensor]:
    for name, tensor in state.items():
        before = start.get(name)
        if tensor.is_floating_point() and (before is None or before.shape != tensor.shape):
            raise ValueError(
                f"save_adapter: start has {'no' if before is None else 'another shape for'} {name!r}; give a copy of "
                "the state_dict of the model from before it learnt"
            )
    return {name: start[name].detach().to(t.dtype) for name, t in state.items() if t.is_floating_point()}


def _digest(base: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(base.items()):
        content = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode() + content)
    return digest.hexdigest()
