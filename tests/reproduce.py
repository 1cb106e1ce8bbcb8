"""Digests of what models say of streams, to compare machines: `python tests/reproduce.py > tests/digests.json`."""

from __future__ import annotations

import hashlib
import json
import struct
import sys

import streams
from driftmoe import models
from driftmoe.trees import HoeffdingTreeClassifier

N_SAMPLES = 1000

STREAMS = ("led_a", "sea_g", "rbf_f")

MODELS = (
    "driftmoe",
    "driftmoe(gate='recency', policy=WithNull(TopK(9), n_null=3))",
    "moe-vote",
    "moe-vote(policy=STREAM)",
    "moe-vote(policy=TopP(0.8), correction=0.05)",
    "moe-data",
    "moe-data(dropout=0.3, batch_size=32)",
    "moe-task",
    "neural",
    "neural(variant='moe-vote')",
)


TREES = {
    "tree": lambda: HoeffdingTreeClassifier(grace_period=50, delta=0.05),
    "tree(nb)": lambda: HoeffdingTreeClassifier(leaf_prediction="nb", split_criterion="gini", tau=0.2),
    "tree(hellinger)": lambda: HoeffdingTreeClassifier(
        split_criterion="hellinger", delta=0.1, grace_period=20
    ),
}


def digest(name: str, stream: streams.Stream) -> str:
    """Return the SHA-256 of all probabilities that a model gives before it learns each sample."""
    model = TREES[name]() if name in TREES else models.make(name, seed=1)
    said = hashlib.sha256()
    for x, y in stream:
        for label, probability in model.predict_proba_one(x).items():
            said.update(f"{label} ".encode() + struct.pack("<d", probability))
        model.learn_one(x, y)
    return said.hexdigest()


def main() -> None:
    """Print the digests as JSON."""
    found: dict[str, dict[str, str]] = {}
    for stream_name in STREAMS:
        stream = streams.make(stream_name, seed=1, n_samples=N_SAMPLES)
        samples = hashlib.sha256(repr(list(stream)).encode()).hexdigest()
        found[stream_name] = {"samples": samples} | {name: digest(name, stream) for name in (*MODELS, *TREES)}
    json.dump(found, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
