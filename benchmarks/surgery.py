"""Surgery on trained language models: half of the experts, other numbers at inference, three values for weights.

    python -m benchmarks.surgery            # the seeds that are missing; then the tables
    python -m benchmarks.surgery --report   # no training: the tables of the lines in --lines

For each seed three models of `driftmoe neural lm --size small` are trained, for 800 steps. From the one with `TopK(2)`
the half of the experts of each layer is taken away in several ways, by what they do on 16,384 bytes of training text.
Each way is measured on held-out text at once, and after 100 more steps, as is the whole model. How far a number of
experts can be chosen after training is measured on the same model, on one whose random router does not learn, and on
one whose random router chooses more and more experts, as in SMoE-Dropout. At last what training changed is turned to
three values, and so are the adapters of `driftmoe neural conflict`, whose loss is the unexplained share.

A seed takes some minutes. Its lines are added to `--lines` when it is done, and a seed that is there is not repeated.
"""

from __future__ import annotations

import argparse
import copy
import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import torch
from torch import nn

from driftmoe.neural.conflicting import Conflict
from driftmoe.neural.language import Language, TrainingOfLanguage
from driftmoe.neural.setups import N_EXPERTS, Setup
from driftmoe.neural.variants import language_variant
from driftmoe.nn import MoELayer, record
from driftmoe.nn.surgery import (
    allocate,
    collect,
    compress,
    decompress,
    groups,
    install,
    merge,
    owners,
    peaks,
    prune,
    pruning_costs,
    recombine,
    similarity,
    super_experts,
    usage,
)
from driftmoe.routing import TopK

RESULTS = Path(__file__).parent / "results" / "surgery.jsonl"

N_STEPS = 800
"""Of training."""

N_KEPT = N_EXPERTS // 2
N_DRAWN = 3
"""Random choices of experts that are averaged."""

N_HELD_OUT = 256
"""Pieces of 128 held-out bytes."""

N_HEALING = 100
"""Steps of learning after surgery, at a tenth of the largest step size, as the last ones before it."""

N_PIECES = 128
"""Pieces of training text by which experts are judged."""

SELF_SLIMMING = f"frozen(Scheduled(TopK(2), LinearK(2, {N_EXPERTS}, n_steps={N_STEPS})))"
NUMBERS = (1, 2, 3, 4, 6, 8)
"""Experts at inference."""

DENSITIES = (0.05, 0.1, 0.2, 0.5, 1.0)
"""Shares of the changed numbers that are kept."""

WAYS = {
    "whole": "all eight experts",
    "random": "random experts go",
    "usage": "prune by use",
    "protected": "prune by use, protecting owners and super experts",
    "allocated": "prune by use, number by layer",
    "merged": "merge, aligned",
    "unaligned": "merge, not aligned",
    "recombined": "recombine neurons",
}
"""Way to half of the experts -> its name in the table."""

Judged = dict[str, tuple[MoELayer, torch.Tensor, Any]]
"""Name of a layer -> layer, rows that reach it, usage of its experts."""

Cut = Callable[[], dict[str, MoELayer]]
"""Makes new layers by their names."""


def main() -> None:
    """Do the seeds that are missing, and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=(11, 12, 13), help="default: 11 12 13")
    parser.add_argument("--lines", type=Path, default=RESULTS, help="file of the result lines")
    parser.add_argument("--report", action="store_true", help="do no training")
    arguments = parser.parse_args()
    lines = read(arguments.lines)
    for seed in () if arguments.report else arguments.seeds:
        done = {line["what"] for line in lines if line["seed"] == seed}
        if "adapters" not in done:
            lines += of_adapters(seed, N_STEPS)
        if "number" not in done:
            lines += of_seed(seed, N_STEPS)
        write(lines, arguments.lines)
    print(table_of(lines))


def read(file: Path) -> list[dict[str, Any]]:
    """Return the lines of a file, none if there is no file."""
    return (
        [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []
    )


def write(lines: Sequence[Mapping[str, Any]], file: Path) -> None:
    """Write lines, so that a reader finds the old file or the new one."""
    part = file.with_name(f".{file.name}.part")
    part.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    part.replace(file)


def of_adapters(seed: int, n_steps: int) -> list[dict[str, Any]]:
    """Train the adapters of `conflict-mean`. Return what they leave unexplained, as they are and in three values."""
    torch.set_num_threads(1)
    training = Conflict("mean", seed).start(Setup.parsed("Dense"), seed, n_steps)
    before = copy.deepcopy(training.model.state_dict())
    list(training.points(n_steps, n_steps))
    after = {name: tensor.clone() for name, tensor in training.model.state_dict().items()}
    names = [name for name in after if ".experts." in name]
    base, trained = ({name: state[name] for name in names} for state in (before, after))
    lines = [{"density": None, "loss": training.verdict()[0]["loss"]}]
    for density in DENSITIES:
        packed = compress(trained, density=density, base=base)
        training.model.load_state_dict(after | decompress(packed, base=base))
        lines.append({"density": density, "loss": training.verdict()[0]["loss"]})
    return [{"what": "adapters", "seed": seed, **line} for line in lines]


def of_seed(seed: int, n_steps: int) -> list[dict[str, Any]]:
    """Train the models of a seed, and return all its lines."""
    torch.set_num_threads(1)
    text = Language(language_variant("lm-small"))
    topk, before = trained(text, "TopK(2)", seed, n_steps)
    lines = [{"what": "half", "seed": seed, **line} for line in halves(topk, seed, n_steps)]
    lines += [{"what": "values", "seed": seed, **line} for line in of_values(topk, before)]
    models = {"TopK(2)": topk} | {
        setup: trained(text, setup, seed, n_steps)[0] for setup in ("frozen", SELF_SLIMMING)
    }
    for setup, training in models.items():
        for k in NUMBERS:
            choose(training.model, k)
            lines.append({"what": "number", "seed": seed, "model": setup, "k": k, "loss": loss_of(training)})
    return lines


def trained(
    text: Language, setup: str, seed: int, n_steps: int
) -> tuple[TrainingOfLanguage, dict[str, torch.Tensor]]:
    """Return a finished training, and the weights that its model had before."""
    training = text.start(Setup.parsed(setup), seed, n_steps)
    before = copy.deepcopy(training.model.state_dict())
    for step in range(n_steps):
        training.learn(step)
    return training, before


def loss_of(training: TrainingOfLanguage) -> float:
    """Return the loss on the held-out text, in nats."""
    return training.held_out(N_HELD_OUT)[0]["loss"]


def judged(training: TrainingOfLanguage) -> Judged:
    """Return the layers of a model with the rows of training text that reach them, and the use of their experts."""
    pieces = training.drawn(N_PIECES, torch.Generator().manual_seed(0))
    with (
        torch.no_grad(),
        record(training.model) as records,
        collect(training.model, n_rows=1 << 14) as inputs,
    ):
        training.model(pieces[:, :-1])
    used = usage(records)
    layers = {name: module for name, module in training.model.named_modules() if isinstance(module, MoELayer)}
    return {name: (layer, inputs[name], used[name]) for name, layer in layers.items()}


def halves(training: TrainingOfLanguage, seed: int, n_steps: int) -> Iterator[dict[str, Any]]:
    """Yield the losses of a model with all experts, and with half of them by each way: at once, and after learning."""
    layers = judged(training)
    drawn: list[Cut] = [at_random(layers, 100 * seed + i) for i in range(N_DRAWN)]
    by_way: dict[str, list[Cut]] = {"whole": [dict], "random": drawn}
    by_way |= {name: [cut] for name, cut in ways(layers).items()}
    for way, cuts in by_way.items():
        at_once, healed = [], []
        for cut in cuts:
            changed = copy.copy(training)
            changed.model = copy.deepcopy(training.model)
            if new := cut():
                install(changed.model, new)
            at_once.append(loss_of(changed))
            healed.append(loss_after(changed, seed, n_steps))
        yield {"way": way, "loss": fmean(at_once), "healed": fmean(healed)}


def at_random(layers: Judged, seed: int) -> Cut:
    """Return a way that keeps experts that are drawn."""
    rng = torch.Generator().manual_seed(seed)
    drawn = {name: torch.randperm(N_EXPERTS, generator=rng)[:N_KEPT].tolist() for name in layers}
    return lambda: {name: prune(layer, keep=drawn[name]) for name, (layer, _, _) in layers.items()}


def ways(layers: Judged) -> dict[str, Cut]:
    """Return each way from all experts to half of them: a function that makes the new layers by their names."""
    extreme = super_experts({name: peaks(layer, x) for name, (layer, x, _) in layers.items()})
    held = {name: held_of(layer, x, extreme[name]) for name, (layer, x, _) in layers.items()}
    costs = {name: pruning_costs(layer, x, usage=used) for name, (layer, x, used) in layers.items()}
    numbers = allocate(costs, budget=N_KEPT * len(layers))
    most = {name: sorted(used_most(used)) for name, (_, _, used) in layers.items()}
    alike = {name: groups(similarity(layer, x), used, N_KEPT) for name, (layer, x, used) in layers.items()}

    def each(change: Callable[[str, MoELayer, Any], MoELayer]) -> Cut:
        return lambda: {name: change(name, layer, used) for name, (layer, _, used) in layers.items()}

    return {
        "usage": each(lambda name, layer, used: prune(layer, keep=N_KEPT, usage=used)),
        "protected": each(
            lambda name, layer, used: prune(layer, keep=N_KEPT, usage=used, protect=held[name])
        ),
        "allocated": each(lambda name, layer, used: prune(layer, keep=numbers[name], usage=used)),
        "merged": each(lambda name, layer, used: merge(layer, alike[name], usage=used)),
        "unaligned": each(lambda name, layer, used: merge(layer, alike[name], usage=used, align=False)),
        "recombined": each(lambda name, layer, used: recombine(layer, keep=most[name], usage=used)),
    }


def used_most(used: Any) -> list[int]:
    """Return the half of the experts that is used most."""
    return [int(e) for e in used.share.argsort(descending=True, stable=True)[:N_KEPT]]


def held_of(layer: MoELayer, rows: torch.Tensor, extreme: Sequence[int]) -> tuple[int, ...]:
    """Return the experts that must not go: those of extreme outputs, and owners, as many as may stay.

    Owners are found at the lowest limit of 0.3, 0.4, ... at which they are no more than the half.
    """
    limit = 0.3
    while len(found := tuple(dict.fromkeys((*extreme, *owners(layer, rows, limit=limit))))) > N_KEPT:
        limit += 0.1
    return found


def loss_after(training: TrainingOfLanguage, seed: int, n_steps: int) -> float:
    """Return the held-out loss after some more steps at the last step size, with a new optimiser."""
    training.restart(seed, share=0.1)
    for step in range(n_steps, n_steps + N_HEALING):
        training.learn(step)
    return loss_of(training)


def choose(model: nn.Module, k: int) -> None:
    """Let all layers choose k experts."""
    for module in model.modules():
        if isinstance(module, MoELayer):
            module.policy = TopK(k)


def of_values(training: TrainingOfLanguage, before: Mapping[str, torch.Tensor]) -> Iterator[dict[str, Any]]:
    """Yield the loss after the trained weights, or those of the experts alone, have been turned to three values."""
    after = {name: tensor.clone() for name, tensor in training.model.state_dict().items()}
    experts = {name for name in after if ".experts." in name}
    yield {"part": "none", "density": None, "loss": loss_of(training)}
    for part, names in (("experts", experts), ("all", set(after))):
        for density in DENSITIES:
            base = {name: before[name] for name in names}
            packed = compress({name: after[name] for name in names}, density=density, base=base)
            training.model.load_state_dict(after | decompress(packed, base=base))
            n_bytes = sum(t.numel() * t.element_size() for t in packed.values())
            full = sum(after[name].numel() * after[name].element_size() for name in names)
            loss = loss_of(training)
            yield {"part": part, "density": density, "loss": loss, "times_smaller": full / n_bytes}
    training.model.load_state_dict(after)


def table_of(lines: Sequence[Mapping[str, Any]]) -> str:
    """Return the tables: losses in nats, mean and deviation over seeds."""
    found: dict[tuple[Any, ...], list[Mapping[str, Any]]] = defaultdict(list)
    for line in lines:
        found[tuple(line.get(name) for name in ("what", "way", "model", "k", "part", "density"))].append(line)

    def cell(name: str, *key: Any) -> str:
        values = [line[name] for line in found[tuple(key)]]
        return f"{fmean(values):.3f} ± {stdev(values):.3f}" if len(values) > 1 else f"{values[0]:.3f}"

    if not lines:
        return "no seed is done; do one first"
    text = [f"{'half of the experts':<52}{'loss':>14}{'learnt on':>14}"]
    for way, name in WAYS.items():
        key = ("half", way, None, None, None, None)
        text.append(f"{name:<52}{cell('loss', *key):>14}{cell('healed', *key):>14}")
    names = {"TopK(2)": "TopK(2)", "frozen": "frozen", SELF_SLIMMING: "growing k"}
    text += ["", f"{'experts at inference':<24}" + "".join(f"{name:>18}" for name in names.values())]
    for k in NUMBERS:
        cells = (cell("loss", "number", None, model, k, None, None) for model in names)
        text.append(f"{k:<24}" + "".join(f"{text:>18}" for text in cells))
    headings = ("times smaller", "experts alone", "all", "adapters")
    text += ["", f"{'density of three values':<24}" + "".join(f"{heading:>14}" for heading in headings)]
    for density in DENSITIES:
        cells = [cell("loss", "values", None, None, None, part, density) for part in ("experts", "all")]
        cells.append(cell("loss", "adapters", None, None, None, None, density))
        times = found["values", None, None, None, "all", density][0]["times_smaller"]
        text.append(f"{density:<24}{times:>14.1f}" + "".join(f"{text:>14}" for text in cells))
    return "\n".join(text)


if __name__ == "__main__":
    main()
