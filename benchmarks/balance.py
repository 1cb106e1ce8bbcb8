"""Does it help networks on a stream if their load is evened out? `NeuralMoEClassifier` with a bias of each expert.

    python -m benchmarks.balance            # the runs that are missing; then the table
    python -m benchmarks.balance --report   # no runs: the table of the lines in --lines

In `"moe-vote"` and `"moe-data"` the three networks that the router chooses learn a sample, so that a few networks may
come to do all the work. DeepSeek-V3 evens out such loads by a bias that is added to the scores for choosing, and moves
by a step against the load after each mini-batch. A step of 0 is the policy `TopK(3)`. In `"driftmoe"` all networks
learn every sample, so that there is no load to even out.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
import torch

import streams
from driftmoe.nn import NeuralMoEClassifier
from driftmoe.routing import Choice, Routing, Rule, TopK

STREAMS = ("led_a", "rbf_f", "agrawal_a", "mixed_a", "electricity", "covtype")
REAL = ("electricity", "covtype")
STEPS = (0.0, 0.001, 0.01)
VARIANTS = ("moe-vote", "moe-data")
LIMIT, BATCH, N_EXPERTS, TOP_K = 20_000, 16, 12, 3

RESULTS = Path(__file__).parent / "results" / "balance.jsonl"


@dataclass(frozen=True, eq=False)
class BalancedTopK(Rule):
    """The `k` experts with the largest sum of softmax probability and bias; weights are without the bias.

    `count` adds up what was chosen, and `move` moves the biases against that load, by BiasBalancer's rule `"sign"`.
    """

    k: int
    step: float
    bias: np.ndarray = field(default_factory=lambda: np.zeros(N_EXPERTS))
    counts: np.ndarray = field(default_factory=lambda: np.zeros(N_EXPERTS))

    def __call__(self, logits: torch.Tensor) -> Routing:
        """Choose for rows of a tensor."""
        return TopK(self.k)(logits, bias=torch.from_numpy(self.bias).to(logits.dtype))

    def of_row(self, logits: np.ndarray) -> Choice:
        """Choose for one row."""
        choice = self.rows(logits[np.newaxis])
        return Choice(choice.weights[0], choice.mask[0], choice.n_null[0])

    def rows(self, logits: np.ndarray) -> Choice:
        """Choose for rows, and count what is chosen."""
        powers = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
        probs = powers / powers.sum(axis=1, keepdims=True)
        order = np.argsort(-(probs + self.bias), axis=1, kind="stable")[:, : self.k]
        mask = np.zeros(logits.shape, np.bool_)
        np.put_along_axis(mask, order, True, axis=1)
        weights = np.where(mask, probs, 0.0)
        self.counts[...] += mask.sum(axis=0)
        return Choice(weights / weights.sum(axis=1, keepdims=True), mask, np.zeros(len(mask), np.int64))

    def move(self) -> np.ndarray:
        """Move the biases, and return the load since the last time, as shares."""
        load = self.counts / self.counts.sum()
        sign = np.sign(1.0 / len(load) - load)
        self.bias[...] += self.step * (sign - sign.mean())
        self.counts[...] = 0.0
        return load


def main() -> None:
    """Do the runs that are missing, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--streams", nargs="+", default=STREAMS, help="default: all six")
    parser.add_argument("--seeds", nargs="+", type=int, default=(11, 12, 13), help="default: 11 12 13")
    parser.add_argument("--data-dir", type=Path, help="as for `driftmoe evaluate`")
    parser.add_argument("--lines", type=Path, default=RESULTS, help="file of the result lines")
    parser.add_argument("--report", action="store_true", help="do no runs")
    arguments = parser.parse_args()
    there = arguments.lines.read_text(encoding="utf-8").splitlines() if arguments.lines.exists() else []
    lines = [json.loads(line) for line in there]
    done = {tuple(line[name] for name in ("variant", "stream", "seed", "step")) for line in lines}
    for seed in () if arguments.report else arguments.seeds:
        for stream in arguments.streams:
            for variant in VARIANTS:
                for step in STEPS:
                    if (variant, stream, seed, step) not in done:
                        lines.append(of_run(variant, stream, seed, step, arguments.data_dir))
                        with arguments.lines.open("a", encoding="utf-8") as file:
                            file.write(json.dumps(lines[-1]) + "\n")
    print(table_of(lines))


def of_run(variant: str, name: str, seed: int, step: float, data_dir: Path | None) -> dict[str, Any]:
    """Return the accuracy of a run, and the share of the load that the busiest network has in the mean."""
    more = {"data_dir": data_dir} if name in REAL else {"seed": seed}
    stream = streams.make(name, n_samples=LIMIT, **more)
    policy = BalancedTopK(TOP_K, step)
    model = NeuralMoEClassifier(variant, n_experts=N_EXPERTS, policy=policy, batch_size=BATCH, seed=seed)
    names, values = [f.name for f in stream.features], [f.values for f in stream.features]
    n_right, n_rows, busiest = 0, 0, []
    for X, y in stream.blocks(BATCH):
        said = model.step_many(X, y, names=names, values=values, classes=stream.classes)
        n_right += sum(
            label == stream.classes[target] for label, target in zip(said, y.tolist(), strict=True)
        )
        n_rows += len(y)
        busiest.append(policy.move().max())
    figures = {"accuracy": n_right / n_rows, "busiest": fmean(busiest)}
    return {"variant": variant, "stream": name, "seed": seed, "step": step, "n_samples": n_rows, **figures}


def table_of(lines: Sequence[Mapping[str, Any]]) -> str:
    """Return the table: accuracy in percent, mean and deviation over seeds, and the load of the busiest network."""
    found: dict[tuple[str, str, float], list[Mapping[str, Any]]] = defaultdict(list)
    for line in lines:
        found[line["stream"], line["variant"], line["step"]].append(line)
    text = [f"{'stream':<12}{'variant':<9}" + "".join(f"{f'step {step:g}':>19}" for step in STEPS)]
    for name, variant in dict.fromkeys(key[:2] for key in found):
        cells = []
        for step in STEPS:
            group = found[name, variant, step]
            values = [100.0 * line["accuracy"] for line in group]
            spread = f" ± {stdev(values):.2f}" if len(values) > 1 else ""
            load = 100.0 * fmean(line["busiest"] for line in group)
            cells.append(f"{fmean(values):.2f}{spread} ({load:.0f})")
        text.append(f"{name:<12}{variant:<9}" + "".join(f"{cell:>19}" for cell in cells))
    return "\n".join(text)


if __name__ == "__main__":
    main()
