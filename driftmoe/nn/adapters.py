"""Saving what was injected into a model, and loading it into a model that was injected in the same way.

A file holds the tensors of the adapter, and as metadata what the tensors do not tell: policy, scale and kind of each
layer, and a digest of the model around them, the base.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import numbers
import re
from collections.abc import Iterator, Mapping
from os import PathLike
from typing import Any

import torch
from torch import Tensor, nn

from driftmoe.nn import adapter_files, compressed_files
from driftmoe.nn.fused import SUFFIX, FusedLoRA
from driftmoe.nn.injecting import Injected
from driftmoe.nn.moe import MoELayer
from driftmoe.strict_json import from_json


def save_adapter(
    model: nn.Module,
    path: str | PathLike[str],
    *,
    base_weights: bool = False,
    density: float | None = None,
    start: Mapping[str, Tensor] | None = None,
) -> None:
    """Save the injected and the other trainable parameters of a model, without frozen ones, to a safetensors file.

    Policy, scale and kind of each layer are saved too, and a digest of the names and shapes of the model around the
    adapter. Needs `driftmoe[nn]`.

    Parameters
    ----------
    model
        A model that `inject` has modified.
    path
        File to write. A file of this name is replaced, all at once: whatever happens, the old file or the whole new one
        is there.
    base_weights
        Whether the weights of the model around the adapter are a part of the file's digests. If so, the file can only
        be loaded into a model that has the same ones, in the same types. This reads all weights once, now and then.
    density
        If given, each tensor is kept as three values: this share of its numbers, the largest by magnitude, as their
        sign times one number, and zeros (`driftmoe.nn.surgery.compress`). At 0.1 a large adapter takes a
        twenty-ninth of its bytes, at 0.5 a twenty-first. Something is lost, more at small shares: measure what is left.
    start
        What the tensors were before they learnt: a copy of `model.state_dict()` from then. What is compressed is the
        change, and the file can only be loaded into a model that has the same start, in the same types, as `inject`
        makes it again by its `seed`. Without it the numbers themselves are compressed, which a LoRA's A, drawn at
        random, bears badly.

    Raises
    ------
    ValueError
        If there is no adapter in the model, or it holds NaN or infinite numbers; if density is no share in (0, 1], or
        start does not fit.
    OSError
        If the file cannot be written. A file of this name is then as it was.

    References
    ----------
    ComPEFT, Yadav et al. 2023 (arXiv 2311.13171): compressed adapters.

    Examples
    --------
    >>> import tempfile
    >>> from functools import partial
    >>> from pathlib import Path
    >>> import torch
    >>> from driftmoe.nn import inject, load_adapter, lora_layer, save_adapter
    >>> from driftmoe.routing import TopK
    >>> def adapted():
    ...     model = torch.nn.Sequential(torch.nn.Linear(4, 4))
    ...     _ = inject(model, "0", partial(lora_layer, policy=TopK(1), rank=2), n_experts=2)
    ...     return model
    >>> trained, other = adapted(), adapted()
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_adapter(trained, Path(folder, "adapter.safetensors"))
    ...     load_adapter(other, Path(folder, "adapter.safetensors"))
    >>> torch.equal(trained[0].moe.router.weight, other[0].moe.router.weight)
    True
    """
    state = _adapter(model)
    metadata = {LAYERS: _layers(model), BASE: _base_digest(model, state, with_weights=False)}
    if base_weights:
        metadata[BASE_WEIGHTS] = _base_digest(model, state, with_weights=True)
    if start is not None and density is None:
        raise ValueError("save_adapter: start without density, which would have no effect; give both")
    tensors = state
    if density is not None:
        tensors, metadata[compressed_files.COMPRESSED] = compressed_files.packed(state, density, start)
    adapter_files.write(tensors, path, metadata)


def load_adapter(model: nn.Module, path: str | PathLike[str], *, check_base: bool = True) -> None:
    """Load a file of `save_adapter` into a model. Needs `driftmoe[nn]`.

    Parameters
    ----------
    model
        The same model, injected in the same way. Floats may be wider or narrower than those of the file. Only if the
        file has changes of a start (`save_adapter(start=...)`), the adapter must be as `inject` made it, with the same
        seed and in the same types.
    path
        File to read.
    check_base
        Whether the model around the adapter must be that of the file, as far as the file's digests tell. `False` is for
        a base that computes the same from other tensors: an adapter that was trained on weights of 4 bits goes into the
        model in bfloat16, or the other way round. The adapter itself must fit all the same.

    Raises
    ------
    ValueError
        If the file is damaged; if names, shapes or types differ from the model's; if the layers have another policy,
        scale, router or kind of experts than those of the file; if the model around the adapter has other names or
        shapes than that of the file, or other weights and the file has their digest; or if a number is NaN or
        infinite, also because the model's type is too narrow. The model is then unchanged.
    OSError
        If the file cannot be read.

    Notes
    -----
    A file is read only if its header fits the model, so that no file takes more memory than the adapter does. Damage is
    noticed by a digest. Files of other programs and of earlier versions have none: there a changed number is noticed
    only if it is not finite, and another policy or base is not noticed. Policies of your own are compared by their
    fields if they are dataclasses, and otherwise by name alone, so that any two lambdas are taken for the same.

    To use a policy on purpose with which the adapter was not trained, inject with the file's policy, load, and then set
    `layer.policy`.

    Examples
    --------
    `save_adapter` shows the way there and back. Any other file is refused, and the model stays as it was.

    >>> import tempfile
    >>> from functools import partial
    >>> from pathlib import Path
    >>> import torch
    >>> from driftmoe.nn import inject, load_adapter, lora_layer
    >>> from driftmoe.routing import TopK
    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 4))
    >>> _ = inject(model, "0", partial(lora_layer, policy=TopK(1), rank=2), n_experts=2)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "adapter.safetensors")
    ...     _ = path.write_bytes(b"no adapter")
    ...     load_adapter(model, path)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    ValueError: load_adapter: ... is damaged, or no adapter: ...
    """
    state = _adapter(model)
    came, metadata = adapter_files.read(path, state, functools.partial(compressed_files.wanted, state))
    _check_layers(metadata, model, path)
    if check_base:
        _check_base(metadata, model, state, path)
    tensors = compressed_files.unpacked(came, state, metadata, path)
    with torch.no_grad():
        try:
            for name, tensor in tensors.items():
                state[name].copy_(tensor)
        except BaseException:  # Ctrl-C: raised after the last one, because half an adapter is none
            for name, tensor in tensors.items():
                state[name].copy_(tensor)
            raise


def _adapter(model: nn.Module) -> dict[str, Tensor]:
    """Return tensors by name: those of injected layers except the adapted layers, and other trainable parameters."""
    learning = {name: p for name, p in model.named_parameters() if p.requires_grad}
    tensors = {name: parameter.data for name, parameter in learning.items()}
    seen = {id(parameter) for parameter in learning.values()}  # layers may share some, under several names
    for name, module in model.named_modules():
        if isinstance(module, Injected | FusedLoRA):
            base = "weight" if isinstance(module, FusedLoRA) else BASES
            for key, tensor in module.state_dict(keep_vars=True).items():
                if not key.startswith(base) and id(tensor) not in seen:
                    tensors[f"{name}.{key}" if name else key] = tensor.data
                    seen.add(id(tensor))
    if not tensors:
        raise ValueError("there is no adapter in the model: nothing injected, and nothing that may learn")
    return tensors


BASES = ("moe.shared_expert.", "moe.experts.adapted.")
"""Where injected layers keep the module that was there before: beside their experts, or as one that rows may skip."""

LAYERS, BASE, BASE_WEIGHTS = "layers", "base", "base_weights"
"""Names among the metadata of a file: settings of the layers, and digests of the model around them."""


def _layers(model: nn.Module) -> str:
    """Return the settings of all layers of experts as JSON: a list of settings, each with the names of its layers."""
    of_settings: dict[str, dict[str, Any]] = {}
    for name, module in model.named_modules():
        if isinstance(module, MoELayer | FusedLoRA):
            settings = _settings(module)
            of_settings.setdefault(repr(settings), {**settings, "layers": []})["layers"].append(name)
    return json.dumps(list(of_settings.values()), separators=(",", ":"))


def _settings(layer: MoELayer | FusedLoRA) -> dict[str, Any]:
    """Return what decides about a layer's output and is no tensor."""
    if isinstance(layer, FusedLoRA):
        return {"scale": float(layer.scale), "experts": _text(layer)}
    return {
        "policy": _text(layer.policy),
        "scale": float(layer.scale),
        "router": _text(layer.router),
        "experts": _text(layer.experts),
    }


def _text(part: Any) -> str:
    """Return a text that is equal for equal parts, in any process and with fields that later versions add."""
    if isinstance(part, numbers.Real) and not isinstance(part, bool):  # of numpy, too
        number = float(part)
        return repr(int(number) if number.is_integer() else number)
    if isinstance(part, list | tuple):
        return f"[{', '.join(map(_text, part))}]"
    if isinstance(part, set | frozenset):
        return f"{{{', '.join(sorted(map(_text, part)))}}}"
    if isinstance(part, functools.partial):
        given = [*map(_text, part.args), *_named(part.keywords)]
        return f"{_text(part.func)}({', '.join(given)})"
    if isinstance(part, nn.Module):
        about = part.extra_repr() if type(part).__module__.startswith("driftmoe.") else ""
        return f"{type(part).__name__}({about})" if about else type(part).__name__
    if dataclasses.is_dataclass(part) and not isinstance(part, type):
        values = {field.name: getattr(part, field.name) for field in dataclasses.fields(part)}
        defaults = {field.name: field.default for field in dataclasses.fields(part)}
        given = _named({name: of for name, of in values.items() if _text(of) != _text(defaults[name])})
        return f"{type(part).__name__}({', '.join(given)})"
    if hasattr(part, "__qualname__"):  # a function or a method
        return str(part.__qualname__)
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(part))


def _named(parts: Mapping[str, Any]) -> list[str]:
    return [f"{name}={_text(part)}" for name, part in sorted(parts.items())]


def _check_layers(metadata: Mapping[str, str], model: nn.Module, path: str | PathLike[str]) -> None:
    """Raise ValueError if a file has other settings of layers than the model. Files of earlier versions have none."""
    if metadata.get(LAYERS) in (None, _layers(model)):
        return
    own = dict(_listed(from_json(_layers(model))))
    try:
        came = dict(_listed(from_json(metadata[LAYERS])))
    except (ValueError, TypeError, KeyError, AttributeError):
        raise ValueError(
            f"load_adapter: {path} is damaged: its settings of layers cannot be read; save the adapter again"
        ) from None
    for name in sorted(own.keys() | came.keys()):
        for setting in sorted(own.get(name, {}).keys() | came.get(name, {}).keys()):
            of_file, of_model = (of.get(name, {}).get(setting, "missing") for of in (came, own))
            if of_file != of_model:
                raise ValueError(
                    f"load_adapter: {setting} of {name or 'the layer'} is {of_file!s:.300} in {path} and "
                    f"{of_model!s:.300} in the model; inject with the settings of the file, and change them after "
                    "loading if you mean to"
                )


def _listed(entries: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    for entry in entries:
        settings = {name: value for name, value in entry.items() if name != "layers"}
        for name in entry["layers"]:
            yield name, settings


def _check_base(
    metadata: Mapping[str, str], model: nn.Module, state: Mapping[str, Tensor], path: str | PathLike[str]
) -> None:
    """Raise ValueError if a file belongs to another model around the adapter, as far as its digests tell."""
    if metadata.get(BASE) not in (None, _base_digest(model, state, with_weights=False)):
        raise ValueError(
            f"load_adapter: {path} belongs to another model: around the adapter, names or shapes are not those of this "
            "one; load it into the model that it was trained in, or with check_base=False into one that computes the "
            "same, such as that without quantisation"
        )
    if BASE_WEIGHTS in metadata and metadata[BASE_WEIGHTS] != _base_digest(model, state, with_weights=True):
        raise ValueError(
            f"load_adapter: {path} belongs to other weights: around the adapter, names and shapes are those of this "
            "model, but not the numbers or their types; load the weights that it was trained with, in the same "
            "types, or with check_base=False into these"
        )


def _base_digest(model: nn.Module, adapter: Mapping[str, Tensor], *, with_weights: bool) -> str:
    """Return a digest of the tensors around an adapter, under the names that they had before layers were injected."""
    digest = hashlib.sha256()
    prefixes = {
        (f"{name}." if name else "") + base: f"{name}." if name else ""
        for name, module in model.named_modules()
        if isinstance(module, Injected)
        for base in BASES
    }
    prefixes |= {
        f"{name}.weight": name.removesuffix(SUFFIX)
        for name, module in model.named_modules()
        if isinstance(module, FusedLoRA)
    }
    for name, tensor in sorted(model.state_dict().items()):
        if name in adapter or not isinstance(tensor, Tensor):
            continue
        inner = next((prefix for prefix in prefixes if name.startswith(prefix)), None)
        before = name if inner is None else prefixes[inner] + name.removeprefix(inner)
        digest.update(f"{before} {tuple(tensor.shape)}\n".encode())
        if with_weights:
            content = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
            digest.update(f"{tensor.dtype}\n".encode() + content.numpy().tobytes())
    return digest.hexdigest()
