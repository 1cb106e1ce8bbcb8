"""Saved models that later versions must load: `python tests/golden/make.py` writes them, and what they answer.

Each file is that of a model which has learnt the first samples of a small stream. `expected.json` has the version that
wrote the files, the probabilities that each model gives to a few samples, to the last bit, and the SHA-256 of those
that it gives while it learns on. Files that are there are replaced: run this for a new format only, after the old files
have got a folder of their own. With names, as in `python tests/golden/make.py bounded`, only those models are written.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import random
import sys
from collections.abc import Callable, Hashable, Sequence
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

from river import compose, preprocessing

import driftmoe
from driftmoe import DriftMoEClassifier
from driftmoe.experts import EXTRAS
from driftmoe.mixture import HEAD, MIXTURES
from driftmoe.nn import NeuralMoEClassifier
from driftmoe.routing import LinearK, Scheduled, TopK, TopP, WithNull
from driftmoe.trees import HoeffdingTreeClassifier

HERE = Path(__file__).resolve().parent
EXPECTED = HERE / "expected.json"

N_LEARNT, N_ASKED, N_LATER = 150, 5, 60
"""Samples before a model is saved, which leave a mini-batch half full; samples that it is asked; and later ones."""

FEWER = {"defaults": 10, "extra-products": 10, "extra-sequence": 10, "tree-untrained": 0}
"""Models that learn fewer samples before they are saved."""

COMPRESSED = ("compressed", "small")
"""Models whose files are compressed: with zstd, as files of any length once were, and as short ones are."""

SMALL: dict[str, Any] = {"hidden": (6, 4), "batch_size": 8, "seed": 1}

Sample = tuple[dict[Hashable, Any], Hashable]


def _of_variant(variant: str) -> DriftMoEClassifier:
    sizes = {"n_experts": 2} if "n_experts" in MIXTURES[variant].ARGUMENTS else {}
    return DriftMoEClassifier(variant, **sizes, **SMALL)


MODELS: dict[str, Callable[[], Any]] = {
    **{variant: partial(_of_variant, variant) for variant in MIXTURES},
    **{
        f"extra-{extra}": lambda extra=extra: DriftMoEClassifier(
            n_experts=2, extras=(extra,), **({"memory": 64} if "neighbours" in extra else {}), **SMALL
        )
        for extra in (*EXTRAS, HEAD)
    },
    "defaults": lambda: DriftMoEClassifier(seed=1),
    "no-seed": lambda: DriftMoEClassifier("moe-data", n_experts=2, hidden=(4,)),
    "trees": lambda: DriftMoEClassifier(
        expert=HoeffdingTreeClassifier(grace_period=20, max_nodes=5, nominal_attributes=("number 1",)),
        n_experts=2,
        extras=(),
        **SMALL,
    ),
    "policy": lambda: DriftMoEClassifier(
        "moe-vote", n_experts=4, policy=WithNull(TopP(0.8), n_null=2), correction=0.05, dropout=0.3, **SMALL
    ),
    "schedule": lambda: DriftMoEClassifier(
        "moe-data", n_experts=4, policy=Scheduled(TopK(2), LinearK(3, 1, 99)), **SMALL
    ),
    "neural": lambda: NeuralMoEClassifier(n_experts=2, expert_hidden=(6,), **SMALL),
    "neural-moe-data": lambda: NeuralMoEClassifier("moe-data", n_experts=2, expert_hidden=(6,), **SMALL),
    "tree": lambda: HoeffdingTreeClassifier(grace_period=20, delta=0.5),
    "tree-nominal": lambda: HoeffdingTreeClassifier(
        grace_period=20, delta=0.5, nominal_attributes={"number 0"}, binary_split=True, leaf_prediction="nb"
    ),
    "tree-untrained": HoeffdingTreeClassifier,
    "labels": lambda: DriftMoEClassifier("moe-data", n_experts=2, **SMALL),
    "pipeline": lambda: (
        compose.Select("number 0", "number 1")
        | preprocessing.StandardScaler()
        | DriftMoEClassifier("moe-data", n_experts=2, **SMALL)
    ),
    "pipeline-of-tree": lambda: (
        compose.Discard("text") | preprocessing.MinMaxScaler() | HoeffdingTreeClassifier(grace_period=20, delta=0.5)
    ),
    "pipeline-one-hot": lambda: preprocessing.OneHotEncoder() | HoeffdingTreeClassifier(grace_period=20, delta=0.5),
    "compressed": lambda: DriftMoEClassifier("moe-vote", n_experts=3, **SMALL),
    "small": lambda: DriftMoEClassifier.small(seed=1),
    "costs": lambda: DriftMoEClassifier(
        "moe-data", n_experts=2, hidden=(4,), batch_size=8, seed=1, decision_costs={("class 0", "class 1"): 4.0}
    ),
    "bounded": lambda: DriftMoEClassifier(
        expert=HoeffdingTreeClassifier(grace_period=20, delta=0.5, tau=0.5),
        n_experts=2,
        extras=("neighbours",),
        memory=64,
        max_bytes=350_000,
        **SMALL,
    ),
}  # fmt: skip
"""Name of a file -> its model, untrained."""

LABELS = [
    "a",
    1,
    2.5,
    ("b", (None, 3)),
    b"c",
    False,
    Decimal("1.50"),
    frozenset({1, 2}),
    dt.date(2026, 11, 29),
]

NAMES = {"number 0": ("a", 1), "number 1": b"\xff", "text": 7}


def samples(name: str, n_samples: int) -> list[Sample]:
    """Return labelled samples for a model. New features, text values and classes appear every sixty samples."""
    rng, found = random.Random(1), []
    for i in range(n_samples):
        n_new = i // 60
        x: dict[Hashable, Any] = {f"number {f}": 4.0 * rng.random() - 2.0 for f in range(2 + n_new)}
        x["text"] = f"value {int(rng.random() * (2 + n_new))}"
        y: Hashable = (
            f"class {int(x['number 0'] > 0.0) + (2 + i % (1 + n_new) if x['number 1'] > 1.0 else 0)}"
        )
        if "pipeline" not in name and rng.random() < 0.1:
            x["number 1"] = None
        if name.startswith("pipeline"):
            x = {one: x[one] for one in ("number 0", "number 1", "text")}
        if "one-hot" in name:
            x = {"text": x["text"]}
        if name in ("trees", "tree-nominal"):
            x = {one: int(value) if isinstance(value, float) else value for one, value in x.items()}
        if name == "labels":
            x, y = {NAMES.get(one, one): value for one, value in x.items()}, LABELS[i % len(LABELS)]
        found.append((x, y))
    return found


def learnt(name: str) -> Any:
    """Return a model that has learnt its first samples."""
    model = MODELS[name]()
    for x, y in samples(name, FEWER.get(name, N_LEARNT)):
        model.learn_one(x, y)
    return model


def answers(model: Any, name: str) -> list[dict[str, str]]:
    """Return what a model says of a few samples: label -> probability, as hexadecimal text."""
    return [_as_text(model.predict_proba_one(x)) for x, _ in samples(name, N_LEARNT + N_ASKED)[N_LEARNT:]]


def later(model: Any, name: str) -> str:
    """Let a model predict and learn further samples; return the SHA-256 of all that it says."""
    said = []
    for x, y in samples(name, N_LEARNT + N_LATER)[N_LEARNT:]:
        said.append(_as_text(model.predict_proba_one(x)))
        model.learn_one(x, y)
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def _as_text(proba: dict[Any, float]) -> dict[str, str]:
    return {repr(label): float(probability).hex() for label, probability in proba.items()}


def main(names: Sequence[str]) -> None:
    """Write the files of these models; without names all, and no others are left."""
    expected: dict[str, Any] = {"version": driftmoe.__version__, "files": {}}
    if names:
        expected = json.loads(EXPECTED.read_text())
    else:
        for old in HERE.glob("*.moe"):
            old.unlink()
    for name in names or MODELS:
        model = learnt(name)
        file = driftmoe.save(model, HERE / f"{name}.moe", compress=name in COMPRESSED)
        expected["files"][file.name] = {"answers": answers(model, name), "later": later(model, name)}
        print(f"{file.stat().st_size:>7,} {file.name}", file=sys.stderr)
    EXPECTED.write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
