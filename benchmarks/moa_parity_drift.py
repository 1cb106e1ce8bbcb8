"""Compare drift by composition with MOA's ConceptDriftStream and RecurrentConceptDriftStream, sample by sample.

    python -m benchmarks.moa_parity_drift                          three fresh seeds, 100 000 samples of each
    python -m benchmarks.moa_parity_drift --vectors tests/vectors  write the samples that the tests compare with

The first command prints a table. With `--out FILE` it also writes a line per stream and seed. It compares every
named synthetic stream, and settings that none of these has. Both commands need Java and the extra `capymoa`, which
brings MOA.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.moa_parity import MOA_COMMANDS, first_difference, moa_samples, run, write_lines
from streams.benchmark import STREAMS
from streams.drift import ConceptDrift, RecurrentConceptDrift, angle_width
from streams.stream import Stream
from streams.synthetic import SEA, LEDDrift, Mixed
from streams.wrappers import Wrapper

# (seed, n_samples) -> stream: what no named stream shows.
SETTINGS: dict[str, Callable[[int, int], Stream]] = {
    "other seed of the decisions": lambda seed, n: ConceptDrift(
        SEA(function=1, seed=seed), SEA(function=3, seed=seed + 1), position=n // 3, width=n // 4, seed=seed
    ),
    "width 0": lambda seed, n: ConceptDrift(
        Mixed(function=1, seed=seed), Mixed(function=2, seed=seed), position=n // 3, width=0
    ),
    "nested to the right": lambda seed, n: ConceptDrift(
        LEDDrift(n_drift_features=1, seed=seed),
        ConceptDrift(
            LEDDrift(n_drift_features=3, seed=seed),
            LEDDrift(n_drift_features=5, seed=seed),
            position=n // 3,
            width=n // 10,
        ),
        position=n // 3,
        width=n // 10,
    ),
    "recurrent, gradual": lambda seed, n: RecurrentConceptDrift(
        SEA(function=2, seed=seed),
        SEA(function=3, seed=seed + 1),
        position=n // 10,
        width=n // 20,
        duration=n // 10,
        stable_period=n // 8,
        n_appearances=3,
        seed=seed,
    ),
    "recurrent, overlapping": lambda seed, n: RecurrentConceptDrift(
        SEA(function=2, seed=seed),
        SEA(function=3, seed=seed),
        position=n // 10,
        width=n // 2,
        duration=n // 10,
        stable_period=0,
        n_appearances=5,
    ),
}
ANGLE = 0.01  # degrees


def moa_command(stream: Stream) -> str:
    """Return the command line of MOA's stream of the same parameters."""
    if not isinstance(stream, ConceptDrift | RecurrentConceptDrift):
        return f"generators.{MOA_COMMANDS[type(stream).__name__](stream)}"
    before, after = (moa_command(concept) for concept in stream.concepts)
    options = f"-s ({before}) -d ({after}) -p {stream.position} -w {stream.width} -r {stream.seed}"
    if isinstance(stream, ConceptDrift):
        return f"ConceptDriftStream {options}"
    return (
        f"RecurrentConceptDriftStream {options} "
        f"-x {stream.duration} -y {stream.stable_period} -z {stream.n_appearances}"
    )


def moa_stream(command: str) -> Any:
    """Return MOA's stream, as a Java object, ready at its first sample."""
    import jpype

    option = jpype.JClass("com.github.javacliparser.ClassOption")
    stream = option.cliStringToObject(command, jpype.JClass("moa.streams.InstanceStream"), None)
    stream.prepareForUse()
    return stream


def cases(seed: int, n_samples: int) -> list[tuple[str, Stream, str]]:
    """Return the name, our stream and MOA's command of everything compared."""
    streams = {name: make(seed, n_samples) for name, make in {**STREAMS, **SETTINGS}.items()}
    known = {name: stream for name, stream in streams.items() if not isinstance(stream, Wrapper)}  # to MOA
    compared = [(name, stream, moa_command(stream)) for name, stream in known.items()]
    wide = angle_width(ANGLE)
    concepts = SEA(function=1, seed=seed), SEA(function=4, seed=seed)
    by_angle = ConceptDrift(*concepts, position=n_samples // 2, width=wide)
    return [*compared, ("angle", by_angle, moa_command(by_angle).replace(f"-w {wide}", f"-a {ANGLE}"))]


def compare(n_samples: int, seeds: list[int], out: Path | None) -> bool:
    """Compare all cases, print and write to `out` the results, and tell whether all were exact."""
    lines: list[dict[str, Any]] = []
    differences: dict[str, list[str | None]] = {}
    print(f"{n_samples:,} samples, seeds {', '.join(map(str, seeds))}")
    for seed in seeds:
        for name, stream, command in cases(seed, n_samples):
            difference = first_difference(
                stream.reader()(n_samples), moa_samples(moa_stream(command), n_samples)
            )
            differences.setdefault(name, []).append(difference)
            line = {
                "stream": name,
                "seed": seed,
                "moa": command,
                "n_samples": n_samples,
                "exact": difference is None,
                "first_difference": difference,
            }
            lines.append(line)
            if difference is not None:
                print(f"    {command}: {difference}", flush=True)
    write_lines(lines, out)
    for name, found in differences.items():
        print(f"{name:<30}{found.count(None):>3} of {len(found):>3} runs exact")
    return all(difference is None for found in differences.values() for difference in found)


def write_vectors(folder: Path) -> None:
    """Write 1000 samples of every case that is not a named stream, for the tests."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {}
    for name, _, command in cases(seed=42, n_samples=1000):
        if name in SETTINGS or name == "angle":
            X, y = moa_samples(moa_stream(command), 1000)
            arrays[f"{name} X"], arrays[f"{name} y"] = X, y.astype(np.int8)
    np.savez_compressed(folder / "moa_concept_drift.npz", **arrays)


if __name__ == "__main__":
    raise SystemExit(
        run("Compare drift by composition with MOA's, sample by sample.", compare, write_vectors)
    )
