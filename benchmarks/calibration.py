"""How well probabilities are calibrated, how often sets of labels hold the true one, and what costs spare.

    python -m benchmarks.calibration --out benchmarks/results/calibration.jsonl
    python -m benchmarks.calibration --report benchmarks/results/calibration.jsonl

Each model predicts each stream once, test-then-train, and all figures are computed from these probabilities: as they
are and recalibrated online; of sets by `driftmoe.conformal`, as `predict_set_one` gives them, and by four other ways;
of the cheapest answer where missing the rarest class costs 10. Two streams are files of `$DRIFTMOE_DATA`.
"""

from __future__ import annotations

import argparse
import json
import math
import os
from bisect import bisect_left, insort
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from driftmoe import models
from driftmoe.conformal import RATE, least_probability, members
from driftmoe.costs import DecisionCosts
from driftmoe.learning import Learner
from driftmoe.mixture.mixing import most_gain
from driftmoe.recent import N_SCORES
from streams.opening import open_stream

STREAMS = (
    "electricity", "sea_a", "led_a", "insects", "agrawal_a", "rbf_f", "rialto", "covtype",
)  # fmt: skip
FILES = {"insects": "insects_gradual_balanced.parquet", "rialto": "rialto.parquet"}
"""Stream -> file in `$DRIFTMOE_DATA`."""

MODELS = ("driftmoe", "moe-data")
COVERAGES = (0.8, 0.9, 0.95)
WINDOW = 1000
N_BINS = 15
LEAST = 1e-15
"""Least probability in the log loss, which is infinite if a true label had none."""

COST = 10.0


class Recorder(Learner):
    """A learner that keeps the probabilities by which it decides."""

    def keep(self, record: list[np.ndarray]) -> None:
        """Keep them in a list."""
        self._record = record

    def _decision(self, proba: np.ndarray, answers: np.ndarray) -> Callable[[], Any]:
        return lambda: self._record.append(proba.copy())


def probabilities(stream: Any, model: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the probabilities of each sample before it was learnt, and the index of its label.

    The first sample, before which no class is known, is left out. A class that is not known yet has probability 0.
    """
    names, values = [f.name for f in stream.features], [f.values for f in stream.features]
    record: list[np.ndarray] = []
    labels: list[Any] = []
    for block in stream.blocks(256):
        rows = model._block_rows(block.X, block.y, names, values, stream.classes)
        parts = model._encoder, model._mixture, model._recent
        learner = Recorder(*parts, rows, np.ones(len(block.y)), np.full(len(block.y), -1))
        learner.keep(record)
        learner.run()
        labels += [stream.classes[target] for target in block.y.tolist()]
    places = {label: i for i, label in enumerate(model._encoder.classes)}
    proba = np.concatenate([np.pad(rows, ((0, 0), (0, len(places) - rows.shape[1]))) for rows in record])
    return proba, np.array([places[label] for label in labels[len(labels) - len(proba) :]])


def tempered(proba: np.ndarray, y: np.ndarray, rate: float = 0.003) -> np.ndarray:
    """Return p^b, normalised. b takes a step of normalised gradient descent on the log loss after each sample."""
    logs, answer, power, square = np.log(np.maximum(proba, 1e-12)), np.empty_like(proba), 1.0, 1.0
    for i, row in enumerate(logs):
        raised = np.exp(power * (row - row.max()))
        raised /= raised.sum()
        answer[i] = raised
        slope = float(raised @ row - row[y[i]])
        square = 0.999 * square + 0.001 * slope * slope
        power = min(max(power * math.exp(-rate * slope * power / math.sqrt(square + 1e-8)), 0.05), 5.0)
    return answer


def tempered_by_ring(proba: np.ndarray, y: np.ndarray, size: int = N_SCORES) -> np.ndarray:
    """Return p^b, normalised, with the b of least log loss on the last samples, found anew every 100 samples."""
    logs, answer, power = np.log(np.maximum(proba, 1e-12)), np.empty_like(proba), 1.0
    for start in range(0, len(y), 100):
        recent, true = logs[max(start - size, 0) : start], y[max(start - size, 0) : start]
        for _ in range(6 if start else 0):  # Newton's steps
            raised = np.exp(power * (recent - recent.max(axis=1, keepdims=True)))
            raised /= raised.sum(axis=1, keepdims=True)
            mean = (raised * recent).sum(axis=1)
            slope = (mean - recent[np.arange(len(true)), true]).sum()
            curvature = ((raised * recent**2).sum(axis=1) - mean**2).sum() + 1e-3
            power = min(max(power - min(max(slope / curvature, -0.5), 0.5), 0.05), 5.0)
        rows = logs[start : start + 100]
        raised = np.exp(power * (rows - rows.max(axis=1, keepdims=True)))
        answer[start : start + 100] = raised / raised.sum(axis=1, keepdims=True)
    return answer


def platt(proba: np.ndarray, y: np.ndarray, rate: float = 0.003) -> np.ndarray:
    """Return probabilities in which a logistic regression on its log-odds gives that of the most probable class.

    The others share the rest as before. The regression takes a step of normalised gradient descent after each sample.
    """
    answer, slope, shift, of_slope, of_shift = np.empty_like(proba), 1.0, 0.0, 1.0, 1.0
    for i, row in enumerate(proba):
        top = int(row.argmax())
        p = min(max(float(row[top]), 1e-6), 1.0 - 1e-6)
        odds = math.log(p / (1.0 - p))
        q = min(max(1.0 / (1.0 + math.exp(-(slope * odds + shift))), 1e-6), 1.0 - 1e-6)
        rest = 1.0 - row[top]
        answer[i] = (1.0 - q) * row / rest if rest > 1e-12 else (1.0 - q) / max(len(row) - 1, 1)
        answer[i, top] = q
        error = q - float(y[i] == top)
        of_slope = 0.999 * of_slope + 0.001 * (error * odds) ** 2
        of_shift = 0.999 * of_shift + 0.001 * error**2
        slope -= rate * error * odds / math.sqrt(of_slope + 1e-8)
        shift -= rate * error / math.sqrt(of_shift + 1e-8)
    return answer


RECALIBRATED: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "as it is": lambda proba, y: proba,
    "temperature": tempered,
    "temperature, ring": tempered_by_ring,
    "Platt": platt,
}


def calibration(proba: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """Return the expected calibration error (Guo et al. 2017, equation 5: 15 bins of equal width of the top label).

    And log loss, Brier score and accuracy.
    """
    confidence, is_right = proba.max(axis=1), proba.argmax(axis=1) == y
    of = np.minimum((confidence * N_BINS).astype(int), N_BINS - 1)
    surplus = np.bincount(of, confidence - is_right, N_BINS)
    of_true = proba[np.arange(len(y)), y]
    return {
        "ece": float(np.abs(surplus).sum() / len(y)),
        "log_loss": float(-np.log(np.maximum(of_true, LEAST)).mean()),
        "brier": float(((proba**2).sum(axis=1) - 2.0 * of_true + 1.0).mean()),
        "accuracy": float(is_right.mean()),
    }


def by_aci(proba: np.ndarray, y: np.ndarray, coverage: float) -> np.ndarray:
    """Return which labels are in each set, by `driftmoe.conformal`, as `predict_set_one` gives them."""
    true_proba, was_right = _scores(proba, y)
    thresholds = np.empty(len(y))
    for i in range(len(y)):
        recent = slice(max(i - N_SCORES, 0), i)
        thresholds[i] = least_probability(true_proba[recent], was_right[recent], coverage)
    return _sets(proba, thresholds)


def by_level(proba: np.ndarray, y: np.ndarray, coverage: float, rate: float = RATE) -> np.ndarray:
    """Return the sets of plain ACI: with a level that is kept over the whole past, and quantiles of the last samples.

    With rate 0, the sets are those of a plain quantile.
    """
    reached = np.where(was_right := _scores(proba, y)[1], np.inf, _scores(proba, y)[0]).tolist()
    thresholds, level, ordered = np.empty(len(y)), 1.0 - coverage, list[float]()
    for i, one in enumerate(reached):
        rank = math.ceil((1.0 - level) * (len(ordered) + 1) - 1e-9)
        threshold = -math.inf if rank > len(ordered) else ordered[-rank] if rank > 0 else math.inf
        thresholds[i] = threshold
        level += rate * (1.0 - coverage - float(one < threshold and not was_right[i]))
        insort(ordered, one)
        if len(ordered) > N_SCORES:
            del ordered[bisect_left(ordered, reached[i - N_SCORES])]
    return _sets(proba, thresholds)


def by_quantile(proba: np.ndarray, y: np.ndarray, coverage: float) -> np.ndarray:
    """Return the sets of a plain quantile of the last samples."""
    return by_level(proba, y, coverage, rate=0.0)


def by_split(proba: np.ndarray, y: np.ndarray, coverage: float) -> np.ndarray:
    """Return the sets of split conformal prediction with the first `WINDOW` samples as calibration set."""
    true_proba, was_right = _scores(proba[:WINDOW], y[:WINDOW])
    ordered = np.sort(np.where(was_right, np.inf, true_proba))
    return _sets(proba, np.full(len(y), ordered[-math.ceil(coverage * (WINDOW + 1) - 1e-9)]))


def by_sum(proba: np.ndarray, y: np.ndarray, coverage: float) -> np.ndarray:
    """Return the naive sets: the most probable labels until their probabilities sum to the coverage."""
    order = np.argsort(-proba, axis=1, kind="stable")
    before = np.cumsum(np.take_along_axis(proba, order, 1), axis=1) - np.take_along_axis(proba, order, 1)
    are_members = np.empty(proba.shape, np.bool_)
    np.put_along_axis(are_members, order, before < coverage - 1e-9, axis=1)
    return are_members


SETS = {
    "ACI": by_aci,
    "level kept": by_level,
    "quantile": by_quantile,
    "split": by_split,
    "naive": by_sum,
}


def _scores(proba: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return proba[np.arange(len(y)), y].astype(np.float32), proba.argmax(axis=1) == y


def _sets(proba: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    return members(proba, thresholds[:, np.newaxis])  # type: ignore[arg-type]  # a threshold for each row


def coverage_of(are_members: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """Return coverage, that of the worst window, and mean size, without the first window, where split calibrates."""
    hits = are_members[np.arange(len(y)), y][WINDOW:]
    windows = hits[: len(hits) // WINDOW * WINDOW].reshape(-1, WINDOW).mean(axis=1)
    return {
        "coverage": float(hits.mean()),
        "worst": float(windows.min(initial=hits.mean())),
        "size": float(are_members[WINDOW:].sum(axis=1).mean()),
    }


def spared(proba: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """Return the mean cost of the most probable and of the cheapest answers if missing the rarest class costs 10."""
    rarest = int(np.bincount(y).argmin())
    costs, chosen = DecisionCosts({rarest: COST}), np.empty(len(y), np.int64)
    most_gain(proba, costs.gains(list(range(proba.shape[1]))), chosen)
    means = {
        name: float(np.mean((answers != y) * np.where(y == rarest, COST, 1.0)))
        for name, answers in (("most probable", proba.argmax(axis=1)), ("cheapest", chosen))
    }
    return {"share": float(np.mean(y == rarest)), **means}


def measured(name: str, spec: str, seed: int, limit: int) -> dict[str, Any]:
    """Return the line of one run."""
    path = str(Path(os.environ.get("DRIFTMOE_DATA", ".")) / FILES[name]) if name in FILES else name
    stream = open_stream(path, limit=limit, seed=seed)
    proba, y = probabilities(stream, models.make(spec, seed=seed))
    return {
        "stream": name,
        "model": spec,
        "seed": seed,
        "n_samples": len(y) + 1,
        "n_classes": proba.shape[1],
        "calibration": {how: calibration(recalibrate(proba, y), y) for how, recalibrate in RECALIBRATED.items()},
        "sets": {
            str(coverage): {how: coverage_of(sets(proba, y, coverage), y) for how, sets in SETS.items()}
            for coverage in COVERAGES
        },
        "costs": spared(proba, y),
    }  # fmt: skip


def report(lines: list[dict[str, Any]]) -> str:
    """Return the tables, means over seeds, 80 columns wide; what is lost comes first."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for line in lines:
        groups.setdefault((line["model"], line["stream"]), []).append(line)
    n_seeds = max(map(len, groups.values()))
    parts = [f"# Calibration, sets of labels, costs\n\nMeans over {n_seeds} seeds, test-then-train."]
    for model in dict.fromkeys(model for model, _ in groups):
        of_model = {stream: group for (name, stream), group in groups.items() if name == model}
        parts += [_calibration_table(model, of_model)]
        parts += [_sets_table(model, of_model, str(coverage)) for coverage in COVERAGES]
        parts += [_costs_table(model, of_model)]
    return "\n\n".join(parts) + "\n"


def _mean(group: list[dict[str, Any]], *keys: str) -> float:
    values = []
    for value in group:
        for key in keys:
            value = value[key]
        values.append(float(value))  # type: ignore[arg-type]  # a number, at the end of the keys
    return fmean(values)


def _calibration_table(model: str, groups: dict[str, list[dict[str, Any]]]) -> str:
    """Return ECE and log loss; first the streams where online temperature scaling gains least log loss."""

    def cell(group: list[dict[str, Any]], how: str) -> str:
        ece, loss, accuracy = (
            _mean(group, "calibration", how, figure) for figure in ("ece", "log_loss", "accuracy")
        )
        told = f"{100 * ece:6.2f} {loss:6.3f}"  # temperature keeps the accuracy
        return told if how.startswith("temperature") else f"{told} {100 * accuracy:5.2f}"

    def gain(group: list[dict[str, Any]]) -> float:
        loss = [_mean(group, "calibration", how, "log_loss") for how in ("as it is", "temperature")]
        return 1.0 - loss[1] / loss[0]

    names = f"{'as it is':^19}|{'temperature':^13}|{'temp., ring':^13}|{'Platt':^19}"
    heading = "   ECE   loss   acc|   ECE   loss|   ECE   loss|   ECE   loss   acc"
    rows = [f"{'':11}{names}", f"{'':11}{heading}"]
    for stream, group in sorted(groups.items(), key=lambda item: gain(item[1])):
        rows.append(f"{stream:11}" + "|".join(cell(group, how) for how in RECALIBRATED))
    title = f"## {model}: ECE %, log loss in nats, accuracy %\n\nLeast gain of the online temperature first."
    return "\n".join([title, "", "```", *(row.rstrip() for row in rows), "```"])


def _sets_table(model: str, groups: dict[str, list[dict[str, Any]]], coverage: str) -> str:
    """Return coverage, its worst window, and size; first the streams whose worst window lacks most by ACI."""

    def cell(group: list[dict[str, Any]], how: str) -> str:
        of = {figure: _mean(group, "sets", coverage, how, figure) for figure in ("coverage", "worst", "size")}
        size = f"{of['size']:4.2f}" if of["size"] < 9.995 else f"{of['size']:4.1f}"
        return f"{100 * of['coverage']:4.1f} {100 * of['worst']:4.1f} {size:>4}".replace("100.0", " 100")

    worst = {stream: _mean(group, "sets", coverage, "ACI", "worst") for stream, group in groups.items()}
    shown = ("ACI", "quantile", "split", "naive")
    rows = [f"{'':11}" + "|".join(f"{how:^14}" for how in shown)]
    rows += [f"{'':11}" + "|".join(["cov worst size"] * len(shown))]
    for stream in sorted(groups, key=worst.__getitem__):
        rows.append(f"{stream:11}" + "|".join(cell(groups[stream], how) for how in shown))
    title = f"## {model}: sets that should hold {100 * float(coverage):g} % of the labels"
    told = "Coverage %, that of the worst 1000 samples, mean size; worst window of ACI first."
    return "\n".join([title, "", told, "", "```", *(row.rstrip() for row in rows), "```"])


def _costs_table(model: str, groups: dict[str, list[dict[str, Any]]]) -> str:
    """Return the mean costs; first the streams where deciding by costs gains least."""

    def spares(group: list[dict[str, Any]]) -> float:
        return 1.0 - _mean(group, "costs", "cheapest") / _mean(group, "costs", "most probable")

    rows = [f"{'':11} {'rarest class %':>15} {'most probable':>15} {'cheapest':>10} {'spared %':>10}"]
    for stream, group in sorted(groups.items(), key=lambda item: spares(item[1])):
        share, before, after = (_mean(group, "costs", key) for key in ("share", "most probable", "cheapest"))
        rows.append(
            f"{stream:11} {100 * share:15.1f} {before:15.4f} {after:10.4f} {100 * spares(group):10.1f}"
        )
    title = f"## {model}: mean cost if missing the rarest class costs {COST:g}, other mistakes 1"
    return "\n".join([title, "", "```", *(row.rstrip() for row in rows), "```"])


def main() -> None:
    """Measure, or write the report of measured lines."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--streams", nargs="+", default=STREAMS)
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--limit", type=int, default=50_000)
    parser.add_argument("--out", type=Path, help="file to which a line is added for each run")
    parser.add_argument(
        "--report", type=Path, help="lines of which the tables are written beside them, as .md"
    )
    options = parser.parse_args()
    if options.report:
        lines = [json.loads(line) for line in options.report.read_text(encoding="utf-8").splitlines()]
        options.report.with_suffix(".md").write_text(report(lines), encoding="utf-8")
        return
    lines = []
    for seed in options.seeds:
        for name in options.streams:
            for spec in options.models:
                line = measured(name, spec, seed, options.limit)
                lines.append(line)
                if options.out:
                    with options.out.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(line) + "\n")
    if not options.out:
        print(report(lines))


if __name__ == "__main__":
    main()
