"""Several trained versions of one model as one: how much of each, layer by layer, learnt from rows without labels."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor, nn
from torch.func import functional_call

from driftmoe.routing.checks import check_count


class FittedMerge(NamedTuple):
    """Result of `fit_merge`.

    Attributes
    ----------
    state
        Merged tensors by name, for `model.load_state_dict(state, strict=False)`; tied weights under their first name.
    coefficients
        Name of the layer -> coefficient of each version, shape (n_versions,).
    losses
        Loss before the first step, and after the last.

    Examples
    --------
    See `fit_merge`.

    >>> from driftmoe.nn.surgery import FittedMerge
    >>> FittedMerge({}, {}, (2.0, 0.5)).losses
    (2.0, 0.5)
    """

    state: dict[str, Tensor]
    coefficients: dict[str, Tensor]
    losses: tuple[float, float]


def fit_merge(
    model: nn.Module,
    versions: Sequence[Mapping[str, Tensor]],
    inputs: Sequence[Any],
    *,
    hidden: Sequence[str] = (),
    compare: Callable[[Tensor, Tensor], Tensor] | None = None,
    n_steps: int = 200,
    rate: float = 0.02,
    pull: float = 0.0,
) -> FittedMerge:
    """Merge versions of a model that were trained for different tasks, with coefficients that are fitted.

    The merged tensors of a layer are base + sum_k c_k (version_k - base). The coefficients are such that for the inputs
    of each task the merged model says what the version of that task says. No labels are needed.

    Parameters
    ----------
    model
        The model with the weights of before, the base; it stays as it is. Set `eval()` where it has
        dropout or batch normalisation, whose averages would move.
    versions
        For each task the trained tensors by name, as in `state_dict`: all of them, or those that were trained. Tied
        weights, such as those of an embedding and a head, may come under either name or both.
    inputs
        For each task what the model is called with: a tensor, or a mapping of arguments by name.
    hidden
        Names of modules whose outputs are aligned, too: squared error over the mean square of the version's.
    compare
        Function of the merged model's and of the version's output to a scalar; default the divergence (KL) of the
        merged model's softmax from the version's, for logits.
    n_steps, rate
        Steps of Adam over all inputs, and their size. All coefficients begin at 1 / n_versions.
    pull
        Weight of the mean squared distance of the coefficients from where they began.

    Returns
    -------
    fitted
        Merged tensors, coefficients and losses.

    Raises
    ------
    ValueError
        If numbers of versions and inputs differ, tensors do not fit the model's, tied weights differ within a version,
        a module is not there, or a loss is not finite.

    References
    ----------
    Expert Merging, Zhang et al. 2025 (arXiv 2509.25712): layer-wise coefficients, alignment of hidden states and
    logits, a regulariser. The scale of the hidden losses is a choice here, and its layers are not cut into chunks.

    Examples
    --------
    >>> import torch
    >>> from driftmoe.nn.surgery import fit_merge
    >>> model = torch.nn.Linear(2, 3, bias=False)
    >>> one, other = model.weight.detach().clone(), model.weight.detach().clone()
    >>> one[:, 0] += torch.tensor([2.0, 0.0, -1.0])  # each task reads an input of its own
    >>> other[:, 1] += torch.tensor([0.0, 1.0, -2.0])
    >>> tasks = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    >>> fitted = fit_merge(model, [{"weight": one}, {"weight": other}], tasks)
    >>> [round(c, 1) for c in fitted.coefficients[""].tolist()]
    [1.0, 1.0]
    """
    check_count("fit_merge: n_steps", n_steps)
    if not 0.0 <= pull < math.inf:
        raise ValueError(f"fit_merge: pull={pull}; choose a finite number >= 0")
    if len(versions) < 1 or len(versions) != len(inputs):
        raise ValueError(
            f"fit_merge: {len(versions)} versions and inputs of {len(inputs)} tasks; give as many of each"
        )
    missing = [name for name in hidden if name not in dict(model.named_modules())]
    if missing:
        raise ValueError(f"fit_merge: hidden={missing} are no modules of this model")
    with torch.inference_mode(False), torch.enable_grad():
        rows = [_plain(x) for x in inputs]
        return _fit(model, versions, rows, hidden, compare or _divergence, n_steps, rate, pull)


def _fit(
    model: nn.Module,
    versions: Sequence[Mapping[str, Tensor]],
    inputs: Sequence[Any],
    hidden: Sequence[str],
    compare: Callable[[Tensor, Tensor], Tensor],
    n_steps: int,
    rate: float,
    pull: float,
) -> FittedMerge:
    first_names = _first_names(model)
    base = {name: t.detach() for name, t in model.state_dict().items() if first_names[name] == name}
    versions = [_by_first_name(k, version, first_names) for k, version in enumerate(versions)]
    with torch.no_grad():
        changes = _changes(base, versions)
        wanted = [
            _outputs(model, {name: t.to(base[name]) for name, t in version.items()}, x, hidden)
            for version, x in zip(versions, inputs, strict=True)
        ]
    layers = list(dict.fromkeys(name.rpartition(".")[0] for name in changes))
    start = torch.full((len(layers), len(versions)), 1.0 / len(versions))
    coefficients = start.clone().requires_grad_()

    def merged() -> dict[str, Tensor]:
        return {
            name: base[name] + _mixed(coefficients[layers.index(name.rpartition(".")[0])], change)
            for name, change in changes.items()
        }

    def loss() -> Tensor:
        state, total = merged(), pull * (coefficients - start).square().mean()
        for x, (output, inner) in zip(inputs, wanted, strict=True):
            own, own_inner = _outputs(model, state, x, hidden)
            total = total + compare(own, output).cpu()
            for a, b in zip(own_inner, inner, strict=True):
                total = total + (F.mse_loss(a, b) / b.square().mean().clamp_min(1e-12)).cpu()
        return total

    step = torch.optim.Adam([coefficients], lr=rate)
    first = loss().item()
    for _ in range(n_steps):
        (coefficients.grad,) = torch.autograd.grad(loss(), [coefficients])
        step.step()
    with torch.no_grad():
        state = {name: tensor.to(base[name].dtype) for name, tensor in merged().items()}
        found = {layer: coefficients[i].detach().clone() for i, layer in enumerate(layers)}
        last = loss().item()
    if not (math.isfinite(first) and math.isfinite(last)):
        raise ValueError(
            f"fit_merge: the loss went from {first} to {last}; look for NaN or infinite numbers in the model, the "
            "versions and the inputs, or choose a smaller rate"
        )
    return FittedMerge(state, found, (first, last))


def _plain(x: Any) -> Any:
    """Return inputs that gradients can be computed of: copies of those made under `inference_mode`."""
    if isinstance(x, Mapping):
        return {name: _plain(value) for name, value in x.items()}
    return x.clone() if isinstance(x, Tensor) and x.is_inference() else x


def _first_names(model: nn.Module) -> dict[str, str]:
    """Return for each name of a tensor the first name of it: tied weights have several, of which calls take one."""
    first: dict[int, str] = {}
    return {
        name: first.setdefault(id(tensor), name) for name, tensor in model.state_dict(keep_vars=True).items()
    }


def _by_first_name(
    k: int, version: Mapping[str, Tensor], first_names: Mapping[str, str]
) -> dict[str, Tensor]:
    """Return a version with one name of each tensor, whichever of them it had."""
    made: dict[str, Tensor] = {}
    for name, tensor in version.items():
        first = first_names.get(name, name)  # others are refused by `_changes`
        if first in made and not (
            made[first].shape == tensor.shape and bool((made[first] == tensor.to(made[first])).all())
        ):
            raise ValueError(
                f"fit_merge: {name!r} and {first!r} are one tensor of the model, but two in version {k}; give one of "
                "them"
            )
        made[first] = tensor
    return made


def _changes(base: Mapping[str, Tensor], versions: Sequence[Mapping[str, Tensor]]) -> dict[str, list[Tensor]]:
    """Return by name what each version changed, zeros where it says nothing."""
    changes: dict[str, list[Tensor]] = {}
    for k, version in enumerate(versions):
        for name, tensor in version.items():
            if name not in base or base[name].shape != tensor.shape:
                raise ValueError(
                    f"fit_merge: {name!r} of version {k} is not in the model with shape {tuple(tensor.shape)}"
                )
            if base[name].is_floating_point():
                zeros = [torch.zeros_like(base[name]) for _ in versions]
                changes.setdefault(name, zeros)[k] = tensor.detach().to(base[name]) - base[name]
    changed = {name: of for name, of in changes.items() if any(bool(change.any()) for change in of)}
    if not changed:
        raise ValueError("fit_merge: no version differs from the model; give tensors that were trained")
    return changed


def _mixed(coefficients: Tensor, changes: Sequence[Tensor]) -> Tensor:
    weights = coefficients.to(changes[0])
    return torch.stack([weight * change for weight, change in zip(weights, changes, strict=True)]).sum(0)


def _outputs(
    model: nn.Module, state: Mapping[str, Tensor], x: Any, hidden: Sequence[str]
) -> tuple[Tensor, list[Tensor]]:
    """Return the output of a model with other weights, and those of the modules named."""
    found: dict[str, Tensor] = {}

    def keep(name: str, module: nn.Module, given: Any, output: Any) -> None:
        found[name] = _tensor(output)

    with ExitStack() as stack:
        for name in hidden:
            stack.callback(model.get_submodule(name).register_forward_hook(partial(keep, name)).remove)
        given, named = ((), dict(x)) if isinstance(x, Mapping) else ((x,), {})
        output = _tensor(functional_call(model, dict(state), given, named))
    return output, [found[name] for name in hidden]


def _tensor(output: Any) -> Tensor:
    """Return the tensor of an output: itself, its logits, or its first part."""
    output = getattr(output, "logits", output)
    output = output[0] if isinstance(output, tuple) else output
    if not isinstance(output, Tensor):
        raise TypeError(f"fit_merge: an output of {type(output).__name__} is no tensor and has no logits")
    return output


def _divergence(own: Tensor, wanted: Tensor) -> Tensor:
    """Return the mean divergence of a softmax from the one wanted, in nats."""
    own, wanted = own.float().flatten(0, -2), wanted.float().flatten(0, -2)
    return F.kl_div(own.log_softmax(-1), wanted.log_softmax(-1), log_target=True, reduction="batchmean")
