"""Common parts of the experiments: layers, training steps, costs, runs and their results."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.metadata import version
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop

from driftmoe import experiment
from driftmoe.experiment import CheckpointFolder, News, Run
from driftmoe.neural.setups import N_ACTIVE, N_EXPERTS, Setup
from driftmoe.neural.variants import EXPERIMENTS, is_known
from driftmoe.nn import (
    ChainedMoE,
    FeedForwardExperts,
    MoELayer,
    MoEOutput,
    RecurrentLayers,
    count_parameters,
    record,
)
from driftmoe.nn.injecting import Injected
from driftmoe.nn.moe import make_router
from driftmoe.routing import Dense, at_step

N_POINTS = 20
"""Number of points of a curve."""


@dataclass(frozen=True)
class Point:
    """Figures of a run at the end of a window.

    Attributes
    ----------
    n_samples
        Number of bytes, lines, pictures or other samples learnt so far.
    share
        Share of the run that is done, from 0 to 1.
    accuracy
        Accuracy on held-out samples, or on a stream's samples in the window; a share. In `conflict`, the share of the
        wanted change that is explained.
    loss
        Mean cross-entropy on the same samples, in nats. In `conflict`, the share of the change that is not explained.
    routing
        Figures of the routing on the same samples, as `routing_figures` returns them.
    """

    n_samples: int
    share: float
    accuracy: float
    loss: float
    routing: Mapping[str, float]


def _grouped_mm_flops(rows: Sequence[int], weights: Sequence[int], *_: Any, **__: Any) -> int:
    return 2 * math.prod(rows) * weights[-1]


FLOPS = {
    torch.ops.aten._grouped_mm: _grouped_mm_flops,
    torch.ops.driftmoe.segment_mm: _grouped_mm_flops,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: lambda q, k, v, *_, **__: sdpa_flop(q, k, v),
}
"""Operations that torch's counter does not know."""


class Cost:
    """Mean cost of a row in the forward pass of a model.

    Attributes
    ----------
    flops
        Floating-point operations of matrix products per row, as they were executed.
    expert_flops
        Floating-point operations that the experts chosen for a row need, even if more were executed.
    n_active
        Number of parameters that are used for a row.
    """

    def __init__(self) -> None:
        self.flops = self.expert_flops = self.n_active = 0.0
        self._n_rows = 0

    def measure(self, model: nn.Module, inputs: Any, rows: Tensor) -> None:
        """Run the model on inputs. `rows`, bool, marks the rows that count, in the shape of the experts' rows."""
        counter = FlopCounterMode(display=False, custom_mapping=FLOPS)
        with torch.no_grad(), counter, record(model) as records:
            model(inputs)
        counting = [(name, replace(result, rows=rows)) for name, result in records]
        expert_flops = 0.0
        for name, result in counting:
            experts = model.get_submodule(name).get_submodule("experts")
            weights = [p for p in experts.parameters() if p.dim() == 3]  # (n_experts, n_in, n_out): no biases
            of_one = 2 * sum(p[0].numel() for p in weights)
            expert_flops += of_one * _of_rows(result, "n_used").sum().item()
        n_rows = int(rows.sum())
        self._n_rows += n_rows
        share = n_rows / self._n_rows
        self.flops += (counter.get_total_flops() / n_rows - self.flops) * share
        self.expert_flops += (expert_flops / n_rows - self.expert_flops) * share
        self.n_active += (count_parameters(model, counting).active - self.n_active) * share


class Training(Protocol):
    """A model, its data and its optimiser."""

    model: nn.Module
    cost: Cost

    def points(self, n_steps: int, window: int) -> Iterator[Point]:
        """Train for `n_steps` steps, and yield a point every `window` steps and at the end."""

    def verdict(self) -> tuple[dict[str, float], dict[str, float]]:
        """Return the figures of the whole run, including `accuracy` and `loss`, and those of its routing."""


class Experiment(Protocol):
    """Data, and models to train on them."""

    drifts: Sequence[tuple[int, int]]
    n_steps: int

    def fingerprint(self) -> str:
        """Return a hash of the data."""

    def start(self, setup: Setup, seed: int, n_steps: int) -> Training:
        """Return the training of a new model."""


def routing_figures(setup: Setup, results: Sequence[MoEOutput]) -> dict[str, float]:
    """Return means over rows and layers: experts used, entropy, share of null experts. Empty without a policy."""

    def mean(name: str) -> float:
        return torch.cat([_of_rows(result, name).double() for result in results]).mean().item()

    return {} if setup.policy is None else {name: mean(of) for name, of in OF_ROUTING.items()}


OF_ROUTING = {"experts_used": "n_used", "entropy": "entropy", "null_share": "null_share"}
"""Figure -> attribute of `driftmoe.routing.Routing`."""


def used_by_layer(setup: Setup, results: Sequence[MoEOutput], n_layers: int) -> dict[str, float]:
    """Return the experts that rows use in each layer; `results` go through the layers batch after batch."""
    return (
        {}
        if setup.policy is None
        else {
            f"experts_used_layer_{i + 1}": routing_figures(setup, results[i::n_layers])["experts_used"]
            for i in range(n_layers)
        }
    )


def _of_rows(result: MoEOutput, name: str) -> Tensor:
    values: Tensor = getattr(result.routing, name)
    values = values.expand(result.routing.mask.shape[:-1])
    return values.flatten() if result.rows is None else values[result.rows]


def feed_forward(
    setup: Setup, n_features: int, n_hidden: int, seed: int, state: RecurrentLayers | None = None
) -> nn.Module:
    """Return a layer of experts with `n_hidden` units each, or a single network as wide as `N_ACTIVE` of them.

    `state` is what all layers of a model share whose routers are recurrent.
    """
    if setup.policy is None:
        one = FeedForwardExperts(1, n_features, N_ACTIVE * n_hidden, activation="gelu", bias=True, seed=seed)
        return Injected(MoELayer(_no_choice, one, Dense()))
    experts = FeedForwardExperts(N_EXPERTS, n_features, n_hidden, activation="gelu", bias=True, seed=seed)
    policy = at_step(setup.policy, 0)
    if setup.is_recurrent:
        shared = state or RecurrentLayers(policy)
        return Injected(MoELayer(shared.router(n_features, N_EXPERTS, seed=seed), experts, policy))
    routers = [
        make_router(setup.router, experts.w_in.mT, N_EXPERTS, policy, seed + 500 * step)
        for step in range(setup.n_steps)
    ]
    if setup.n_steps > 1:
        return Injected(ChainedMoE(routers, MoELayer(None, experts, policy)))
    layer = MoELayer(routers[0], experts, policy)
    setup.balance([layer])
    return Injected(layer)


def _no_choice(x: Tensor) -> Tensor:
    return x.new_zeros((*x.shape[:-1], 1))


def seeded(make: Callable[[], nn.Module], seed: int) -> nn.Module:
    """Return a module with weights drawn from this seed. The state of torch's global generator does not change."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


Answered = tuple[Tensor, Tensor, Tensor | None]
"""For a mini-batch: answers, the loss of each row, and a mask of the experts' rows that count (`None` for all)."""


def learn(
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    setup: Setup,
    step: int,
    ask: Callable[[], Answered],
) -> tuple[Tensor, Tensor, list[MoEOutput]]:
    """Take one optimiser step. Return the answers, losses and results of layers from before the step.

    Parameters
    ----------
    ask
        Calls the model on the mini-batch.
    """
    policy = setup.policy
    if policy is not None and step and at_step(policy, step) != at_step(policy, step - 1):
        for module in model.modules():
            if isinstance(module, MoELayer):
                module.policy = at_step(policy, step)
    with record(model) as records:
        answers, losses, rows = ask()
    results = _counting(records, rows)
    optimiser.zero_grad(set_to_none=True)
    (losses.mean() + setup.loss(results)).backward()
    nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], 1.0)
    optimiser.step()
    for (name, _), result in zip(records, results, strict=True):
        layer = model.get_submodule(name)
        if isinstance(layer, MoELayer) and layer.balancer is not None:
            layer.balancer.update(result.load)
    return answers.detach(), losses.detach(), results


def asked(model: nn.Module, ask: Callable[[], Answered]) -> tuple[Tensor, Tensor, list[MoEOutput]]:
    """Return answers, losses, and the results of the layers of experts for the rows that count."""
    with record(model) as records:
        answers, losses, rows = ask()
    return answers, losses, _counting(records, rows)


def _counting(records: Sequence[tuple[str, MoEOutput]], rows: Tensor | None) -> list[MoEOutput]:
    """Return results in which these rows count."""
    return [result if rows is None else replace(result, rows=rows) for _, result in records]


def warm_then_cosine(optimiser: torch.optim.Optimizer, n_steps: int) -> torch.optim.lr_scheduler.LambdaLR:
    """Return a schedule: the step size rises over the first twentieth of the steps, then falls to 10% by a cosine."""
    n_warm = max(n_steps // 20, 1)

    def factor(step: int) -> float:
        along = min(max(step - n_warm, 0) / max(n_steps - n_warm, 1), 1.0)
        return min((step + 1) / n_warm, 1.0) * (0.55 + 0.45 * math.cos(math.pi * along))

    return torch.optim.lr_scheduler.LambdaLR(optimiser, factor)


@dataclass(frozen=True)
class NeuralRun(Run):
    """A run of a neural experiment: `stream` is the name of the experiment, `model` the text of a `Setup`.

    `limit` is the number of optimiser steps, `window` the number of steps between two points of the curve.

    Examples
    --------
    >>> from driftmoe.neural import NeuralRun, open_experiment
    >>> tasks = open_experiment("conflict-mean", 4, 1)
    >>> run = NeuralRun("conflict-mean", tasks.fingerprint(), "TopK(2)", 1, 4, 2)
    >>> *shares, (result, curve) = run.do(tasks)
    >>> shares, result["n_samples"], result["routing"]["experts_used"]
    ([0.5, 1.0], 1024, 2.0)
    """

    def parameters(self) -> dict[str, Any]:
        """Return the setup and the sizes of the experiment, in a form that JSON can hold."""
        setup = Setup.parsed(self.model)
        routes = {"policy": repr(setup.policy), "router": setup.router, "losses": dict(setup.losses)}
        return routes | {"n_experts": N_EXPERTS} | _module(self.stream).settings(self.stream)

    def do(
        self, stream: Experiment, checkpoints: CheckpointFolder | None = None, *, is_alone: bool = True
    ) -> Iterator[News]:
        """Train a model, as in `Run.do`. `stream` is the experiment that `open_experiment` returns.

        `is_alone` changes nothing, because no energy is measured.

        Raises
        ------
        ValueError
            If there are `checkpoints`: a neural run has none.
        """
        if checkpoints is not None:
            raise ValueError(
                f"checkpoints={checkpoints.path} is given, but a neural run has none; leave it out"
            )
        experiment.check_fingerprint(self, stream)
        torch.set_num_threads(1)  # running several seeds at once uses the cores better
        n_steps = self.limit or stream.n_steps
        training = stream.start(Setup.parsed(self.model), self.seed, n_steps)
        curve: list[dict[str, Any]] = []
        start, cpu_start = time.perf_counter(), time.process_time()
        for point in training.points(n_steps, self.window):
            curve.append(self._curve_point(point))
            yield point.share
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu_start
        figures, of_routing = training.verdict()
        cost, parameters = training.cost, count_parameters(training.model)
        n_bytes = sum(
            tensor.numel() * tensor.element_size() for tensor in training.model.state_dict().values()
        )
        of_trees = dict.fromkeys(("best_single", "oracle_gap", "missed", "n_replaced"))
        packages = {package: version(package) for package in _module(self.stream).PACKAGES}
        result = {
            "stream": self.stream,
            "model": self.model,
            "seed": self.seed,
            "n_samples": point.n_samples,
            **figures,
            "flops": cost.flops,
            "expert_flops": cost.expert_flops,
            "n_active": round(cost.n_active),
            "n_parameters": parameters.total,
            "n_trainable": parameters.trainable,
            "samples_per_second": point.n_samples / seconds,
            "seconds": seconds,
            "cpu_seconds": cpu,
            "ram_hours": n_bytes / 1e9 * seconds / 3600,
            "model_bytes": n_bytes,
            **({"routing": of_routing | of_trees} if of_routing else {}),
            "kind": "neural",
            "complete": True,
            "limit": self.limit,
            "window": self.window,
            "delay": self.delay,
            "parameters": self.parameters(),
            "stream_length": None,
            "stream_sha256": self.stream_sha256,
            "drifts": [list(drift) for drift in stream.drifts],
            "versions": experiment.versions() | packages,
            "commit": experiment.commit(),
        }
        yield result, curve

    def _curve_point(self, point: Point) -> dict[str, Any]:
        return {
            **{name: getattr(self, name) for name in experiment.KEY},
            "n_samples": point.n_samples,
            "accuracy": point.accuracy,
            "loss": point.loss,
            **{f"routing_{name}": value for name, value in point.routing.items()},
        }


def open_experiment(name: str, limit: int | None, seed: int) -> Experiment:
    """Return an experiment by its name.

    Parameters
    ----------
    name
        One of `EXPERIMENTS`, or a variant such as `"lm-small"` or `"adapt-6-dialects"`.
    limit
        Number of optimiser steps; `None` for the experiment's default.
    seed
        Seed of a drifting stream, or of conflicting tasks. `lm` and `adapt` have the same data for all seeds.

    Raises
    ------
    ValueError
        If the name is unknown, there are too few steps, or a required package is not installed.

    Examples
    --------
    >>> from driftmoe.neural import open_experiment
    >>> tasks = open_experiment("conflict-mean", None, 1)
    >>> (tasks.needs > 0).sum(1).tolist()
    [1, 1, 1, 1, 1, 1, 1, 1, 4, 4, 4, 4]
    """
    opened: Experiment = _module(name).opened(name, limit, seed)
    return opened


def _module(name: str) -> Any:
    """Return the module of an experiment, imported late: each needs packages or data that the others do not."""
    if not is_known(name):
        raise ValueError(f"unknown experiment {name!r}; available: {', '.join(EXPERIMENTS)}")
    module = {"lm": "language", "adapt": "adapting", "drift": "drifting", "conflict": "conflicting"}
    return import_module(f"driftmoe.neural.{module[name.partition('-')[0]]}")
