"""Results and curves from which reports are made."""

from __future__ import annotations

from driftmoe import report
from driftmoe.experiment import KEY


def result(stream, model, seed, accuracy, **others):
    line = {
        "stream": stream,
        "model": model,
        "seed": seed,
        "n_samples": 1000,
        **dict.fromkeys(report.COMPARED, accuracy),
        "samples_per_second": 500.0,
        "seconds": 2.0,
        "cpu_seconds": 3.0,
        "model_bytes": 4_000_000,
        "complete": True,
        "limit": 1000,
        "window": 500,
        "delay": None,
        "ram_hours": 0.004 * 2 / 3600,
        "parameters": {"depth": 3, "seed": seed},
        "stream_length": 1000,
        "stream_sha256": f"{stream}{seed}",
        "drifts": [[400, 1]],
        "versions": {"river": "0.26.1"},
    }
    return {**line, **others}


ACCURACY = {
    ("a", "x"): (0.70, 0.80),
    ("a", "y"): (0.60, 0.60),
    ("a", "z"): (0.50, 0.52),
    ("b", "x"): (0.90, 0.92),
    ("b", "y"): (0.95, 0.97),
    ("b", "z"): (0.10, 0.30),
}

RESULTS = [
    result(stream, model, seed, accuracy)
    for (stream, model), of_seeds in ACCURACY.items()
    for seed, accuracy in enumerate(of_seeds, start=1)
]


def curve(line, **columns):
    return [
        {**{name: line[name] for name in KEY}, "n_samples": n, "accuracy": line["accuracy"], **columns}
        for n in (500, 1000)
    ]


CURVES = [point for line in RESULTS for point in curve(line)]


def text_of(parts, title):
    return " ".join(p for s in parts if s.title.startswith(title) for p in s.parts if isinstance(p, str))
