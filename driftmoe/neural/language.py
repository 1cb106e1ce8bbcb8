"""Experiment `lm`: a byte-level transformer with experts as feed-forward layers, on the standard library's sources."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

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
    warm_then_cosine,
)
from driftmoe.neural.setups import Setup
from driftmoe.nn import RecurrentLayers

WIDTH, N_HEADS, N_LAYERS, N_HIDDEN = 128, 4, 4, 256
"""Sizes of the transformer. The last is the hidden width of one expert: two make the usual four times the width."""

CONTEXT, BATCH = 128, 16
"""Length of the context in bytes, and number of pieces of text per step."""

RATE = 2e-3
"""Largest step size."""

N_IN_CURVE, N_IN_VERDICT = 64, 512
"""Number of held-out pieces for each point of the curve, and for the final result."""

SETTINGS = {
    "width": WIDTH, "n_heads": N_HEADS, "n_layers": N_LAYERS, "n_hidden": N_HIDDEN, "context": CONTEXT, "batch": BATCH,
    "rate": RATE, "n_held_out": N_IN_VERDICT,
}  # fmt: skip
PACKAGES: tuple[str, ...] = ()


def opened(name: str, limit: int | None, seed: int) -> Language:
    """Return the text, which is the same for all seeds and limits."""
    return Language()


class Block(nn.Module):
    """A pre-norm transformer layer: causal attention, then experts, each with a residual connection."""

    def __init__(self, feed_forward: nn.Module) -> None:
        super().__init__()
        self.norm_attention, self.norm_experts = nn.RMSNorm(WIDTH), nn.RMSNorm(WIDTH)
        self.reads = nn.Linear(WIDTH, 3 * WIDTH, bias=False)
        self.answers = nn.Linear(WIDTH, WIDTH, bias=False)
        self.feed_forward = feed_forward

    def forward(self, x: Tensor) -> Tensor:
        """Return rows of the same shape, (n, n_bytes, width)."""
        q, k, v = self.reads(self.norm_attention(x)).unflatten(-1, (3, N_HEADS, -1)).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(q, k, v, is_causal=True)  # (n, heads, n_bytes, width of a head)
        x = x + self.answers(seen.transpose(1, 2).flatten(-2))
        return x + self.feed_forward(self.norm_experts(x))


class ByteTransformer(nn.Module):
    """Reads bytes, shape (n, n_bytes), and returns logits of the next one, shape (n, n_bytes, 256)."""

    def __init__(self, setup: Setup, seed: int) -> None:
        super().__init__()
        self.bytes, self.places = nn.Embedding(256, WIDTH), nn.Embedding(CONTEXT, WIDTH)
        state = RecurrentLayers(setup.policy) if setup.is_recurrent and setup.policy is not None else None
        self.blocks = nn.Sequential(
            *(Block(feed_forward(setup, WIDTH, N_HIDDEN, 1000 * seed + i, state)) for i in range(N_LAYERS))
        )
        self.norm, self.says = nn.RMSNorm(WIDTH), nn.Linear(WIDTH, 256, bias=False)

    def forward(self, text: Tensor) -> Tensor:
        """Return the logits."""
        x = self.bytes(text.long()) + self.places.weight[: text.shape[-1]]
        return self.says(self.norm(self.blocks(x)))


class Language:
    """The text: all training files, concatenated, and all held-out files."""

    n_steps = 200
    drifts: Sequence[tuple[int, int]] = ()

    def __init__(self) -> None:
        self.learnt, self.held_out = (self._joined(is_held_out) for is_held_out in (False, True))

    @staticmethod
    def _joined(is_held_out: bool) -> Tensor:
        texts = [source.text for source in sources.sources() if source.is_held_out == is_held_out]
        return torch.frombuffer(bytearray("\0".join(texts).encode(errors="replace")), dtype=torch.uint8)

    def fingerprint(self) -> str:
        """Return the hash of the text."""
        return sources.fingerprint()

    def start(self, setup: Setup, seed: int, n_steps: int) -> TrainingOfLanguage:
        """Return the training of a new transformer."""
        return TrainingOfLanguage(self, setup, seed, n_steps)


class TrainingOfLanguage:
    """Training to predict the next byte, on randomly drawn pieces, which are the same for every setup with a seed."""

    def __init__(self, text: Language, setup: Setup, seed: int, n_steps: int) -> None:
        self._text, self._setup, self.cost = text, setup, Cost()
        self._places = torch.Generator().manual_seed(seed)
        self.model = seeded(lambda: ByteTransformer(setup, seed), seed)
        self._optimiser = torch.optim.AdamW(
            self.model.parameters(), lr=RATE, betas=(0.9, 0.95), weight_decay=0.1
        )
        self._rates = warm_then_cosine(self._optimiser, n_steps)

    def points(self, n_steps: int, window: int) -> Iterator[Point]:
        """Train, and evaluate on held-out pieces at the end of each window."""
        for step in range(n_steps):
            places = torch.randint(len(self._text.learnt) - CONTEXT, (BATCH,), generator=self._places)
            pieces = _pieces(self._text.learnt, places)
            learn(self.model, self._optimiser, self._setup, step, partial(self._ask, pieces))
            self._rates.step()
            if (step + 1) % window == 0 or step + 1 == n_steps:
                figures, routing = self._held_out(N_IN_CURVE)
                n_samples = (step + 1) * BATCH * CONTEXT
                yield Point(n_samples, (step + 1) / n_steps, **figures, routing=routing)

    def verdict(self) -> tuple[dict[str, float], dict[str, float]]:
        """Evaluate on more held-out pieces."""
        places = torch.linspace(0, len(self._text.held_out) - CONTEXT - 1, BATCH).long()
        inputs = _pieces(self._text.held_out, places)[:, :-1]
        self.cost.measure(self.model, inputs, torch.ones_like(inputs, dtype=torch.bool))
        return self._held_out(N_IN_VERDICT)

    def _ask(self, pieces: Tensor) -> Answered:
        logits = self.model(pieces[:, :-1]).flatten(0, 1)
        return logits, F.cross_entropy(logits, pieces[:, 1:].flatten().long(), reduction="none"), None

    def _held_out(self, n_pieces: int) -> tuple[dict[str, float], dict[str, float]]:
        places = torch.linspace(0, len(self._text.held_out) - CONTEXT - 1, n_pieces).long()
        loss, n_right, n_bytes = 0.0, 0, 0
        results = []
        with torch.no_grad():
            for some in places.split(4 * BATCH):
                pieces = _pieces(self._text.held_out, some)
                logits, losses, of_layers = asked(self.model, partial(self._ask, pieces))
                results += of_layers
                loss += losses.sum().item()
                n_right += int((logits.argmax(-1) == pieces[:, 1:].flatten()).sum())
                n_bytes += len(losses)
        return {"accuracy": n_right / n_bytes, "loss": loss / n_bytes}, routing_figures(self._setup, results)


def _pieces(text: Tensor, places: Tensor) -> Tensor:
    """Return the context at each place and the byte after it, shape (n, CONTEXT + 1)."""
    return text[places[:, None] + torch.arange(CONTEXT + 1)]
