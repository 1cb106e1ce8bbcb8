"""Experiment `lm`: a byte-level transformer with experts as feed-forward layers, on the sources of Python.

It has three sizes. `lm` shows in a minute how fast policies learn. `lm-small` sees each byte of more text for less
work, so that policies differ by more than their spread. `lm-large` is for one GPU, and also reads the sources of the
packages that are installed. `-cuda` and `-bf16` say where and in which numbers products are computed.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor, nn

from driftmoe.neural import sources
from driftmoe.neural.runs import (
    Answered,
    Cost,
    Point,
    asked,
    feed_forward,
    learn,
    routing_figures,
    seeded,
    used_by_layer,
    warm_then_cosine,
)
from driftmoe.neural.setups import Setup
from driftmoe.neural.variants import LanguageVariant, language_variant
from driftmoe.nn import MoEOutput, RecurrentLayers

DEFAULT = LanguageVariant()


@dataclass(frozen=True)
class Size:
    """Sizes of transformer and training.

    Attributes
    ----------
    width, n_heads, n_layers, n_hidden
        Of the transformer. The last is the hidden width of one expert: two make the usual four times the width, but
        for `lm-small`.
    context, batch
        Length of the context in bytes, and number of pieces of text per step.
    rate
        Largest step size.
    n_steps
        Default number of steps.
    n_in_curve, n_in_verdict
        Number of held-out pieces for each point of the curve, and for the final result.
    reads_packages
        Whether the sources of installed packages are learnt, too.
    """

    width: int
    n_heads: int
    n_layers: int
    n_hidden: int
    context: int
    batch: int
    rate: float
    n_steps: int
    n_in_curve: int
    n_in_verdict: int
    reads_packages: bool = False


SIZES = {
    "small": Size(48, 4, 2, 48, 128, 16, 2e-3, 800, 64, 512),
    "medium": Size(128, 4, 4, 256, 128, 16, 2e-3, 200, 64, 512),
    "large": Size(512, 8, 8, 1024, 512, 64, 1e-3, 1500, 32, 256, reads_packages=True),
}

KINDS = ("letters", "digits", "punctuation", "white_space", "strings", "comments")
"""Kinds of bytes: white space anywhere, of strings and comments what else they hold, and of code the rest."""

PACKAGES: tuple[str, ...] = ()


def settings(name: str) -> dict[str, Any]:
    """Return the sizes of a variant, in a form that JSON can hold."""
    size, device, dtype = language_variant(name)
    of = SIZES[size]
    names = ("width", "n_heads", "n_layers", "n_hidden", "context", "batch", "rate")
    told: dict[str, Any] = {name: getattr(of, name) for name in names} | {"n_held_out": of.n_in_verdict}
    usual = {"device": (device, "cpu"), "dtype": (dtype, "float32")}
    return told | {option: value for option, (value, default) in usual.items() if value != default}


def opened(name: str, limit: int | None, seed: int) -> Language:
    """Return the text of a variant, which is the same for all seeds and limits."""
    return Language(language_variant(name))


class Block(nn.Module):
    """A pre-norm transformer layer: causal attention, then experts, each with a residual connection."""

    def __init__(self, feed_forward: nn.Module, width: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.norm_attention, self.norm_experts = nn.RMSNorm(width), nn.RMSNorm(width)
        self.reads = nn.Linear(width, 3 * width, bias=False)
        self.answers = nn.Linear(width, width, bias=False)
        self.feed_forward = feed_forward

    def forward(self, x: Tensor) -> Tensor:
        """Return rows of the same shape, (n, n_bytes, width)."""
        read = self.reads(self.norm_attention(x))
        q, k, v = read.unflatten(-1, (3, self.n_heads, -1)).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(q, k, v, is_causal=True)  # (n, heads, n_bytes, width of a head)
        x = x + self.answers(seen.transpose(1, 2).flatten(-2))
        return x + self.feed_forward(self.norm_experts(x))


class ByteTransformer(nn.Module):
    """Reads bytes, shape (n, n_bytes), and returns logits of the next one, shape (n, n_bytes, 256)."""

    def __init__(self, setup: Setup, seed: int, size: Size) -> None:
        super().__init__()
        width = size.width
        self.bytes, self.places = nn.Embedding(256, width), nn.Embedding(size.context, width)
        state = RecurrentLayers(setup.policy) if setup.is_recurrent and setup.policy is not None else None
        layers = [
            feed_forward(setup, width, size.n_hidden, 1000 * seed + i, state) for i in range(size.n_layers)
        ]
        self.blocks = nn.Sequential(*(Block(layer, width, size.n_heads) for layer in layers))
        self.norm, self.says = nn.RMSNorm(width), nn.Linear(width, 256, bias=False)

    def forward(self, text: Tensor) -> Tensor:
        """Return the logits."""
        x = self.bytes(text.long()) + self.places.weight[: text.shape[-1]]
        return self.says(self.norm(self.blocks(x)))


class Language:
    """The text: all training files, concatenated, and all held-out files.

    Parameters
    ----------
    variant
        Size of the transformer, device and type of numbers.

    Raises
    ------
    ValueError
        If there is no such device.
    """

    drifts: Sequence[tuple[int, int]] = ()

    def __init__(self, variant: LanguageVariant = DEFAULT) -> None:
        self.size, self.device = SIZES[variant.size], torch.device(variant.device)
        self.is_bf16 = variant.dtype == "bf16"
        self.n_steps = self.size.n_steps
        if variant.device == "cuda" and not torch.cuda.is_available():
            raise ValueError(
                "device='cuda', but torch finds no GPU here; choose --device cpu, or leave it out"
            )
        self.held_out = _joined(source for source in sources.sources() if source.is_held_out)
        learnt = [source for source in sources.sources() if not source.is_held_out]
        if self.size.reads_packages:
            learnt += sources.packages()
        self.learnt = _joined(learnt).to(self.device)

    def fingerprint(self) -> str:
        """Return the hash of the text."""
        return sources.fingerprint(with_packages=self.size.reads_packages)

    def in_its_numbers(self) -> AbstractContextManager[Any]:
        """Return a context in which products are computed in bfloat16, if the variant says so."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16) if self.is_bf16 else nullcontext()

    def start(self, setup: Setup, seed: int, n_steps: int) -> TrainingOfLanguage:
        """Return the training of a new transformer."""
        return TrainingOfLanguage(self, setup, seed, n_steps)

    @cached_property
    def kinds(self) -> Tensor:
        """Number in `KINDS` of each held-out byte, int8; -1 for bytes that are none of these."""
        return kinds_of(bytes(self.held_out.numpy()))


def _joined(texts: Iterable[sources.Source]) -> Tensor:
    joined = "\0".join(source.text for source in texts)
    return torch.frombuffer(bytearray(joined.encode(errors="replace")), dtype=torch.uint8)


_QUOTED = re.compile(
    rb"""#[^\n]*"""
    rb"""|\"{3}(?:[^\\]|\\.)*?\"{3}|'{3}(?:[^\\]|\\.)*?'{3}"""
    rb"""|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'""",
    re.DOTALL,
)
"""Comments and strings of Python."""


def kinds_of(text: bytes) -> Tensor:
    """Return the number in `KINDS` of each byte of Python sources, int8; -1 for none of these.

    Bytes beyond ASCII are letters. Comments and strings are found without parsing, so that a file that is none may be
    taken for one until its end.
    """
    of_byte = torch.full((256,), -1, dtype=torch.int8)
    for value in range(1, 256):
        character = chr(value)
        if character.isspace() and value < 128:
            of_byte[value] = KINDS.index("white_space")
        elif character.isalpha() or character == "_" or value >= 128:
            of_byte[value] = KINDS.index("letters")
        elif character.isdigit():
            of_byte[value] = KINDS.index("digits")
        elif character in string.punctuation:
            of_byte[value] = KINDS.index("punctuation")
    kinds = of_byte[torch.frombuffer(bytearray(text), dtype=torch.uint8).long()]
    is_space = kinds == KINDS.index("white_space")
    for found in _QUOTED.finditer(text):
        kinds[slice(*found.span())] = KINDS.index("comments" if found[0][:1] == b"#" else "strings")
    return kinds.masked_fill(is_space, KINDS.index("white_space"))


class TrainingOfLanguage:
    """Training to predict the next byte, on randomly drawn pieces, which are the same for every setup with a seed."""

    def __init__(self, text: Language, setup: Setup, seed: int, n_steps: int) -> None:
        self.text, self._setup, self.cost = text, setup, Cost()
        self._places = torch.Generator().manual_seed(seed)
        size = text.size
        self.model = seeded(lambda: ByteTransformer(setup, seed, size), seed).to(text.device)
        self._optimiser = self._new_optimiser()
        self._rates = warm_then_cosine(self._optimiser, n_steps)

    def points(self, n_steps: int, window: int) -> Iterator[Point]:
        """Train, and evaluate on held-out pieces at the end of each window."""
        size = self.text.size
        for step in range(n_steps):
            self.learn(step)
            if (step + 1) % window == 0 or step + 1 == n_steps:
                figures, results = self.held_out(size.n_in_curve)
                routing = routing_figures(self._setup, results)
                n_samples = (step + 1) * size.batch * size.context
                yield Point(n_samples, (step + 1) / n_steps, **figures, routing=routing)

    def learn(self, step: int) -> Tensor:
        """Take one step, and return the losses of the bytes. The host does not wait for the device."""
        pieces = self.drawn(self.text.size.batch, self._places)
        _, losses, _ = learn(self.model, self._optimiser, self._setup, step, partial(self._ask, pieces))
        self._rates.step()
        return losses

    def drawn(self, n: int, generator: torch.Generator) -> Tensor:
        """Return pieces of the text that is learnt, drawn at random, shape (n, context + 1)."""
        learnt, context = self.text.learnt, self.text.size.context
        return _pieces(learnt, torch.randint(len(learnt) - context, (n,), generator=generator), context)

    def restart(self, seed: int, *, share: float) -> None:
        """Go on with new pieces and a new optimiser, after `model` was changed, at a share of the largest step size."""
        self._places = torch.Generator().manual_seed(seed)
        self._optimiser = self._new_optimiser()
        self._rates = torch.optim.lr_scheduler.LambdaLR(self._optimiser, lambda _: share)

    def _new_optimiser(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(
            self.model.parameters(), lr=self.text.size.rate, betas=(0.9, 0.95), weight_decay=0.1
        )

    def verdict(self) -> tuple[dict[str, float], dict[str, float]]:
        """Evaluate on more held-out pieces, and tell what each layer uses, and each kind of byte."""
        text, size = self.text, self.text.size
        inputs = _pieces(text.held_out, self._spaced(size.batch), size.context)[:, :-1].to(text.device)
        with text.in_its_numbers():
            self.cost.measure(self.model, inputs, torch.ones_like(inputs, dtype=torch.bool))
        figures, results = self.held_out(size.n_in_verdict)
        routing = routing_figures(self._setup, results)
        n_layers = sum(isinstance(module, Block) for module in self.model.modules())
        return figures, routing | used_by_layer(
            self._setup, results, n_layers * self._setup.n_steps
        ) | self._used_by_kind(results)

    def held_out(self, n_pieces: int) -> tuple[dict[str, float], list[MoEOutput]]:
        """Return accuracy and loss on held-out pieces, and the results of the layers, batch after batch."""
        size, device = self.text.size, self.text.device
        loss, n_right, n_bytes = 0.0, 0, 0
        results = []
        with torch.no_grad():
            for some in self._spaced(n_pieces).split(4 * size.batch):
                pieces = _pieces(self.text.held_out, some, size.context).to(device)
                logits, losses, of_layers = asked(self.model, partial(self._ask, pieces))
                results += [
                    replace(result, output=losses.new_zeros(0)) for result in of_layers
                ]  # which are large
                loss += losses.sum().item()
                n_right += int((logits.argmax(-1) == pieces[:, 1:].flatten()).sum())
                n_bytes += len(losses)
        return {"accuracy": n_right / n_bytes, "loss": loss / n_bytes}, results

    def _used_by_kind(self, results: Sequence[MoEOutput]) -> dict[str, float]:
        """Return the experts used by each kind of byte that is there, of those that layers have read."""
        if self._setup.policy is None:
            return {}
        size = self.text.size
        places = self._spaced(size.n_in_verdict).split(4 * size.batch)
        kinds = [_pieces(self.text.kinds, some, size.context)[:, :-1] for some in places]
        n_of_batch = len(results) // len(kinds)
        found = {}
        for number, kind in enumerate(KINDS):
            of_kind = [
                replace(result, rows=(kinds[i // n_of_batch] == number).to(result.output.device))
                for i, result in enumerate(results)
            ]
            if any(bool(result.rows.any()) for result in of_kind if result.rows is not None):
                found[f"experts_used_{kind}"] = routing_figures(self._setup, of_kind)["experts_used"]
        return found

    def _spaced(self, n_pieces: int) -> Tensor:
        """Return the places of held-out pieces at equal distances."""
        return torch.linspace(0, len(self.text.held_out) - self.text.size.context - 1, n_pieces).long()

    def _ask(self, pieces: Tensor) -> Answered:
        with self.text.in_its_numbers():
            logits = self.model(pieces[:, :-1]).flatten(0, 1)
            losses = F.cross_entropy(logits, pieces[:, 1:].flatten().long(), reduction="none")
        return logits, losses, None


def _pieces(text: Tensor, places: Tensor, context: int) -> Tensor:
    """Return the context at each place and the byte after it, shape (n, context + 1)."""
    return text[places.to(text.device)[:, None] + torch.arange(context + 1, device=text.device)]
