"""Compare every synthetic stream with MOA's generator of the same parameters, sample by sample.

    python -m benchmarks.moa_parity                          three fresh seeds, 100 000 samples of each
    python -m benchmarks.moa_parity --vectors tests/vectors  write the samples that the tests compare with

The first command prints a table. With `--out FILE` it also writes a line per generator, setting and seed. Both need
Java and the extra `capymoa`, which brings MOA.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from streams import synthetic
from streams.stream import Stream

# What is compared of each generator. The seed comes on top, for the model as well unless given here.
SETTINGS: dict[str, list[dict[str, Any]]] = {
    "LED": [{}, {"noise": 0.35}, {"noise": 0.0, "irrelevant_features": False}],
    "LEDDrift": [
        *({"n_drift_features": k} for k in (0, 1, 3, 5, 7)),
        {"n_drift_features": 7, "irrelevant_features": False},
    ],
    "SEA": [*({"function": f} for f in range(1, 5)), {"function": 2, "noise": 0.25, "balance": True}],
    "RandomRBF": [
        {},
        {"n_classes": 5, "n_features": 3, "n_centroids": 20},
        {"n_features": 1, "model_seed": 7},
    ],
    "RandomRBFDrift": [
        {"speed": 1e-4},
        {"speed": 1e-3},
        {"n_classes": 4, "n_features": 3, "n_centroids": 30, "n_drift_centroids": 10, "speed": 0.05},
        {"n_features": 2, "n_centroids": 10, "speed": 0.01, "model_seed": 7},
    ],
    "Agrawal": [
        *({"function": f} for f in range(1, 11)),
        {"function": 5, "perturbation": 0.0, "balance": True},
        {"function": 10, "perturbation": 0.5, "balance": True},
    ],
    "Hyperplane": [
        {},
        {"n_features": 5, "n_drift_features": 5, "mag_change": 0.01, "noise": 0.1, "sigma": 0.3},
    ],
    "RandomTree": [
        {},
        {"n_nominal": 4, "n_numeric": 0, "max_depth": 4},
        {"n_nominal": 0, "n_numeric": 3, "model_seed": 7},
        {
            "n_classes": 5,
            "n_nominal": 3,
            "n_numeric": 2,
            "n_values": 3,
            "max_depth": 9,
            "first_leaf_level": 2,
            "leaf_fraction": 0.3,
        },
    ],
    "Sine": [
        *({"function": f} for f in range(1, 5)),
        {"function": 3, "irrelevant_features": False, "balance": True},
    ],
    "STAGGER": [*({"function": f} for f in range(1, 4)), {"function": 1, "balance": True}],
    "Mixed": [{"function": 1}, {"function": 2}, {"function": 1, "balance": True}],
    "Waveform": [{}, {"irrelevant_features": True}],
    "WaveformDrift": [{}, {"n_drift_features": 5}, {"n_drift_features": 12, "irrelevant_features": True}],
    "AssetNegotiation": [*({"function": f} for f in range(1, 6)), {"function": 1, "noise": 0.0}],
}


def build(name: str, setting: dict[str, Any], seed: int) -> Stream:
    """Return our stream of a setting and a seed."""
    if name in ("RandomRBF", "RandomRBFDrift", "RandomTree"):
        setting = {"model_seed": seed, **setting}
    return getattr(synthetic, name)(seed=seed, **setting)


def percent(share: float) -> int:
    """Return a probability in MOA's unit."""
    return round(100 * share)


def flag(is_set: bool, letter: str) -> str:
    """Return a flag of a command line, or nothing."""
    return f" -{letter}" if is_set else ""


def rbf_options(s: Any) -> str:
    """Return the options that both RBF generators have."""
    return f"-r {s.model_seed} -i {s.seed} -c {s.n_classes} -a {s.n_features} -n {s.n_centroids}"


MOA_COMMANDS: dict[str, Callable[[Any], str]] = {
    "LED": lambda s: f"LEDGenerator -i {s.seed} -n {percent(s.noise)}" + flag(not s.irrelevant_features, "s"),
    "LEDDrift": lambda s: (
        f"LEDGeneratorDrift -i {s.seed} -n {percent(s.noise)} -d {s.n_drift_features}"
        + flag(not s.irrelevant_features, "s")
    ),
    "SEA": lambda s: f"SEAGenerator -i {s.seed} -f {s.function} -p {percent(s.noise)}" + flag(s.balance, "b"),
    "RandomRBF": lambda s: f"RandomRBFGenerator {rbf_options(s)}",
    "RandomRBFDrift": lambda s: (
        f"RandomRBFGeneratorDrift {rbf_options(s)} -s {s.speed} -k {s.n_drift_centroids}"
    ),
    "Agrawal": lambda s: (
        f"AgrawalGenerator -i {s.seed} -f {s.function} -p {s.perturbation}" + flag(s.balance, "b")
    ),
    "Hyperplane": lambda s: (
        f"HyperplaneGenerator -i {s.seed} -a {s.n_features} -k {s.n_drift_features} -t {s.mag_change} "
        f"-n {percent(s.noise)} -s {percent(s.sigma)}"
    ),
    "RandomTree": lambda s: (
        f"RandomTreeGenerator -r {s.model_seed} -i {s.seed} -c {s.n_classes} -o {s.n_nominal} "
        f"-u {s.n_numeric} -v {s.n_values} -d {s.max_depth} -l {s.first_leaf_level} -f {s.leaf_fraction}"
    ),
    "Sine": lambda s: (
        f"SineGenerator -i {s.seed} -f {s.function}"
        + flag(not s.irrelevant_features, "s")
        + flag(s.balance, "b")
    ),
    "STAGGER": lambda s: f"STAGGERGenerator -i {s.seed} -f {s.function}" + flag(s.balance, "b"),
    "Mixed": lambda s: f"MixedGenerator -i {s.seed} -f {s.function}" + flag(s.balance, "b"),
    "Waveform": lambda s: f"WaveformGenerator -i {s.seed}" + flag(s.irrelevant_features, "n"),
    "WaveformDrift": lambda s: (
        f"WaveformGeneratorDrift -i {s.seed} -d {s.n_drift_features}" + flag(s.irrelevant_features, "n")
    ),
    "AssetNegotiation": lambda s: f"AssetNegotiationGenerator -i {s.seed} -f {s.function} -n {s.noise}",
}


def require_capymoa() -> None:
    """End the program with status 2 where CapyMOA is not installed, else start its Java."""
    if importlib.util.find_spec("capymoa") is None:
        print("capymoa is not installed: pip install 'driftmoe[capymoa]' and Java 17", file=sys.stderr)
        raise SystemExit(2)
    import capymoa  # noqa: F401 - starts the JVM


def moa_stream(command: str) -> Any:
    """Return MOA's generator, as a Java object, ready at its first sample."""
    import jpype

    option, kind = (
        jpype.JClass("com.github.javacliparser.ClassOption"),
        jpype.JClass("moa.streams.InstanceStream"),
    )
    stream = option.cliStringToObject(f"generators.{command}", kind, None)
    stream.prepareForUse()
    if command.startswith("AssetNegotiation"):
        restore_repair_random(stream)
    return stream


def restore_repair_random(stream: Any) -> None:
    """Put the random states that all AssetNegotiation streams of a Java process share back to their start."""
    import jpype

    concepts = stream.getClass().getDeclaredField("concepts")
    concepts.setAccessible(True)
    for concept in concepts.get(None):
        state = concept.getClass().getDeclaredField("r")
        state.setAccessible(True)
        state.set(concept, jpype.JClass("java.util.Random")(2**31 - 1))


def moa_samples(stream: Any, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the next `n` samples of MOA's generator as `Block` holds them."""
    rows = np.array([stream.nextInstance().getData().toDoubleArray() for _ in range(n)])
    return np.ascontiguousarray(rows[:, :-1]), rows[:, -1].astype(np.int64)


def first_difference(ours: tuple[np.ndarray, np.ndarray], moa: tuple[np.ndarray, np.ndarray]) -> str | None:
    """Return `None` if all samples are equal, else which one is not and how far."""
    differs = (ours[0] != moa[0]).any(axis=1) | (ours[1] != moa[1])
    if not differs.any():
        return None
    i = int(differs.argmax())
    distance = float(np.abs(ours[0][i] - moa[0][i]).max())
    return f"sample {i}: features up to {distance:.3g} apart, label {ours[1][i]} and MOA's {moa[1][i]}"


def compare(n_samples: int, seeds: list[int], out: Path | None) -> bool:
    """Compare all settings, print and write to `out` the results, and tell whether all were exact."""
    lines: list[dict[str, Any]] = []
    all_exact = True
    print(f"{n_samples:,} samples, seeds {', '.join(map(str, seeds))}")
    for name, settings in SETTINGS.items():
        n_exact = 0
        for setting in settings:
            for seed in seeds:
                stream = build(name, setting, seed)
                command = MOA_COMMANDS[name](stream)
                difference = first_difference(
                    stream.reader()(n_samples), moa_samples(moa_stream(command), n_samples)
                )
                line = {
                    "generator": name,
                    "seed": seed,
                    "setting": setting,
                    "moa": command,
                    "n_samples": n_samples,
                    "exact": difference is None,
                    "first_difference": difference,
                }
                lines.append(line)
                n_exact += difference is None
                if difference is not None:
                    print(f"    {command}: {difference}")
        n_runs = len(settings) * len(seeds)
        all_exact &= n_exact == n_runs
        print(f"{name:<18}{n_exact:>3} of {n_runs:>3} runs exact", flush=True)
    write_lines(lines, out)
    return all_exact


def write_vectors(folder: Path) -> None:
    """Write, for the tests, 50 samples and the hash of 2 000 of every setting, and numbers of Java."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, settings in SETTINGS.items():
        arrays, cases = {}, []
        for setting in settings:
            for seed in (1, 42):
                stream = build(name, setting, seed)
                X, y = moa_samples(moa_stream(MOA_COMMANDS[name](stream)), 2000)
                # Adding 0.0 makes -0.0 the same bytes as the 0.0 that it equals.
                sha256 = hashlib.sha256((X + 0.0).tobytes() + y.tobytes()).hexdigest()
                model_seed = {"model_seed": stream.model_seed} if hasattr(stream, "model_seed") else {}
                i = len(cases)
                cases.append({"kwargs": {"seed": seed, **model_seed, **setting}, "sha256": sha256})
                arrays[f"X{i}"], arrays[f"y{i}"] = X[:50], y[:50].astype(np.int8)
        np.savez_compressed(folder / f"moa_{name}.npz", cases=json.dumps(cases), **arrays)
    np.savez_compressed(folder / "java_random.npz", **java_random_numbers())


def java_random_numbers() -> dict[str, np.ndarray]:
    """Return the first numbers of each kind from Java's `Random`, one row per seed."""
    import jpype

    seeds = [0, 1, 42, -1, 2**31 - 1, -(2**31), 123456789012345]
    # 2**30 + 1 makes Java draw again in nearly every second case; powers of two take another way.
    bounds = [1, 2, 3, 10, 64, 100, 1000003, 2**30, 2**30 + 1, 2**31 - 1]

    def rows(draw: Callable[[Any], Any]) -> np.ndarray:
        made = []
        for seed in seeds:
            java = jpype.JClass("java.util.Random")(jpype.JLong(seed))
            made.append([draw(java) for _ in range(40)])
        return np.array(made)

    logarithm = jpype.JClass("java.lang.StrictMath").log
    x = np.random.default_rng(1).random(900)
    x = np.concatenate(
        [x[:400], 1 - 1e-6 * x[400:500], 1.3 + 0.2 * x[500:700], 1e3 * x[700:], [1.0, 0.5, 4.0]]
    )
    return {
        "seeds": np.array(seeds),
        "bounds": np.array(bounds),
        "next_int": rows(lambda java: java.nextInt()),
        "next_int_below": np.stack([rows(lambda java, b=b: java.nextInt(b)) for b in bounds]),
        "next_double": rows(lambda java: java.nextDouble()),
        "next_float": rows(lambda java: java.nextFloat()),
        "next_boolean": rows(lambda java: java.nextBoolean()),
        "next_gaussian": rows(lambda java: java.nextGaussian()),
        "log_x": x,
        "log": np.array([logarithm(float(value)) for value in x]),
    }


def write_lines(lines: list[dict[str, Any]], out: Path | None) -> None:
    """Write a line of JSON per result where a file is named, else nothing."""
    if out is not None:
        out.write_text("".join(json.dumps(line) + "\n" for line in lines))


def run(
    description: str,
    compare: Callable[[int, list[int], Path | None], bool],
    write_vectors: Callable[[Path], None],
) -> int:
    """Run a comparison from the command line; the status is 1 if any sample differs, 2 without CapyMOA."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--n-samples", type=int, default=100_000)
    parser.add_argument("--seeds", type=int, nargs="+", help="three fresh ones by default")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write a line of JSON per run as well")
    parser.add_argument(
        "--vectors", type=Path, metavar="FOLDER", help="write the vectors of the tests instead"
    )
    arguments = parser.parse_args()
    require_capymoa()
    if arguments.vectors:
        write_vectors(arguments.vectors)
        return 0
    seeds = arguments.seeds or random.SystemRandom().sample(range(2**31 - 10), 3)
    return 0 if compare(arguments.n_samples, seeds, arguments.out) else 1


if __name__ == "__main__":
    raise SystemExit(
        run("Compare the synthetic streams with MOA's, sample by sample.", compare, write_vectors)
    )
