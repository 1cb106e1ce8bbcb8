"""Adapters in the format of peft: a folder with `adapter_config.json` and `adapter_model.safetensors`.

Two kinds of layers mean the same here and there: a low-rank pair around a linear layer (LoRA with one expert, which has
weight 1), and pairs of fused weights (`fused_lora`; peft's `target_parameters`). peft itself is not imported. Its
layouts are those of version 0.21: `ParamWrapper` joins the pairs of all experts into two matrices, with ranks within
experts for A, and experts within ranks for B, and wraps the first parameter of a module innermost.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from driftmoe.nn import adapter_files
from driftmoe.nn.fused import (
    FusedLoRA,
    FusedWeight,
    adapted_weights,
    check_floats,
    first_parameters,
    fused_lora,
    fused_weights,
)
from driftmoe.nn.injecting import Injected, check_places, inject
from driftmoe.nn.linears import is_linear, widths
from driftmoe.nn.lora import LoRAExperts, lora_layer
from driftmoe.nn.moe import MoELayer
from driftmoe.routing import Dense
from driftmoe.staging import write_files
from driftmoe.strict_json import from_json

CONFIG, TENSORS = "adapter_config.json", "adapter_model.safetensors"

BEFORE = "base_model.model."
"""What peft puts before the names of modules."""

REFUSED = (
    "alora_invocation_tokens", "alpha_pattern", "arrow_config", "kasa_config", "layer_replication", "lora_bias",
    "megatron_config", "modules_to_save", "monteclora_config", "rank_pattern", "trainable_token_indices", "use_bdlora",
    "use_dora", "use_qalora", "velora_config",
)  # fmt: skip
"""Settings of peft's LoRA that have no meaning here: they must be off, as must those that are not known."""

INERT = (
    "auto_mapping", "base_model_name_or_path", "bias", "corda_config", "ensure_weight_tying", "eva_config",
    "exclude_modules", "fan_in_fan_out", "inference_mode", "init_lora_weights", "layers_pattern",
    "layers_to_transform", "loftq_config", "lora_alpha", "lora_dropout", "lora_ga_config", "megatron_core",
    "peft_type", "peft_version", "qalora_group_size", "r", "revision", "runtime_config", "target_modules",
    "target_parameters", "task_type", "use_rslora",
)  # fmt: skip
"""Settings of peft's LoRA that are read here, or that say nothing about what the tensors of a file compute."""

STARTS = (True, False, "gaussian", "eva")
"""Values of `init_lora_weights` that leave the weights of the model as they are."""


class _Pair(NamedTuple):
    """The low-rank pairs of a layer, as views of its parameters, and the scale."""

    a: Tensor  # (n_experts, rank, n_in)
    b: Tensor  # (n_experts, rank, n_out)
    scale: float


def save_peft(model: nn.Module, folder: str | PathLike[str]) -> None:
    """Save what was injected into a model in the format of peft, whose `PeftModel.from_pretrained` reads it.

    Only layers of which peft can say the same: `fused_lora`, and `lora_layer` with one expert. Needs `driftmoe[nn]`.

    Parameters
    ----------
    model
        A model that `inject` has modified, with equal rank and scale in all layers.
    folder
        Folder for `adapter_config.json` and `adapter_model.safetensors`, which are replaced. It is made if need be.

    Raises
    ------
    ValueError
        If nothing was injected, a layer has no counterpart in peft or another rank or scale than others, something else
        may learn, or a number is NaN or infinite. Nothing is written then.
    OSError
        If a file cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> from functools import partial
    >>> import torch
    >>> from driftmoe.nn import inject, load_peft, lora_layer, save_peft
    >>> from driftmoe.routing import Dense
    >>> model, other = (torch.nn.Sequential(torch.nn.Linear(4, 4)) for _ in range(2))
    >>> make = partial(lora_layer, policy=Dense(), rank=2, router="random")
    >>> layer = inject(model, "0", make, n_experts=1)["0"]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_peft(model, folder)
    ...     loaded = load_peft(other, folder)
    >>> list(loaded), torch.equal(loaded["0"].experts.a, layer.experts.a)
    (['0'], True)
    """
    from safetensors.torch import save

    plain = {
        name: _plain(name, part.moe) for name, part in model.named_modules() if isinstance(part, Injected)
    }
    fused = {
        name: _Pair(lora.a.data, lora.b.data, lora.scale)
        for name, (_, _, lora) in adapted_weights(model).items()
    }
    pairs = plain | fused
    if not pairs:
        raise ValueError("save_peft: nothing was injected into this model; call inject first")
    _check_rest(model, pairs)
    kinds = {(pair.a.shape[1], pair.scale) for pair in pairs.values()}
    if len(kinds) > 1:
        raise ValueError(
            f"save_peft: the layers have several ranks and scales, {sorted(kinds)}; give all the same for this format"
        )
    ((rank, scale),) = kinds
    tensors: dict[str, Tensor] = {}
    places = _places(model, fused)
    for name, (a, b, _) in pairs.items():
        key_a, key_b = _keys(places.get(name, name))
        tensors[key_a] = a.flatten(0, 1).contiguous()
        tensors[key_b] = b.permute(2, 1, 0).flatten(1).contiguous()
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise ValueError(
                f"save_peft: {name} holds NaN or infinite numbers; train again with a smaller learning rate"
            )
    base = getattr(model, "name_or_path", None) or None
    Path(folder).mkdir(parents=True, exist_ok=True)
    content = {
        CONFIG: json.dumps(_settings(rank, scale, plain, fused, base), indent=2).encode("utf-8"),
        TENSORS: save(tensors, metadata={"format": "pt"}),
    }
    write_files(Path(folder), content, kept=adapter_files.KEPT)


def _settings(
    rank: int, scale: float, plain: Collection[str], fused: Collection[str], base: str | None
) -> dict[str, Any]:
    """Return the settings of an adapter in peft's words."""
    alpha = float(scale * rank)
    return {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": base,
        "r": rank,
        "lora_alpha": int(alpha) if alpha.is_integer() else alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "init_lora_weights": True,
        "inference_mode": True,
        "target_modules": sorted(plain),
        "target_parameters": sorted(fused) or None,
    }


def load_peft(model: nn.Module, folder: str | PathLike[str]) -> dict[str, MoELayer | FusedLoRA]:
    """Inject an adapter of peft into a model: LoRA on linear layers, and on fused weights of experts.

    Parameters
    ----------
    model
        The model that the adapter was trained in, as it was before. As with `inject`, only the adapter learns then.
    folder
        Folder with `adapter_config.json` and `adapter_model.safetensors`. Needs `driftmoe[nn]`.

    Returns
    -------
    layers
        By name: a layer with one expert for each linear layer, a `FusedLoRA` for each fused weight.

    Raises
    ------
    ValueError
        If the adapter is no LoRA, or has settings without a meaning here, such as DoRA, or unknown ones that are not
        off (None, False, 0 or empty); if it does not fit the model, in which something may have been injected; or if a
        file is damaged. The model is then unchanged.
    OSError
        If a file cannot be read.

    Notes
    -----
    Dropout is left out: it concerns training alone.

    Examples
    --------
    `save_peft` shows the way there and back.

    >>> import tempfile
    >>> from pathlib import Path
    >>> import torch
    >>> from driftmoe.nn import load_peft
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "adapter_config.json").write_text('{"peft_type": "IA3"}')
    ...     try:
    ...         load_peft(torch.nn.Linear(4, 4), folder)
    ...     except ValueError as error:
    ...         print(str(error)[:53])
    load_peft: peft_type='IA3'; only LORA can be taken in
    """
    config = _config(Path(folder, CONFIG))
    rank, file = config["r"], Path(folder, TENSORS)
    scale = config["lora_alpha"] / (math.sqrt(rank) if config.get("use_rslora") else rank)
    ends = config.get("target_parameters") or []
    fused = {
        name: weight
        for name, weight in _all_fused(model).items()
        if any(name == end or name.endswith("." + end) for end in ends)
    }
    places = _places(model, fused)
    plain = {name: _linear(model, name) for name in sorted(_targets(file) - set(places.values()))}
    check_places(model, {**plain, **fused})
    for weight in fused.values():
        check_floats(weight)
    try:
        tensors, _ = adapter_files.read(file, _wanted(plain, fused, places, rank))
    except ValueError as error:
        raise ValueError(str(error).replace("load_adapter", "load_peft", 1)) from None
    layers: dict[str, MoELayer | FusedLoRA] = {}
    if fused:
        layers |= inject(model, tuple(fused), partial(fused_lora, rank=rank, scale=scale))
    if plain:
        make = partial(lora_layer, policy=Dense(), rank=rank, scale=scale, router="random")
        layers |= inject(model, tuple(plain), make, n_experts=1)
    with torch.no_grad():
        for name, layer in layers.items():
            pairs: Any = layer if isinstance(layer, FusedLoRA) else layer.experts
            a, b = (tensors[key] for key in _keys(places.get(name, name)))
            pairs.a.copy_(a.view(pairs.a.shape))
            pairs.b.copy_(b.unflatten(1, (rank, -1)).permute(2, 1, 0))  # from (n_out, rank, n_experts)
    return layers


def _targets(file: Path) -> set[str]:
    """Return the names for which a file has pairs."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, "pt") as opened:
            return {key.removeprefix(BEFORE).rpartition(".lora_")[0] for key in opened.keys()}  # noqa: SIM118 - no dict
    except SafetensorError as error:
        raise ValueError(f"load_peft: {file} is damaged, or no adapter: {error}; save it again") from None


def _all_fused(model: nn.Module) -> dict[str, FusedWeight]:
    return {
        f"{place}.{name}" if place else name: weight
        for place, owner in model.named_modules()
        for name, weight in fused_weights(owner)
    }


def _wanted(
    plain: Mapping[str, nn.Module], fused: Mapping[str, FusedWeight], places: Mapping[str, str], rank: int
) -> dict[str, Tensor]:
    """Return tensors without content, of the names and shapes that a file must have."""
    sizes = {name: (1, *widths(linear)) for name, linear in plain.items()}
    for name, (weight, is_transposed) in fused.items():
        n_experts, first, second = weight.shape
        sizes[name] = (n_experts, first, second) if is_transposed else (n_experts, second, first)
    wanted: dict[str, Tensor] = {}
    for name, (n_experts, n_in, n_out) in sizes.items():
        a, b = _keys(places.get(name, name))
        wanted[a] = torch.empty(n_experts * rank, n_in, device="meta")
        wanted[b] = torch.empty(n_out, n_experts * rank, device="meta")
    return wanted


def _keys(place: str) -> tuple[str, str]:
    return f"{BEFORE}{place}.lora_A.weight", f"{BEFORE}{place}.lora_B.weight"


def _plain(name: str, layer: Any) -> _Pair:
    """Return the pair of a layer that is LoRA with one expert of weight 1."""
    experts = getattr(layer, "experts", None)
    if isinstance(experts, LoRAExperts) and experts.n_experts == 1 and layer.balancer is None:
        routing = layer.policy(torch.tensor([[-3.0], [0.0], [3.0]]))
        if routing.weights.shape == (3, 1) and bool(routing.weights.eq(1.0).all()):
            return _Pair(experts.a.data, experts.b.data, layer.scale)
    raise ValueError(
        f"save_peft: {name!r} is a layer of experts with a router, which peft does not know; use save_adapter"
    )


def _check_rest(model: nn.Module, pairs: Mapping[str, _Pair]) -> None:
    """Raise ValueError if something else may learn than pairs, and a router of one expert that changes nothing."""
    own = {tensor.data_ptr() for pair in pairs.values() for tensor in (pair.a, pair.b)}
    for name, parameter in model.named_parameters():
        is_router = name.endswith(".moe.router.weight") or name == "moe.router.weight"
        if parameter.requires_grad and parameter.data_ptr() not in own and not is_router:
            raise ValueError(
                f"save_peft: {name} may learn, too, which this format does not keep; call requires_grad_(False) on it "
                "and save it by itself, or use save_adapter"
            )


def _places(model: nn.Module, names: Collection[str]) -> dict[str, str]:
    """Return where peft puts the pairs of fused weights: each wrapper has those of earlier parameters inside."""
    by_owner: dict[str, list[str]] = {}
    for place, owner in model.named_modules():
        of_owner = [f"{place}.{name}" if place else name for name in first_parameters(owner)]
        by_owner[place] = [name for name in of_owner if name in names]
    return {
        name: owner + ".base_layer" * (len(of_owner) - 1 - i)
        for owner, of_owner in by_owner.items()
        for i, name in enumerate(of_owner)
    }


def _linear(model: nn.Module, name: str) -> nn.Module:
    module = dict(model.named_modules()).get(name)
    if module is None or not is_linear(module):
        raise ValueError(
            f"load_peft: the adapter has a pair for {name!r}, which is no linear layer and no fused weight of this "
            "model; load it into the model that it was trained in, before anything is injected there"
        )
    return module


def _config(path: Path) -> dict[str, Any]:
    """Return the settings of an adapter, checked."""
    try:
        config = from_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"load_peft: {path} is damaged: {error}") from None
    kind = config.get("peft_type") if isinstance(config, dict) else None
    if kind != "LORA":
        raise ValueError(f"load_peft: peft_type={kind!r}; only LORA can be taken in")
    for name, value in config.items():
        if value and name in REFUSED:
            raise ValueError(f"load_peft: {name}={value!r} in {path} has no meaning here; train without it")
        if value and name not in INERT:
            raise ValueError(
                f"load_peft: {name!r:.80}={value!r:.80} in {path} is not known here, so that the adapter may mean "
                f"something else; train without it, or take it out if it has no part in the output. Known are "
                f"{', '.join(INERT)}; and, if they are off, {', '.join(REFUSED)}"
            )
    if config.get("bias", "none") != "none":
        raise ValueError(f"load_peft: bias={config['bias']!r} in {path}; only 'none' can be taken in")
    if config.get("init_lora_weights", True) not in STARTS:
        raise ValueError(
            f"load_peft: init_lora_weights={config['init_lora_weights']!r} in {path} changes the model's weights; "
            "convert the adapter to plain LoRA in peft first"
        )
    rank, alpha = config.get("r"), config.get("lora_alpha")
    if type(rank) is not int or rank < 1 or type(alpha) not in (int, float):
        raise ValueError(
            f"load_peft: r={rank!r} and lora_alpha={alpha!r} in {path}; r is a count, lora_alpha a number"
        )
    return config
