"""Sparse tensors of three values: the largest changes of an adapter, each as its sign times one number."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

KEPT, SIGNS, SCALE, LIKE = ".kept", ".signs", ".scale", ".like"
"""Endings of names: which numbers are kept (a bit each), their signs (a bit each), their size, shape and type."""

_TYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


def compress(
    state: Mapping[str, Tensor],
    *,
    density: float = 0.1,
    base: Mapping[str, Tensor] | None = None,
    alpha: float | None = None,
) -> dict[str, Tensor]:
    """Compress tensors to three values each: 0, and plus and minus one number for the largest.

    Parameters
    ----------
    state
        Tensors by name, such as the part of a `state_dict` that was trained.
    density
        Share of the numbers of each tensor that are kept, the largest by magnitude, in (0, 1]; one at least.
    base
        What the tensors were before they were trained, by the same names; their change is compressed. Default zeros. A
        LoRA needs it for A, which begins at random, and not for B.
    alpha
        Factor of the standard deviation of the change that the kept numbers become, as in ComPEFT, which tunes it on
        held-out data (0.5 to 10). Default the mean magnitude of the kept numbers, which has the least squared error.

    Returns
    -------
    packed
        Tensors by name, for `decompress` and any file of tensors, such as safetensors. A tensor of n float32 has about
        n (1 + density) / 8 bytes: a twenty-ninth at a density of 0.1. Tensors of integers stay as they are.

    Raises
    ------
    ValueError
        If a number is out of range or not finite, a tensor has an unknown type, or `base` does not fit.

    References
    ----------
    ComPEFT, Yadav et al. 2023 (arXiv 2311.13171), alg. 1: alpha · std(change) · sign(change) for the largest. Here
    the share is of each tensor by itself, and bits are stored, not Golomb's code.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.nn.surgery import compress, decompress
    >>> packed = compress({"b": torch.tensor([0.1, -3.0, 0.0, 1.0, 0.2])}, density=0.4)
    >>> decompress(packed)["b"].tolist()
    [0.0, -2.0, 0.0, 2.0, 0.0]
    """
    if not 0.0 < density <= 1.0:
        raise ValueError(f"compress: density={density}; choose a share in (0, 1]")
    if alpha is not None and not 0.0 < alpha < float("inf"):
        raise ValueError(f"compress: alpha={alpha}; choose a finite number > 0, or None")
    packed: dict[str, Tensor] = {}
    with torch.no_grad():
        for name, tensor in state.items():
            if not tensor.is_floating_point():
                _put(packed, {name: tensor.detach().clone()})
                continue
            before = None if base is None else _like(base, name, tensor)
            both = [tensor] if before is None else [tensor, before]
            if tensor.dtype not in _TYPES or not all(bool(torch.isfinite(one).all()) for one in both):
                raise ValueError(
                    f"compress: {name} is of {tensor.dtype} or holds NaN or infinite numbers; give finite floats of 16 "
                    "bits or more"
                )
            wide = torch.promote_types(tensor.dtype, torch.float32)
            change = tensor.detach().to(wide).flatten()
            if before is not None:
                change = change - before.to(wide).flatten()
            _put(packed, _packed(name, change, tensor, density, alpha, has_base=base is not None))
    return packed


def decompress(
    packed: Mapping[str, Tensor], *, base: Mapping[str, Tensor] | None = None
) -> dict[str, Tensor]:
    """Return the tensors that `compress` has packed.

    Parameters
    ----------
    packed
        Result of `compress`.
    base
        As in `compress`: what the changes are added to.

    Returns
    -------
    state
        Tensors by name, in their types, for `load_state_dict`.

    Raises
    ------
    ValueError
        If a part is missing or does not fit the others, `base` does not fit, or there is one where `compress` had none.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.nn.surgery import compress, decompress
    >>> before = {"a": torch.ones(2, 2)}
    >>> packed = compress({"a": torch.tensor([[1.0, 1.5], [1.0, 1.0]])}, density=0.25, base=before)
    >>> decompress(packed, base=before)["a"].tolist()
    [[1.0, 1.5], [1.0, 1.0]]
    """
    state: dict[str, Tensor] = {}
    names = [name.removesuffix(LIKE) for name in packed if name.endswith(LIKE)]
    parts = {name + end for name in names for end in (KEPT, SIGNS, SCALE, LIKE)}
    with torch.no_grad():
        for name in packed:
            if name.endswith(LIKE):
                change = _unpacked(packed, name.removesuffix(LIKE), has_base=base is not None)
                name = name.removesuffix(LIKE)
                if base is not None:
                    before = _like(base, name, change, "decompress")
                    change = (before.to(change.device) + change).to(change.dtype)
                state[name] = change
            elif name not in parts:
                state[name] = packed[name].clone()
    return state


def _packed(
    name: str, change: Tensor, like: Tensor, density: float, alpha: float | None, *, has_base: bool
) -> dict[str, Tensor]:
    """Return the parts of a change, of which the largest numbers are kept; of equal ones the first."""
    n_kept = max(1, round(density * len(change))) if len(change) else 0
    largest = change.abs().sort(descending=True, stable=True).indices[:n_kept]
    kept = torch.zeros_like(change, dtype=torch.bool)
    kept[largest] = True
    kept &= change != 0.0
    values = change[kept]
    if not len(values):
        scale = change.new_zeros(())
    elif alpha is None:
        scale = values.abs().mean()
    else:
        scale = alpha * change.std(correction=0)
    about = torch.tensor([has_base, _TYPES.index(like.dtype), *like.shape])
    return {
        name + KEPT: _bits(kept),
        name + SIGNS: _bits(values > 0.0),
        name + SCALE: scale.cpu(),
        name + LIKE: about,
    }


def _unpacked(packed: Mapping[str, Tensor], name: str, *, has_base: bool) -> Tensor:
    try:
        kept, signs, scale, about = (packed[name + end] for end in (KEPT, SIGNS, SCALE, LIKE))
    except KeyError as missing:
        raise ValueError(f"decompress: {missing} is missing; give all that `compress` returned") from None
    had_base, code, *shape = about.tolist()
    if bool(had_base) != has_base:
        raise ValueError(
            f"decompress: {name!r} was packed {'against a base' if had_base else 'by itself'}; give "
            f"{'the same base' if had_base else 'no base'}"
        )
    n = 1
    for length in shape:
        n *= length
    if not 0 <= code < len(_TYPES) or len(kept) != -(-n // 8):
        raise ValueError(
            f"decompress: the parts of {name!r} do not fit each other; give what `compress` returned"
        )
    is_kept = _of_bits(kept, n)
    n_kept = int(is_kept.sum())
    if len(signs) != -(-n_kept // 8):
        raise ValueError(
            f"decompress: the parts of {name!r} do not fit each other; give what `compress` returned"
        )
    change = scale.new_zeros(n)
    change[is_kept] = torch.where(_of_bits(signs, n_kept), scale, -scale)
    return change.view(shape).to(_TYPES[code])


def _bits(flags: Tensor) -> Tensor:
    """Return flags, shape (n,), as bytes of eight, the first in the lowest bit."""
    whole = torch.nn.functional.pad(flags.cpu().to(torch.uint8), (0, -len(flags) % 8)).view(-1, 8)
    return (whole << torch.arange(8, dtype=torch.uint8)).sum(-1, dtype=torch.uint8)


def _of_bits(packed: Tensor, n: int) -> Tensor:
    return ((packed.cpu()[:, None] >> torch.arange(8, dtype=torch.uint8)) & 1).flatten()[:n].bool()


def _like(base: Mapping[str, Tensor], name: str, tensor: Tensor, caller: str = "compress") -> Tensor:
    before = base.get(name)
    if before is None or before.shape != tensor.shape:
        raise ValueError(
            f"{caller}: base has {'no' if before is None else 'another shape for'} {name!r}; give the same tensors as "
            "they were before training"
        )
    return before.detach().to(tensor.device)


def _put(packed: dict[str, Tensor], parts: Mapping[str, Tensor]) -> None:
    for name, tensor in parts.items():
        if name in packed:
            raise ValueError(f"compress: the name {name!r} comes twice; rename the tensors")
        packed[name] = tensor
