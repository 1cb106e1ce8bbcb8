"""Experiment `drift`: a small mixture of experts on handwritten digits that drift, test-then-train.

The digits are scikit-learn's 1 797 of 8 × 8 pixels. A stream has five concepts; they differ in the order of the pixels
(`drift-permutation`), in how the picture is turned (`drift-rotation`) or in which digit has which label
(`drift-labels`). A third of the digits is held out: with it, forgetting is measured as in Chaudhry et al. 2018 (arXiv
1801.10112), eq. 3: how much worse each concept but the last is answered at the end than it ever was at the end of one.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator, Sequence
from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor, nn

from driftmoe.neural.runs import Answered, Point, Probe, Setup, feed_forward, learn, seeded

N_CONCEPTS = 5
BATCH = 16
"""Digits that are answered, then learnt, at a time."""

WIDTH, N_HIDDEN, RATE = 64, 32, 3e-3
"""Width of the network, of an expert's hidden layer, and step size of Adam."""

Kind = Literal["permutation", "rotation", "labels"]


@functools.cache
def digits() -> tuple[Tensor, Tensor, Tensor]:
    """Return pictures, shape (n, 8, 8) from 0 to 1, labels, and which are held out: every third."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise ValueError(
            "the experiment drift needs scikit-learn's digits; pip install 'driftmoe[drift]', or '.[drift]' from a "
            "clone"
        ) from None
    loaded = load_digits()
    pictures = torch.tensor(loaded.images, dtype=torch.float32) / 16.0
    return pictures, torch.tensor(loaded.target), torch.arange(len(pictures)) % 3 == 0


class Drifting:
    """A stream of digits with five concepts of equal length.

    Parameters
    ----------
    kind
        What changes from one to the next.
    seed
        Of the permutations and the order of the digits.
    n_steps
        Length, in mini-batches.
    """

    unit = "picture"
    n_steps = 1000

    def __init__(self, kind: Kind, seed: int, n_steps: int) -> None:
        self.kind, self.seed, self.n_steps = kind, seed, n_steps
        self.starts = [i * n_steps // N_CONCEPTS for i in range(N_CONCEPTS)]
        self.drifts: Sequence[tuple[int, int]] = [(start * BATCH, 1) for start in self.starts[1:]]
        generator = torch.Generator().manual_seed(seed)
        size = 64 if kind == "permutation" else 10
        drawn = [torch.randperm(size, generator=generator) for _ in self.starts[1:]]
        self._orders = [torch.arange(size), *drawn]
        self._generator_state = generator.get_state()

    def concept(self, index: int, *, is_held_out: bool) -> tuple[Tensor, Tensor]:
        """Return all digits as they are in a concept: inputs, shape (n, 64), and labels."""
        pictures, labels, held_out = digits()
        rows = held_out == is_held_out
        pictures, labels = pictures[rows], labels[rows]
        if self.kind == "rotation":
            return _turned(pictures, 360.0 * index / N_CONCEPTS).flatten(1), labels
        if self.kind == "labels":
            return pictures.flatten(1), self._orders[index][labels]
        return pictures.flatten(1)[:, self._orders[index]], labels

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield mini-batches of digits drawn with replacement, concept after concept."""
        generator = torch.Generator()
        generator.set_state(self._generator_state)
        ends = [*self.starts[1:], self.n_steps]
        for index, (start, end) in enumerate(zip(self.starts, ends, strict=True)):
            inputs, labels = self.concept(index, is_held_out=False)
            for _ in range(start, end):
                rows = torch.randint(len(labels), (BATCH,), generator=generator)
                yield inputs[rows], labels[rows]

    def fingerprint(self) -> str:
        """Return a hash of digits, drifts and order."""
        pictures, labels, _ = digits()
        digest = hashlib.sha256(pictures.numpy().tobytes() + labels.numpy().tobytes())
        digest.update(f"{self.kind} {self.seed} {self.n_steps} {self._orders}".encode())
        return digest.hexdigest()

    def start(self, setup: Setup, seed: int, n_steps: int) -> TrainingOnDigits:
        """Return a new network and what trains it; `n_steps` is the stream's own."""
        return TrainingOnDigits(self, setup, seed)


def _turned(pictures: Tensor, degrees: float) -> Tensor:
    angle = torch.deg2rad(torch.tensor(degrees))
    turn = torch.stack(
        [angle.cos(), -angle.sin(), torch.zeros(()), angle.sin(), angle.cos(), torch.zeros(())]
    )
    grid = F.affine_grid(
        turn.view(1, 2, 3).expand(len(pictures), 2, 3), [len(pictures), 1, 8, 8], align_corners=False
    )
    return F.grid_sample(pictures[:, None], grid, align_corners=False)[:, 0]


class DigitNetwork(nn.Module):
    """A linear layer, a layer of experts added to it, and logits: inputs of shape (n, 64), logits (n, 10)."""

    def __init__(self, setup: Setup, seed: int) -> None:
        super().__init__()
        self.reads, self.norm, self.says = nn.Linear(64, WIDTH), nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 10)
        self.experts = feed_forward(setup, WIDTH, N_HIDDEN, seed=seed)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        x = F.relu(self.reads(x))
        return self.says(x + self.experts(self.norm(x)))


class TrainingOnDigits:
    """Each mini-batch is answered, then learnt: what counts are the answers before."""

    def __init__(self, stream: Drifting, setup: Setup, seed: int) -> None:
        self._stream, self._setup = stream, setup
        self.model = seeded(lambda: DigitNetwork(setup, seed), seed)
        self._optimiser = torch.optim.Adam(self.model.parameters(), lr=RATE)
        self._sums: dict[str, float] = {}
        self._n_batches = 0
        self._held_out: list[list[float]] = []

    def points(self, n_steps: int, window: int) -> Iterator[Point]:
        """Go along the stream, and tell of each window."""
        sums: dict[str, float] = {}
        n = 0
        for step, (inputs, labels) in enumerate(self._stream.batches()):
            if step in self._stream.starts[1:]:
                self._held_out.append(self._of_concepts())
            answers, losses, routing = learn(
                self.model, self._optimiser, self._setup, step, functools.partial(self._ask, inputs, labels)
            )
            is_right = (answers.argmax(-1) == labels).double()
            figures = {"accuracy": is_right.mean().item(), "loss": losses.mean().item(), **routing}
            for name, value in figures.items():
                sums[name] = sums.get(name, 0.0) + value
                self._sums[name] = self._sums.get(name, 0.0) + value
            n += 1
            self._n_batches += 1
            if (step + 1) % window == 0 or step + 1 == n_steps:
                of_window = {name: value / n for name, value in sums.items()}
                accuracy, loss = of_window.pop("accuracy"), of_window.pop("loss")
                yield Point((step + 1) * BATCH, (step + 1) / n_steps, accuracy, loss, of_window)
                sums, n = {}, 0
        self._held_out.append(self._of_concepts())

    def verdict(self) -> tuple[dict[str, float], dict[str, float]]:
        """Return online accuracy and loss, the held-out accuracy over all concepts at the end, and forgetting."""
        routing = {name: value / self._n_batches for name, value in self._sums.items()}
        figures = {"accuracy": routing.pop("accuracy"), "loss": routing.pop("loss")}
        at_ends = torch.tensor(self._held_out)  # [after which concept, of which concept]
        before = at_ends[:-1].amax(0)[:-1]
        figures["retained"] = at_ends[-1].mean().item()
        figures["forgetting"] = (before - at_ends[-1, :-1]).mean().item()
        return figures, routing

    def probe(self) -> Probe:
        """Return the held-out digits of the first concept."""
        inputs, labels = self._stream.concept(0, is_held_out=True)
        return Probe(inputs, len(labels))

    def _ask(self, inputs: Tensor, labels: Tensor) -> Answered:
        logits = self.model(inputs)
        return logits, F.cross_entropy(logits, labels, reduction="none"), None

    def _of_concepts(self) -> list[float]:
        """Return the accuracy on the held-out digits as they are in each concept."""
        accuracies = []
        with torch.no_grad():
            for index in range(N_CONCEPTS):
                inputs, labels = self._stream.concept(index, is_held_out=True)
                accuracies.append((self.model(inputs).argmax(-1) == labels).double().mean().item())
        return accuracies
