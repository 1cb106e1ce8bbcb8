"""Experiment `drift`: a small mixture of experts on a drifting stream of handwritten digits, test-then-train.

The digits are scikit-learn's 1 797 pictures of 8 × 8 pixels. A stream has five concepts, which differ in the order of
the pixels (`drift-permutation`), the rotation of the picture (`drift-rotation`) or the labels of the digits
(`drift-labels`). A third of the digits is held out to measure forgetting as in Chaudhry et al. 2018 (arXiv 1801.10112),
eq. 3. For each concept except the last, this is the best accuracy at the end of an earlier concept minus the accuracy
at the end of the stream. It is not measured for `drift-labels`, where a picture has another label in each concept.

The width of experts is chosen so that all policies aim to use the same number of hidden units: experts of `TopK(1)`
have twice the hidden units of those of `TopK(2)`, and experts of `Dense` a quarter.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator, Sequence
from statistics import fmean
from typing import Any, Literal

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor, nn

from driftmoe.extras import install
from driftmoe.metrics import drift_recovery
from driftmoe.neural.runs import Answered, Cost, Point, feed_forward, learn, routing_figures, seeded
from driftmoe.neural.setups import Setup

N_CONCEPTS = 5
BATCH = 16
"""Number of digits that are predicted, then learnt, at once."""

WIDTH, N_HIDDEN, RATE = 64, 64, 3e-3
"""Width of the network, hidden units used for a picture if the router is balanced, and step size of Adam."""

STRIDE = 20
"""Mini-batches between two measurements of the cost, and in each window from which recovery is computed."""

SETTINGS = {"width": WIDTH, "n_hidden": N_HIDDEN, "batch": BATCH, "rate": RATE, "n_concepts": N_CONCEPTS}
PACKAGES = ("scikit-learn",)

Kind = Literal["permutation", "rotation", "labels"]


@functools.cache
def digits() -> tuple[Tensor, Tensor, Tensor]:
    """Return pictures, shape (n, 8, 8), from 0 to 1, labels, and a mask of held-out pictures (every third)."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise ValueError(f"the experiment drift needs scikit-learn's digits; {install('drift')}") from None
    loaded = load_digits()
    pictures = torch.tensor(loaded.images, dtype=torch.float32) / 16.0
    return pictures, torch.tensor(loaded.target), torch.arange(len(pictures)) % 3 == 0


def settings(name: str) -> dict[str, Any]:
    """Return the sizes of the experiment, in a form that JSON can hold."""
    return SETTINGS


def opened(name: str, limit: int | None, seed: int) -> Drifting:
    """Return the stream with this kind of drift, length and seed."""
    kind: Any = name.removeprefix("drift-")
    return Drifting(kind, seed, Drifting.n_steps if limit is None else limit)


class Drifting:
    """A stream of digits with five concepts of equal length.

    Parameters
    ----------
    kind
        What changes from one concept to the next.
    seed
        Seed of the permutations and of the order of the digits.
    n_steps
        Length, in mini-batches.
    """

    n_steps = 1000

    def __init__(self, kind: Kind, seed: int, n_steps: int) -> None:
        if n_steps < N_CONCEPTS:
            raise ValueError(f"steps={n_steps} for {N_CONCEPTS} concepts; choose at least one for each")
        self.kind, self.seed, self.n_steps = kind, seed, n_steps
        self.starts = [i * n_steps // N_CONCEPTS for i in range(N_CONCEPTS)]
        self.drifts: Sequence[tuple[int, int]] = [(start * BATCH, 1) for start in self.starts[1:]]
        generator = torch.Generator().manual_seed(seed)
        size = 64 if kind == "permutation" else 10
        drawn = [torch.randperm(size, generator=generator) for _ in self.starts[1:]]
        self._orders = [torch.arange(size), *drawn]
        self._generator_state = generator.get_state()

    def concept(self, index: int, *, is_held_out: bool) -> tuple[Tensor, Tensor]:
        """Return all digits of a concept: inputs, shape (n, 64), and labels."""
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
        """Return the training of a new network; `n_steps` is that of the stream."""
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
    """A linear layer, a residual layer of experts, and an output layer: inputs (n, 64), logits (n, 10)."""

    def __init__(self, setup: Setup, seed: int) -> None:
        super().__init__()
        self.reads, self.norm, self.says = nn.Linear(64, WIDTH), nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 10)
        self.experts = feed_forward(setup, WIDTH, max(round(N_HIDDEN / setup.n_active), 1), seed=seed)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        x = F.relu(self.reads(x))
        return self.says(x + self.experts(self.norm(x)))


class TrainingOnDigits:
    """Test-then-train on mini-batches: each is predicted, then learnt."""

    def __init__(self, stream: Drifting, setup: Setup, seed: int) -> None:
        self._stream, self._setup, self.cost = stream, setup, Cost()
        self.model = seeded(lambda: DigitNetwork(setup, seed), seed)
        self._optimiser = torch.optim.Adam(self.model.parameters(), lr=RATE)
        self._sums: dict[str, float] = {}
        self._accuracies: list[float] = []
        self._held_out: list[list[float]] = []

    def points(self, n_steps: int, window: int) -> Iterator[Point]:
        """Train on the stream, and yield a point for each window."""
        sums: dict[str, float] = {}
        n = 0
        for step, (inputs, labels) in enumerate(self._stream.batches()):
            if step in self._stream.starts[1:]:
                self._held_out.append(self._of_concepts())
            if step % STRIDE == 0:
                self.cost.measure(self.model, inputs, torch.ones(len(inputs), dtype=torch.bool))
            answers, losses, results = learn(
                self.model, self._optimiser, self._setup, step, functools.partial(self._ask, inputs, labels)
            )
            routing = routing_figures(self._setup, results)
            is_right = (answers.argmax(-1) == labels).double()
            figures = {"accuracy": is_right.mean().item(), "loss": losses.mean().item(), **routing}
            for name, value in figures.items():
                sums[name] = sums.get(name, 0.0) + value
                self._sums[name] = self._sums.get(name, 0.0) + value
            self._accuracies.append(figures["accuracy"])
            n += 1
            if (step + 1) % window == 0 or step + 1 == n_steps:
                of_window = {name: value / n for name, value in sums.items()}
                accuracy, loss = of_window.pop("accuracy"), of_window.pop("loss")
                yield Point((step + 1) * BATCH, (step + 1) / n_steps, accuracy, loss, of_window)
                sums, n = {}, 0
        self._held_out.append(self._of_concepts())

    def verdict(self) -> tuple[dict[str, float], dict[str, float]]:
        """Return online accuracy and loss, cost of drifts, final accuracy on all concepts, forgetting, and routing."""
        routing = {name: value / len(self._accuracies) for name, value in self._sums.items()}
        figures = {"accuracy": routing.pop("accuracy"), "loss": routing.pop("loss")}
        windows = [self._accuracies[i : i + STRIDE] for i in range(0, len(self._accuracies), STRIDE)]
        ends = [BATCH * min((i + 1) * STRIDE, len(self._accuracies)) for i in range(len(windows))]
        drifts = drift_recovery(ends, [fmean(window) for window in windows], self._stream.drifts)
        if drifts:
            length = BATCH * len(self._accuracies) / N_CONCEPTS
            figures["mistakes_per_drift"] = fmean(drift.mistakes for drift in drifts)
            figures["recovery"] = fmean(
                length if drift.samples is None else drift.samples for drift in drifts
            )
        if self._stream.kind != "labels":
            at_ends = torch.tensor(self._held_out)  # [after which concept, of which concept]
            figures["retained"] = at_ends[-1].mean().item()
            figures["forgetting"] = (at_ends[:-1].amax(0) - at_ends[-1])[:-1].mean().item()
        return figures, routing

    def _ask(self, inputs: Tensor, labels: Tensor) -> Answered:
        logits = self.model(inputs)
        return logits, F.cross_entropy(logits, labels, reduction="none"), None

    def _of_concepts(self) -> list[float]:
        """Return the accuracy on the held-out digits of each concept."""
        accuracies = []
        with torch.no_grad():
            for index in range(N_CONCEPTS):
                inputs, labels = self._stream.concept(index, is_held_out=True)
                accuracies.append((self.model(inputs).argmax(-1) == labels).double().mean().item())
        return accuracies
