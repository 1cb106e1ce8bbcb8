"""Which rows of a layer within a model are padding, read from the attention mask that the model is called with.

An injected layer sees only its input. Hooks on the model, and on models inside it as transformers nests them, keep the
mask of the call that goes on. A mask of shape (n, length) says which positions count. With a cache of earlier
positions, or left padding, the last positions of the mask are those of the input. Masks of another shape, as for each
pair of positions, are not read.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeGuard
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

INPUTS = ("input_ids", "inputs_embeds", "hidden_states")
"""Names of the arguments whose second dimension is the length of the input. Otherwise the first argument is it."""

OF_DECODERS = ("decoder_input_ids", "decoder_inputs_embeds", "decoder_attention_mask", "encoder_outputs")
"""Names of arguments of a model of encoder and decoder, whose attention mask is the encoder's alone."""


@dataclass(frozen=True)
class _Call:
    """A call of a model: the rows that count, and the same for the states of an encoder that its decoder reads."""

    rows: Tensor | None = None
    encoder_states: Tensor | None = None
    encoder_rows: Tensor | None = None

    def rows_of(self, x: Tensor) -> Tensor | None:
        """Return which rows of a layer's input count, bool, of its leading shape; None if none is known not to."""
        if x is self.encoder_states:
            return self.encoder_rows
        if self.rows is not None and x.shape[:-1] == self.rows.shape:
            return self.rows
        if self.rows is not None and x.shape[:-1] == (self.rows.numel(),):
            return self.rows.flatten()
        return None


@dataclass
class _Pass:
    """A forward pass with gradients: the rows of each call of each layer, and the last backward pass through it."""

    rows: dict[nn.Module, list[Tensor | None]] = field(default_factory=dict)
    backward: int = -1


class Padding:
    """The calls of a model that go on, shared by the hooks on the model and the layers inside it.

    A copy or a pickle of it has no calls.
    """

    def __init__(self) -> None:
        self._here = threading.local()  # several threads may call one model
        # Rows of the calls that checkpoints repeat. Replicas of layers, as of DataParallel, must not be kept.
        self._remembered: WeakKeyDictionary[nn.Module, list[Tensor | None]] = WeakKeyDictionary()

    def __reduce__(self) -> tuple[type[Padding], tuple[()]]:
        return Padding, ()

    def watch(self, model: nn.Module) -> list[RemovableHandle]:
        """Put hooks on a model and on all models inside it, unless they are there, and return their handles."""
        handles: list[RemovableHandle] = []
        for module in model.modules():
            # transformers' own name for what a model, and no part of one, has
            if (module is model or hasattr(module, "main_input_name")) and not self._watches(module):
                handles += [
                    module.register_forward_pre_hook(self._enter, with_kwargs=True),
                    module.register_forward_hook(self._leave, always_call=True),
                ]
        return handles

    def _watches(self, module: nn.Module) -> bool:
        return any(getattr(hook, "__self__", None) is self for hook in module._forward_pre_hooks.values())

    def rows_of(self, layer: nn.Module, x: Tensor) -> Tensor | None:
        """Return which rows of the input of a layer count, bool, shape (...); None if all do."""
        calls = self._calls()
        if is_in_backward():
            return self._of_forward_pass(layer)
        rows = calls[-1][1].rows_of(x) if calls else None
        if calls and self._here.forward is not None and not torch.compiler.is_compiling():
            of_layer = self._here.forward.rows.setdefault(layer, [])
            of_layer.append(rows)
            self._remembered[layer] = [*of_layer]
        return rows

    def _of_forward_pass(self, layer: nn.Module) -> Tensor | None:
        """Return the rows for a layer that a checkpoint calls again during backward, last call first."""
        if layer not in self._remembered:
            return None
        rows = self._remembered[layer]
        if not rows:
            raise RuntimeError(
                "an injected layer is computed again, by a checkpoint, in a backward pass that does not begin at the "
                "output of the model, so that its attention mask is not known; let the loss depend on the output, or "
                "turn checkpointing off"
            )
        return rows.pop()

    def _calls(self) -> list[tuple[nn.Module, _Call]]:
        """Return the models that are being called here, from the outermost to the innermost."""
        if not hasattr(self._here, "calls"):
            self._here.calls, self._here.forward = [], None
        calls: list[tuple[nn.Module, _Call]] = self._here.calls
        return calls

    def _enter(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        calls = self._calls()
        models = [outer for outer, _ in calls]
        if (
            model in models
        ):  # no model calls itself: an interrupt, after which torch calls no hook, left it behind
            del calls[models.index(model) :]
        if not calls and not torch.compiler.is_compiling():
            self._here.forward = _Pass() if torch.is_grad_enabled() else None
        outer = calls[-1][1] if calls else _Call()
        calls.append((model, _call(model, _arguments(model, args, kwargs), outer)))

    def _leave(self, model: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        calls = self._calls()
        if not calls or calls[-1][0] is not model:  # another hook raised before that which entered
            return
        calls.pop()
        if calls or self._here.forward is None or torch.compiler.is_compiling():
            return
        for tensor in _tensors(output):
            if tensor.grad_fn is not None:
                tensor.grad_fn.register_prehook(partial(self._go_back, self._here.forward))
        self._here.forward = None

    def _go_back(self, forward: _Pass, gradients: tuple[Tensor | None, ...]) -> None:
        """Remember the rows of a forward pass, when a backward pass comes to its output."""
        if forward.backward != (backward := torch._C._current_graph_task_id()):
            forward.backward = backward
            for layer, rows in forward.rows.items():
                self._remembered[layer] = [*rows]


def is_in_backward() -> bool:
    """Return whether a backward pass is running: what is called then is computed again by a checkpoint."""
    # torch's own checkpoints ask for this number, too; there is no public name for it.
    return not torch.compiler.is_compiling() and torch._C._current_graph_task_id() != -1


def _arguments(model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the arguments of a call by name. Those that have no name are numbered."""
    names: Iterator[str] = iter(inspect.signature(model.forward).parameters) if args else iter(())
    return {**{next(names, str(i)): value for i, value in enumerate(args)}, **kwargs}


def _tensors(output: Any) -> Iterator[Tensor]:
    """Yield the tensors in the output of a model."""
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, Mapping | list | tuple):
        for part in output.values() if isinstance(output, Mapping) else output:
            yield from _tensors(part)


def _call(model: nn.Module, arguments: Mapping[str, Any], outer: _Call) -> _Call:
    if any(arguments.get(name) is not None for name in OF_DECODERS) or hasattr(
        model, "prepare_decoder_input_ids_from_labels"
    ):
        return (
            _Call()
        )  # both halves are models, whose own calls have masks; what lies outside, as a head, has none
    mask = arguments.get("attention_mask")
    if mask is not None and not _is_mask(mask):
        return outer  # made of the outer model's mask, for each pair of positions
    inputs = next((arguments[name] for name in INPUTS if isinstance(arguments.get(name), Tensor)), None)
    if inputs is None:
        inputs = next((value for value in arguments.values() if isinstance(value, Tensor)), None)
    rows = None
    if mask is not None and inputs is not None and inputs.dim() > 1 and inputs.shape[1] <= mask.shape[1]:
        rows = mask[:, mask.shape[1] - inputs.shape[1] :].bool()
    states, of_states = arguments.get("encoder_hidden_states"), arguments.get("encoder_attention_mask")
    if not isinstance(states, Tensor) or not _is_mask(of_states) or of_states.shape != states.shape[:2]:
        return _Call(rows, states)
    return _Call(rows, states, of_states.bool())


def _is_mask(mask: Any) -> TypeGuard[Tensor]:
    return isinstance(mask, Tensor) and mask.dim() == 2
