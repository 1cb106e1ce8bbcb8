"""The picture of README and of the start page: how far MOA's strongest learners are behind DriftMoE.

    python -m benchmarks.picture

It reads benchmarks/results/paper.jsonl, and writes docs/assets/lead-light.svg and lead-dark.svg. Each dot is a mean
over the seeds that both have. Streams come in the order of the smallest lead, so where DriftMoE is about as good as
another stands first. The id of a dot says its numbers, for tests/test_readme.py.
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

ROOT = Path(__file__).parent.parent
LINES = ROOT / "benchmarks" / "results" / "paper.jsonl"
PICTURES = {name: ROOT / "docs" / "assets" / f"lead-{name}.svg" for name in ("light", "dark")}

STREAMS = ("elec2", "covtype", "led_a", "led_g", "sea_a", "sea_g", "rbf_m", "rbf_f")
ENSEMBLES = {"moa-arf": "ARF", "moa-srp": "SRP", "moa-levbag": "LevBag"}
LARGE = "(ensemble_size=100)"
PEERS = {
    **{
        name + size: f"{text}, {n} learners"
        for name, text in ENSEMBLES.items()
        for size, n in (("", 10), (LARGE, 100))
    },
    "moa-samknn": "SAMkNN",  # not run on every stream
}
MARKERS = dict(zip((*ENSEMBLES, "moa-samknn"), "os^D", strict=True))
COLOURS = {  # of Okabe and Ito, who made them for the colour-blind; the dark page needs lighter ones
    "light": ("#333333", "#0072b2", "#d55e00", "#007a5a", "#aa4499"),
    "dark": ("#dddddd", "#56b4e9", "#e69f00", "#40c9a2", "#e7a1c8"),
}


class Lead(NamedTuple):
    """Points of accuracy by which DriftMoE is ahead of a model, mean over common seeds."""

    stream: str
    model: str
    points: float


def leads(lines: Path = LINES) -> list[Lead]:
    """Return the leads over each peer, streams with the smallest lead first."""
    accuracy: dict[tuple[str, str], dict[int, float]] = defaultdict(dict)
    for line in map(json.loads, lines.read_text(encoding="utf-8").splitlines()):
        if line["n_samples"] > 20_000:  # shorter runs are those beside river's learners
            accuracy[line["stream"], line["model"]][line["seed"]] = line["accuracy"]
    found = []
    for stream in STREAMS:
        ours = accuracy[stream, "driftmoe"]
        for model in PEERS:
            theirs = accuracy[stream, model]
            by_seed = [ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys())]
            if by_seed:
                found.append(Lead(stream, model, 100.0 * sum(by_seed) / len(by_seed)))
    least: dict[str, float] = {}
    for lead in found:
        least[lead.stream] = min(lead.points, least.get(lead.stream, lead.points))
    return sorted(found, key=lambda lead: (least[lead.stream], lead.stream))


def draw(found: list[Lead], path: Path, colours: tuple[str, ...]) -> None:
    """Draw the leads as dots, one row for each stream."""
    text, *of_models = colours
    streams = list(dict.fromkeys(lead.stream for lead in found))
    settings = {
        "svg.fonttype": "none", "svg.hashsalt": "driftmoe", "font.family": "sans-serif", "font.size": 12,
        "text.color": text, "axes.labelcolor": text, "xtick.color": text, "ytick.color": text, "axes.edgecolor": text,
    }  # fmt: skip
    with matplotlib.rc_context(settings):
        shown: set[str] = set()
        figure, axes = plt.subplots(figsize=(7.2, 4.0), layout="constrained")
        axes.axvline(0.0, color=text, linewidth=1.5)
        for lead in found:
            name, is_large = lead.model.removesuffix(LARGE), lead.model.endswith(LARGE)
            colour = of_models[list(MARKERS).index(name)]
            (dot,) = axes.plot(
                lead.points, streams.index(lead.stream), MARKERS[name], color=colour, markersize=8,
                markerfacecolor="none" if is_large else colour, markeredgewidth=1.5,
                label=None if lead.model in shown else PEERS[lead.model],
            )  # fmt: skip
            shown.add(lead.model)
            dot.set_gid(f"{lead.stream} {lead.model} {lead.points:.2f}")
        axes.set_yticks(range(len(streams)), streams)
        axes.invert_yaxis()
        axes.invert_xaxis()
        axes.grid(axis="x", alpha=0.25)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel("accuracy, in points below DriftMoE")
        figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=11)
        figure.savefig(path, transparent=True, metadata={"Date": None, "Creator": None})
        plt.close(figure)
    rows = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join(row.rstrip() for row in rows) + "\n", encoding="utf-8")


def main() -> None:
    """Draw both pictures."""
    for name, path in PICTURES.items():
        draw(leads(), path, COLOURS[name])


if __name__ == "__main__":
    main()
