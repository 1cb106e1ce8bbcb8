"""LoRA on fused weights: one parameter of three dimensions that holds the matrices of all experts of a mixture.

transformers 5 keeps experts so, as `gate_up_proj` and `down_proj`. A model's code reads such a weight as an attribute,
so that no module can take its place. Instead the module that owns it changes its class for one that differs in that
attribute alone: reading it gives W_e + scale · B_e A_e for each expert e. Classes are made once for each kind of
module and are never changed, so that copies and pickles of a model are independent of it. Outside of the owner's calls
the attribute and its views refuse most ways to be written into (`_Computed` says which).
"""

from __future__ import annotations

import copy
import functools
import math
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from driftmoe.nn.lora import LoRAExperts

SUFFIX = "_lora"
"""What the name of a weight gets to be the name of the module that holds it together with its low-rank pairs."""


class FusedWeight(NamedTuple):
    """The weights of all experts of a mixture in one parameter, as `inject` hands them to `fused_lora`.

    Attributes
    ----------
    weight
        Shape (n_experts, n_out, n_in), or (n_experts, n_in, n_out) if it is transposed.
    is_transposed
        Whether inputs come before outputs, as in GPT-OSS.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.nn import FusedWeight, fused_lora
    >>> weight = FusedWeight(torch.nn.Parameter(torch.ones(4, 6, 8)), is_transposed=False)
    >>> fused_lora(weight, rank=2).a.shape
    torch.Size([4, 2, 8])
    """

    weight: nn.Parameter
    is_transposed: bool


class FusedLoRA(nn.Module):
    """Weights of experts with a low-rank pair for each: W_e + scale · B_e A_e, initially W_e.

    `fused_lora` makes it, and `inject` puts it in its place.

    Parameters
    ----------
    weight
        The weights, which become part of the result. The caller must freeze them (`inject` does).
    pairs
        As many low-rank maps as there are experts, of the same widths.
    scale
        LoRA's alpha / rank.

    Attributes
    ----------
    weight
        Shape (n_experts, n_out, n_in), or (n_experts, n_in, n_out) if it is transposed.
    a
        Shape (n_experts, rank, n_in).
    b
        Shape (n_experts, rank, n_out).
    learns
        Names of the parameters that learn by design.

    Notes
    -----
    Each call of the experts allocates one tensor of the size of the weights. While the model trains it is kept until
    backward, where its gradient takes as much for a moment. So a step of training needs the weights of all adapted
    layers once more; with a checkpoint of each layer, those of one layer. In models of transformers `register_experts`
    has a way that computes the pairs for the rows alone, without such a tensor. `merge_back` leaves nothing to compute.

    References
    ----------
    LoRA, Hu et al. 2021 (arXiv 2106.09685), eq. 3, for each expert by itself.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.nn import FusedLoRA, LoRAExperts, FusedWeight
    >>> weight = FusedWeight(torch.nn.Parameter(torch.ones(4, 6, 8)), is_transposed=False)
    >>> torch.equal(FusedLoRA(weight, LoRAExperts(4, 8, 6, rank=2))(), weight.weight)
    True
    """

    def __init__(self, weight: FusedWeight, pairs: LoRAExperts, *, scale: float = 2.0) -> None:
        super().__init__()
        self.weight = weight.weight
        self.a = pairs.a
        self.b = pairs.b
        self.scale = scale
        self.is_transposed = weight.is_transposed
        self.learns = frozenset(("a", "b"))

    def forward(self) -> Tensor:
        """Return the weights with the pairs added, in the shape and type of the weights."""
        left, right = (self.a, self.b) if self.is_transposed else (self.b, self.a)
        with torch.autocast(
            self.weight.device.type, enabled=False
        ):  # the weights keep their type without pairs, too
            wide = torch.promote_types(self.weight.dtype, left.dtype)  # pairs may be wider or narrower
            weight, first, then = (part.to(wide) for part in (self.weight, left.mT, right))
            return torch.baddbmm(weight, first, then, alpha=self.scale).to(self.weight.dtype)

    def merge(self) -> None:
        """Add the pairs to the weights, in place."""
        with torch.no_grad():
            self.weight.copy_(self())

    def extra_repr(self) -> str:
        """Return what a printed model says of the layer."""
        return f"is_transposed={self.is_transposed}"


def fused_lora(
    weight: FusedWeight,
    *,
    rank: int,
    scale: float = 2.0,
    n_experts: int | None = None,
    seed: int | None = None,
) -> FusedLoRA:
    """Add a low-rank pair for each expert to the fused weights of a mixture: W_e + scale · B_e A_e, initially W_e.

    The mixture keeps its router, and each row uses the pairs of the experts that it chose.

    Parameters
    ----------
    weight
        What `inject` finds under names such as `"experts.gate_up_proj"` and `"experts.down_proj"`.
    rank
        Rank of each pair.
    scale
        LoRA's alpha / rank; 2 as in `lora_layer`.
    n_experts
        Must be the number of experts that are there, if given.
    seed
        Seed of A; `None` for a new random A each time.

    Raises
    ------
    TypeError
        If `weight` is no fused weight; for linear layers there is `lora_layer`.
    ValueError
        If the weights are quantised, there is another number of experts, or rank or scale is out of range.

    Examples
    --------
    >>> import torch
    >>> from functools import partial
    >>> from driftmoe.nn import fused_lora, inject, merge_back
    >>> class Experts(torch.nn.Module):  # as in transformers
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.down_proj = torch.nn.Parameter(torch.ones(4, 6, 8))
    ...     def forward(self, x, expert):
    ...         return x @ self.down_proj[expert].T
    >>> model = torch.nn.ModuleDict({"experts": Experts()})
    >>> inject(model, "down_proj", partial(fused_lora, rank=2))
    {'experts.down_proj': FusedLoRA(is_transposed=False)}
    >>> model["experts"](torch.ones(1, 8), 3)
    tensor([[8., 8., 8., 8., 8., 8.]], grad_fn=<MmBackward0>)
    >>> [name for name, p in model.named_parameters() if p.requires_grad]
    ['experts.down_proj_lora.a', 'experts.down_proj_lora.b']
    >>> merge_back(model)
    ['experts.down_proj']
    """
    if not isinstance(weight, FusedWeight):
        raise TypeError(
            f"fused_lora: {type(weight).__name__} is no fused weight of experts; give inject the name of a "
            "parameter of three dimensions, or use lora_layer for linear layers"
        )
    of_all, is_transposed = weight
    check_floats(weight)
    most = min(of_all.shape[1:])
    if isinstance(rank, bool) or not isinstance(rank, int) or not 1 <= rank <= most:
        raise ValueError(
            f"fused_lora: rank={rank!r}; choose a whole number from 1 to {most}, the lesser width"
        )
    if not math.isfinite(scale):
        raise ValueError(f"fused_lora: scale={scale}; choose a finite number")
    if n_experts not in (None, len(of_all)):
        raise ValueError(
            f"fused_lora: n_experts={n_experts}, but the weights are those of {len(of_all)} experts; leave it out"
        )
    n_out, n_in = of_all.shape[:0:-1] if is_transposed else of_all.shape[1:]
    pairs = LoRAExperts(len(of_all), n_in, n_out, rank, seed=seed).to(of_all)
    return FusedLoRA(weight, pairs, scale=scale)


def merge_back(model: nn.Module) -> list[str]:
    """Add what `fused_lora` has learnt to the weights of the experts, and make the model what it was before `inject`.

    The output stays the same to the last bit if the model's own code runs it. Parameters have their first names again,
    so that `save_pretrained` works. Like all else that `inject` has frozen, the weights stay so.

    Parameters
    ----------
    model
        A model that `inject` has modified.

    Returns
    -------
    names
        Names of the merged weights. Other layers of `inject` stay as they are: most routers cannot be merged, and
        `driftmoe.nn.surgery.merge_back` gives the linear layer for those that can.

    Raises
    ------
    ValueError
        If the model has no fused weights with low-rank pairs, or a pair or its scale is not finite.

    Examples
    --------
    `fused_lora` has an example.

    >>> import torch
    >>> from driftmoe.nn import merge_back
    >>> try:
    ...     merge_back(torch.nn.Linear(2, 2))
    ... except ValueError as error:
    ...     print(str(error)[:47])
    merge_back: Linear has no weights of fused_lora
    """
    places = _places(model, "merge_back")
    for name, (_, _, lora) in places.items():
        if not (
            math.isfinite(lora.scale)
            and all(bool(torch.isfinite(tensor).all()) for tensor in (lora.a, lora.b))
        ):
            raise ValueError(
                f"merge_back: the pairs of {name!r} hold NaN or infinite numbers, or have such a scale; nothing was "
                "merged, load an adapter from before they arose"
            )
    for owner, attribute, lora in places.values():
        lora.merge()
        withdraw(owner, attribute)
    return list(places)


def remove_pairs(model: nn.Module) -> list[str]:
    """Take what `fused_lora` added away again: the model is as it was before `inject`, with the weights frozen.

    Parameters
    ----------
    model
        A model that `inject` has modified.

    Returns
    -------
    names
        Names of the weights. Other layers of `inject` stay as they are.

    Raises
    ------
    ValueError
        If the model has no fused weights with low-rank pairs.

    Examples
    --------
    >>> import torch
    >>> from functools import partial
    >>> from driftmoe.nn import fused_lora, inject, remove_pairs
    >>> model = torch.nn.Module()
    >>> model.down_proj = torch.nn.Parameter(torch.ones(4, 6, 8))
    >>> _ = inject(model, "down_proj", partial(fused_lora, rank=2))
    >>> remove_pairs(model), list(model.state_dict())
    (['down_proj'], ['down_proj'])
    """
    places = _places(model, "remove_pairs")
    for owner, attribute, _ in places.values():
        withdraw(owner, attribute)
    return list(places)


def fused_weights(owner: nn.Module) -> Iterator[tuple[str, FusedWeight]]:
    """Yield names and weights of a module's own parameters of three dimensions that can be those of experts."""
    if isinstance(owner, nn.modules.conv._ConvNd | FusedLoRA | LoRAExperts):
        return
    is_transposed = bool(getattr(owner, "is_transposed", False))  # transformers 5 says so of its experts
    for name, parameter in owner._parameters.items():
        if parameter is not None and parameter.dim() == 3 and len(parameter) > 1:
            yield name, FusedWeight(parameter, is_transposed)


def check_floats(weight: FusedWeight) -> None:
    """Raise ValueError if weights are quantised."""
    if not weight.weight.is_floating_point() or weight.weight.element_size() < 2:
        raise ValueError(
            f"fused_lora: the weights are quantised ({weight.weight.dtype}), so that nothing can be added to them; "
            "dequantise the model, as with from_pretrained(..., quantization_config=...Config(dequantize=True))"
        )


def first_parameters(owner: nn.Module) -> tuple[str, ...]:
    """Return the names of a module's own parameters in their order, as they were before any had pairs."""
    return _before(owner).order


def adapted_weights(model: nn.Module) -> dict[str, tuple[nn.Module, str, FusedLoRA]]:
    """Return owner, attribute and layer of all weights that have low-rank pairs, by the names they had before."""
    return {
        (f"{place}." if place else "") + name.removesuffix(SUFFIX): (owner, name.removesuffix(SUFFIX), part)
        for place, owner in model.named_modules()
        for name, part in owner._modules.items()
        if isinstance(part, FusedLoRA)
    }


def install(owner: nn.Module, attribute: str, lora: FusedLoRA) -> None:
    """Let a module read a weight with its pairs."""
    before = _before(owner)
    del owner._parameters[attribute]
    owner.add_module(attribute + SUFFIX, lora)
    owner.__class__ = _reading(before._replace(names=(*before.names, attribute)))


def withdraw(owner: nn.Module, attribute: str) -> None:
    """Undo `install`: the parameter alone, as it is now, in its old place among the others."""
    before = _before(owner)
    lora = owner._modules.pop(attribute + SUFFIX)
    rest = before._replace(names=tuple(name for name in before.names if name != attribute))
    owner.__class__ = _reading(rest) if rest.names else before.kind
    assert lora is not None
    owner.register_parameter(attribute, lora.get_parameter("weight"))
    for name in [name for name in before.order if name in owner._parameters]:
        owner._parameters[name] = owner._parameters.pop(name)


def _places(model: nn.Module, caller: str) -> dict[str, tuple[nn.Module, str, FusedLoRA]]:
    places = adapted_weights(model)
    if not places:
        raise ValueError(
            f"{caller}: {type(model).__name__} has no weights of fused_lora; inject them first, and give the "
            "whole model; a layer of LoRA experts is merged by driftmoe.nn.surgery.merge_back"
        )
    return places


class _Before(NamedTuple):
    """What a module was at first, and which of its weights it reads with pairs."""

    kind: type[nn.Module]
    order: tuple[str, ...]  # of its parameters
    names: tuple[str, ...] = ()


def _before(owner: nn.Module) -> _Before:
    before: _Before | None = getattr(type(owner), "_before", None)
    return _Before(type(owner), tuple(owner._parameters)) if before is None else before


class _Computed(Tensor):
    """A weight with its pairs as code outside of its owner reads it: what is written into it would be lost.

    Its views and what `detach` and `data` give are of this class, too. Refused are methods that write in place, `out=`,
    `inplace=True`, lists of tensors and a new `data`. Arrays of `numpy()` or `dlpack` can be written into, and nobody
    says so. Copies, and what a pickle gives, are plain tensors.
    """

    @classmethod
    def __torch_function__(
        cls, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        name = "data" if function == Tensor.data.__set__ else getattr(function, "__name__", "")  # type: ignore[attr-defined]
        is_in_place = name in ("data", "__setitem__") or re.fullmatch(
            r"__i(?!n)[a-z]+__|_*[a-z]\w*[a-z0-9]_", name
        )
        written = [kwargs.get("out")]
        if (is_in_place and name not in ("requires_grad_", "retain_grad")) or kwargs.get("inplace"):
            written.append(args[0] if args else None)
        if any(isinstance(part, cls) for part in _flat(written)):
            raise _lost(name)
        with torch._C.DisableTorchFunctionSubclass():
            result = function(*args, **kwargs)
            storages = {part.untyped_storage()._cdata for part in _flat(args) if isinstance(part, cls)}

            def marked(part: Any) -> Any:
                is_dense = type(part) is Tensor and part.layout == torch.strided
                is_view = is_dense and part.untyped_storage()._cdata in storages
                return part.as_subclass(cls) if is_view else part

            return type(result)(map(marked, result)) if type(result) in (tuple, list) else marked(result)

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        return copy.deepcopy(self._plain(), memo)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self._plain().__reduce_ex__(protocol)

    def _plain(self) -> Tensor:
        with torch._C.DisableTorchFunctionSubclass():
            return self.as_subclass(Tensor)


def _flat(parts: Iterable[Any]) -> list[Any]:
    """Return tensors and whatever else there is, also those of lists within."""
    return [one for part in parts for one in (part if isinstance(part, tuple | list) else [part])]


def _lost(what: str) -> TypeError:
    return TypeError(
        f"{what}: these weights are computed from weights and low-rank pairs, so that what is written into them is "
        f"lost; write to the weight of the FusedLoRA, whose name ends in {SUFFIX!r}, or to a clone, or call "
        "merge_back or remove_pairs first"
    )


def _refuse(self: nn.Module, value: object) -> None:
    raise _lost("set")


class _Call(threading.local):
    """The weights that were computed in the calls of modules that go on in this thread."""

    weights: dict[int, Tensor] | None = None


_call = _Call()


@functools.cache
def _reading(before: _Before) -> type[nn.Module]:
    """Return the class of modules of a kind that read the named weights with their pairs."""
    kind = before.kind
    own_forward = kind.forward

    @functools.wraps(own_forward)
    def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        if torch.compiler.is_compiling():
            return own_forward(self, *args, **kwargs)
        outer, _call.weights = _call.weights, {}
        try:
            return own_forward(self, *args, **kwargs)
        finally:
            _call.weights = outer

    def reduce(self: nn.Module, protocol: Any) -> tuple[Any, ...]:
        return _anew, (before,), self.__getstate__()

    members = {
        "_before": before,
        "forward": forward,
        "__reduce_ex__": reduce,
        "__module__": kind.__module__,
        **{name: property(_reader(name + SUFFIX), _refuse) for name in before.names},
    }
    return type(f"Adapted{kind.__name__}", (kind,), members)


def _reader(name: str) -> Callable[[nn.Module], Tensor]:
    """Return the getter of a weight. Within a call of its owner it is computed once, though a loop reads it often."""

    def read(self: nn.Module) -> Tensor:
        lora = self._modules[name]
        assert lora is not None
        if torch.compiler.is_compiling() or _call.weights is None:
            computed: Tensor = lora()
            return computed if torch.compiler.is_compiling() else computed.as_subclass(_Computed)
        if id(lora) not in _call.weights:
            _call.weights[id(lora)] = lora()
        return _call.weights[id(lora)]

    return read


def _anew(before: _Before) -> nn.Module:
    """Return an empty module, for copies and pickles."""
    made = _reading(before)
    return made.__new__(made)
