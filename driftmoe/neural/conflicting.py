"""Experiment `conflict`: LoRA experts around one frozen layer, for twelve tasks that want it changed in different ways.

The layer is linear, y = W x with 64 inputs and outputs. Task t wants y = W x + D_t x. There are eight components, maps
of rank 4 with orthonormal inputs and outputs that no two of them share. D_t is one component in each of eight easy
tasks, and a combination of four in each of four hard tasks. All tasks read the same directions of x, so that one map
cannot serve them all: the best leaves 7/9 of the change unexplained in `conflict-equal`, 5/6 in `conflict-mean`. An
expert has the rank of a component, and there are as many experts as components: an easy task needs one expert, a hard
task four. The task is told by a direction of x of its own, which components do not read.

How large a hard task's change is decides which weights can make it from experts that also serve easy tasks:

- `conflict-mean`: the mean of the four components. Weights that sum to 1 can do it.
- `conflict-equal`: half their sum, which makes all changes equally large. Four experts of weight 1/4 would have to be
  twice as large as an easy task needs them.

A sample's figures are squared errors over the squared size of the change. The unexplained share is 1 for the frozen
layer alone, and may be above 1.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from driftmoe.neural.runs import (
    Answered,
    Cost,
    Point,
    asked,
    learn,
    routing_figures,
    seeded,
    warm_then_cosine,
)
from driftmoe.neural.setups import N_EXPERTS, Setup
from driftmoe.nn import inject, lora_layer
from driftmoe.routing import Dense, at_step

N_EASY, N_HARD = 8, 4
N_TASKS = N_EASY + N_HARD

WIDTH, RANK = 64, 4
"""Inputs and outputs of the layer; rank of a component and of an expert. One LoRA has `N_EXPERTS` times this rank."""

N_NEEDED = 4
"""Components of a hard task."""

CUE = 4.0
"""Length of x along the direction that tells the task. In each other direction it has a deviation of 1."""

BATCH, RATE = 256, 1e-2
"""Samples per step, and largest step size."""

N_HELD_OUT = 256
"""Held-out samples of each task."""

SETTINGS = {
    "width": WIDTH, "rank": RANK, "n_easy": N_EASY, "n_hard": N_HARD, "cue": CUE, "batch": BATCH, "rate": RATE,
    "n_held_out": N_TASKS * N_HELD_OUT,
}  # fmt: skip
PACKAGES = ()

Kind = Literal["equal", "mean"]


def settings(name: str) -> dict[str, Any]:
    """Return the sizes of the experiment, in a form that JSON can hold."""
    return SETTINGS


def opened(name: str, limit: int | None, seed: int) -> Conflict:
    """Return the tasks of this kind and seed, which are the same for all limits."""
    kind: Any = name.removeprefix("conflict-")
    return Conflict(kind, seed)


class Conflict:
    """Twelve tasks on one layer.

    Parameters
    ----------
    kind
        `"mean"` if a hard task's change is the mean of its four components, `"equal"` if it is half their sum.
    seed
        Seed of components and tasks, and of the samples.

    Attributes
    ----------
    frozen
        Weight of the layer, shape (64, 64).
    components
        Shape (8, 64, 64), each of rank 4.
    needs
        Factors of the components in each task, shape (12, 8); easy tasks come first.
    changes
        What the tasks add to the weight of the layer, shape (12, 64, 64).
    """

    n_steps = 800
    drifts: Sequence[tuple[int, int]] = ()

    def __init__(self, kind: Kind, seed: int) -> None:
        self.kind, self.seed = kind, seed
        generator = torch.Generator().manual_seed(seed)
        draw = partial(torch.randn, WIDTH, WIDTH, generator=generator)
        self.frozen = draw() / WIDTH**0.5
        # Orthonormal rows. In float64, because the last bits depend on the number of threads.
        inputs, outputs = (torch.linalg.qr(draw().double()).Q.T.float() for _ in range(2))
        self._cues, self._directions = inputs[:N_TASKS], inputs[N_TASKS:]
        read = self._directions[: N_EXPERTS * RANK].unflatten(0, (N_EXPERTS, RANK))
        made = outputs[: N_EXPERTS * RANK].unflatten(0, (N_EXPERTS, RANK))
        self.components = made.mT @ read
        self.needs = torch.zeros(N_TASKS, N_EXPERTS)
        self.needs[:N_EASY] = torch.eye(N_EASY, N_EXPERTS)
        for i in range(0, N_HARD, 2):  # each component is in one of two tasks
            halves = torch.randperm(N_EXPERTS, generator=generator).split(N_NEEDED)
            for task, half in enumerate(halves, start=N_EASY + i):
                self.needs[task, half] = 1 / N_NEEDED if kind == "mean" else N_NEEDED**-0.5
        self.changes = torch.einsum("tc,coi->toi", self.needs, self.components)
        self.held_out = self.of(torch.arange(N_TASKS).repeat(N_HELD_OUT), generator)
        self._generator_state = generator.get_state()

    def of(self, tasks: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Draw a sample of each of these tasks: tasks, inputs, and the changes that they want, shape (n, 64) both."""
        noise = torch.randn(len(tasks), len(self._directions), generator=generator)
        inputs = CUE * self._cues[tasks] + noise @ self._directions
        wanted = torch.zeros_like(inputs)
        for task, change in enumerate(self.changes):
            rows = tasks == task
            wanted[rows] = inputs[rows] @ change.T
        return tasks, inputs, wanted

    def batches(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield mini-batches without end, in which tasks are drawn with replacement."""
        generator = torch.Generator()
        generator.set_state(self._generator_state)
        while True:
            yield self.of(torch.randint(N_TASKS, (BATCH,), generator=generator), generator)

    def fingerprint(self) -> str:
        """Return a hash of what the tasks are drawn from: numbers themselves may differ in their last bits."""
        return hashlib.sha256(f"conflict {self.kind} {self.seed} {SETTINGS}".encode()).hexdigest()

    def start(self, setup: Setup, seed: int, n_steps: int) -> TrainingOnTasks:
        """Return the training of new experts around the layer."""
        return TrainingOnTasks(self, setup, seed, n_steps)


class TrainingOnTasks:
    """Training on all tasks at once. Every setup with a seed gets the same samples."""

    def __init__(self, data: Conflict, setup: Setup, seed: int, n_steps: int) -> None:
        self._data, self._setup, self.cost = data, setup, Cost()
        self.model = seeded(lambda: self._new_model(seed), seed)
        self._optimiser = torch.optim.AdamW(
            [p for p in self.model.parameters() if p.requires_grad], lr=RATE, weight_decay=0.0
        )
        self._rates = warm_then_cosine(self._optimiser, n_steps)
        self._size = data.changes.square().sum((-2, -1)).mean()  # mean square of a wanted change

    def _new_model(self, seed: int) -> nn.Module:
        layer = nn.Linear(WIDTH, WIDTH, bias=False)
        layer.weight.data.copy_(self._data.frozen)
        model = nn.Sequential(OrderedDict(layer=layer))
        policy, rank, n_experts = self._setup.policy, RANK, N_EXPERTS
        if policy is None:
            policy, rank, n_experts = Dense(), RANK * N_EXPERTS, 1  # a single LoRA with weight 1
        else:
            policy = at_step(policy, 0)
        make = partial(lora_layer, policy=policy, rank=rank, router=self._setup.router)
        layers = inject(model, "layer", make, n_experts=n_experts, seed=1000 * seed)
        self._setup.balance(layers.values())
        return model

    def points(self, n_steps: int, window: int) -> Iterator[Point]:
        """Train, and evaluate on the held-out samples at the end of each window."""
        for step, (_, inputs, wanted) in zip(range(n_steps), self._data.batches(), strict=False):
            learn(self.model, self._optimiser, self._setup, step, partial(self._ask, inputs, wanted))
            self._rates.step()
            if (step + 1) % window == 0 or step + 1 == n_steps:
                figures, routing = self._held_out()
                accuracy, loss = figures["accuracy"], figures["loss"]
                yield Point((step + 1) * BATCH, (step + 1) / n_steps, accuracy, loss, routing)

    def verdict(self) -> tuple[dict[str, float], dict[str, float]]:
        """Return the share of the change that is explained (accuracy), and what is not: of all, easy, hard tasks."""
        _, inputs, _ = self._data.held_out
        self.cost.measure(self.model, inputs, torch.ones(len(inputs), dtype=torch.bool))
        return self._held_out()

    def _held_out(self) -> tuple[dict[str, float], dict[str, float]]:
        tasks, inputs, wanted = self._data.held_out
        with torch.no_grad():
            answers, _, results = asked(self.model, partial(self._ask, inputs, wanted))
        errors, sizes = ((x * x).sum(-1).double() for x in (wanted - answers, wanted))
        loss = (errors.sum() / sizes.sum()).item()
        figures = {"accuracy": 1.0 - loss, "loss": loss}
        routing = routing_figures(self._setup, results)
        for name, rows in (("easy", tasks < N_EASY), ("hard", tasks >= N_EASY)):
            figures[f"unexplained_{name}"] = (errors[rows].sum() / sizes[rows].sum()).item()
            of_part = routing_figures(self._setup, [replace(result, rows=rows) for result in results])
            if of_part:
                routing[f"experts_used_{name}"] = of_part["experts_used"]
        return figures, routing

    def _ask(self, inputs: Tensor, wanted: Tensor) -> Answered:
        """Return the change that is made, and squared errors in units of the mean square of a wanted change."""
        made = self.model(inputs) - inputs @ self._data.frozen.T
        return made, (made - wanted).square().sum(-1) / self._size, None
