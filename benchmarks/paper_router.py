"""The paper's MoE-Task without its experts: the router's network alone, beside the paper's figures.

    python -m benchmarks.paper_router --limit 100000

In the code published with the paper, MoE-Task answers with the class of the router's largest logit. Its accuracy
must then be that of a network that learns the classes. This network has the paper's layers (256 and 128 units),
takes a step of Adam after each sample, and gets the inputs without standardisation.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np
import torch
from rich.progress import track

from benchmarks.paper import NAMES, PUBLISHED
from streams import Stream
from streams.opening import open_stream

STREAMS = ("elec2", "covtype", "led_a", "led_g", "sea_a", "sea_g", "rbf_m", "rbf_f")


def accuracy(stream: Stream, *, learning_rate: float, seed: int) -> float:
    """Return the prequential accuracy in % of the network on a stream without missing values."""
    torch.manual_seed(seed)
    n_inputs, n_classes = len(stream.features), len(stream.classes)
    network = torch.nn.Sequential(
        torch.nn.Linear(n_inputs, 256), torch.nn.ReLU(),
        torch.nn.Linear(256, 128), torch.nn.ReLU(),
        torch.nn.Linear(128, n_classes),
    )  # fmt: skip
    optimizer = torch.optim.Adam(network.parameters(), lr=learning_rate)
    n_right = n_seen = 0
    for X, y in stream.blocks(1000):
        inputs = torch.from_numpy(X.astype(np.float32))
        masks = torch.nn.functional.one_hot(torch.from_numpy(y), n_classes).float()
        for x, mask in zip(inputs, masks, strict=True):
            logits = network(x)
            n_right += int(mask[logits.argmax()])
            optimizer.zero_grad()
            torch.nn.functional.binary_cross_entropy_with_logits(logits, mask).backward()
            optimizer.step()
        n_seen += len(y)
    return 100 * n_right / n_seen


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--streams", nargs="+", choices=STREAMS, default=STREAMS)
    parser.add_argument("--limit", type=int, default=100_000, help="most samples of a stream")
    parser.add_argument("--learning-rate", type=float, default=1e-3, help="step size of Adam")
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--data-dir", type=Path, help="as for `driftmoe evaluate`")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with PUBLISHED.open(newline="", encoding="utf-8") as file:
        published = {line["stream"]: line["MoE-Task"] for line in csv.DictReader(file)}
    figures = {}
    for name in track(arguments.streams, "Streams"):
        stream = open_stream(name, limit=arguments.limit, seed=arguments.seed, data_dir=arguments.data_dir)
        figures[name] = accuracy(stream, learning_rate=arguments.learning_rate, seed=arguments.seed)
    print("| stream | network alone | MoE-Task, paper |\n|:--|--:|--:|")
    for name, figure in figures.items():
        print(f"| {name} | {figure:.2f} | {published[NAMES[name]]} |")


if __name__ == "__main__":
    main()
