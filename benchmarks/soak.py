"""Let a model learn an almost endless stream, save and load it on the way, and watch its memory.

    python -m benchmarks.soak --stream led_a --model driftmoe                # 100 million samples
    python -m benchmarks.soak --stream led_a --model driftmoe --left-alone   # the same without saving
    python -m benchmarks.soak --stream led_a --model driftmoe --show         # what is known so far, and a picture

The model predicts and learns in blocks, as `driftmoe evaluate` does. After every million samples a line is written to
`lines.jsonl` in a folder of the run: memory of the process, river's memory meter of the model, size of its file,
accuracy since the line before, and digest. Then the model is saved, and the loaded one goes on. A run that was killed
goes on from its file when it is started again. A run that is left alone starts anew instead.

When both runs have lines, their digests are compared. The exit status is 1 if digests differ, or if the process, the
model or its file took over 5 % more bytes in the last quarter of the run than in the third. With --show, too.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np

import driftmoe
import streams
from benchmarks.long_run import resident_bytes
from driftmoe import models, saving
from driftmoe.cli.bars import samples_bar
from driftmoe.evaluation.loops import in_blocks
from streams.stream import Block

STEP = 1000
"""Samples between two steps of the progress bar. No block is larger."""

MOST_GROWTH = 0.05
"""Growth from the third quarter of a run to the last, above which memory is not called flat."""

SIZES = {"process": "resident_bytes", "model": "model_bytes", "file": "file_bytes"}
"""What must be flat -> field of a line."""

Line = dict[str, Any]


class Soak(NamedTuple):
    """A run.

    Attributes
    ----------
    stream, model
        Names, as for `driftmoe evaluate`.
    samples
        Length of the stream; its drifts are spread over it.
    every
        Samples between two lines, and between two saved files.
    seed
        Of stream and model.
    is_saved
        Whether the model is saved and loaded after each line.
    """

    stream: str
    model: str
    samples: int = 100_000_000
    every: int = 1_000_000
    seed: int = 1
    is_saved: bool = True

    def place(self, folder: Path) -> Path:
        """Return the folder of the run."""
        way = "saved" if self.is_saved else "left_alone"
        name = re.sub(
            r"[^\w=.-]+", "_", f"{self.stream} {self.model} {self.samples} {self.every} {self.seed}"
        )
        return folder / name / way


class Rest:
    """What is left of a stream after some samples."""

    def __init__(self, stream: Any, n_passed: int, n_samples: int) -> None:
        self.features, self.classes, self.samples = stream.features, stream.classes, stream.samples
        self._read, self._left = stream.reader(), n_samples
        while n_passed:
            n_passed -= len(self._read(min(n_passed, 65_536)).y)

    def blocks(self, size: int) -> Iterator[Block]:
        """Yield the next blocks, until `n_samples` are read."""
        while self._left:
            block = self._read(min(size, self._left))
            self._left -= len(block.y)
            yield block

    def more(self, n_samples: int) -> Rest:
        """Let `n_samples` more be read."""
        self._left = n_samples
        return self


def soak(run: Soak, folder: Path, update: Callable[[int], None] = lambda _: None) -> Iterator[Line]:
    """Yield the lines that are kept, then do the rest of a run and yield its lines.

    Parameters
    ----------
    run
        The run.
    folder
        Where runs are kept.
    update
        Called with the number of samples learnt so far.
    """
    place = run.place(folder)
    place.mkdir(parents=True, exist_ok=True)
    file, lines_file = place / "model.moe", place / "lines.jsonl"
    model: Any = models.make(run.model, seed=run.seed)
    n, lines = 0, []
    if run.is_saved and file.exists():
        model = driftmoe.load(file)
        n = model.routing_report().cumulative.n_samples
        lines = [line for line in read_lines(lines_file) if line["samples"] <= n]
    _rewrite(lines_file, lines)
    yield from lines
    n_resumed = lines[-1]["resumed"] + 1 if lines else 0
    stream = Rest(streams.make(run.stream, seed=run.seed, n_samples=run.samples), n, 0)
    while n < run.samples:
        last = min(n + run.every - n % run.every, run.samples)
        n_right, cpu, n_before = 0, 0.0, n
        for answers in in_blocks(stream.more(last - n), model, STEP, 0):
            n_right += sum(map(_is_right, answers.y_true, answers.y_pred))
            cpu += answers.cpu_seconds
            n += len(answers.y_true)
            update(n)
        content = saving.to_bytes(model)
        line = run._asdict() | {
            "version": driftmoe.__version__, "samples": n, "length": run.samples, "digest": model.digest(),
            "accuracy": round(n_right / (n - n_before), 4), "cpu_seconds": round(cpu, 2), "resumed": n_resumed,
            "model_bytes": model._raw_memory_usage, "file_bytes": len(content), "resident_bytes": resident_bytes(),
        }  # fmt: skip
        with lines_file.open("a", encoding="utf-8") as out:
            out.write(json.dumps(line) + "\n")
        if run.is_saved:  # after the line, which is dropped when a run goes on from an older file
            model = driftmoe.load(driftmoe.save(model, file))
        yield line


def _is_right(y_true: Any, y_pred: Any) -> bool:
    return bool(y_true == y_pred)


def _rewrite(file: Path, lines: Sequence[Line]) -> None:
    part = file.with_name(f".{file.name}.part")  # a reader finds the old file or the new one
    part.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    part.replace(file)


def read_lines(file: Path) -> list[Line]:
    """Return the lines of a run; a last one that was cut off is left out."""
    lines = []
    if file.exists():
        for text in file.read_text(encoding="utf-8").splitlines(keepends=True):
            if text.endswith("\n"):
                lines.append(json.loads(text))
    return lines


def differences(run: Soak, folder: Path) -> tuple[int, int]:
    """Return the number of lines that a run has in common with its twin, and how many of them differ in the digest."""
    twin = run._replace(is_saved=not run.is_saved)
    own, others = (
        {line["samples"]: line["digest"] for line in read_lines(one.place(folder) / "lines.jsonl")}
        for one in (run, twin)
    )
    common = own.keys() & others.keys()
    return len(common), sum(own[n] != others[n] for n in common)


def growth(lines: Sequence[Line], name: str = "resident_bytes") -> float:
    """Return how much more memory the last quarter of a run took at most than the quarter before, as a share."""
    if len(lines) < 4:
        return 0.0
    quarter = len(lines) // 4
    last, before = lines[-quarter:], lines[-2 * quarter : -quarter]
    return float(max(line[name] for line in last) / max(line[name] for line in before)) - 1.0


def growing(lines: Sequence[Line]) -> list[str]:
    """Return what is not flat, by the names of `SIZES`."""
    return [label for label, name in SIZES.items() if growth(lines, name) > MOST_GROWTH]


def summary(run: Soak, lines: Sequence[Line], folder: Path) -> str:
    """Return a few lines of text on a run."""
    half = lines[len(lines) // 2 :]
    n_common, n_different = differences(run, folder)
    seconds = [line["cpu_seconds"] * 1e6 / run.every for line in lines if line["samples"] % run.every == 0]
    texts = [
        f"{run.stream}, {run.model}, {'saved and loaded' if run.is_saved else 'left alone'} every {run.every:,}: "
        f"{lines[-1]['samples']:,} of {run.samples:,} samples, resumed {lines[-1]['resumed']} times",
        f"accuracy {np.mean([line['accuracy'] for line in lines]):.4f}, "
        f"{np.median(seconds) if seconds else float('nan'):.0f} CPU seconds a million samples",
    ]
    for label, name in SIZES.items():
        values = [line[name] / 1e6 for line in half]
        texts.append(
            f"{label:<8}{min(values):8.1f} to {max(values):.1f} MB in the second half, "
            f"{100 * growth(lines, name):+.1f} % from the third quarter to the last"
            + (
                f", more than the {100 * MOST_GROWTH:.0f} % that are called flat"
                if label in growing(lines)
                else ""
            )
        )
    if n_common:
        texts.append(f"digests compared with the twin: {n_common}, different: {n_different}")
    return "\n".join(texts)


def draw(lines: Sequence[Line], path: Path) -> None:
    """Write a picture of memory and accuracy over the samples."""
    panels = {
        "process [MB]": ("resident_bytes", 1e-6), "model [MB]": ("model_bytes", 1e-6),
        "file [MB]": ("file_bytes", 1e-6), "accuracy [%]": ("accuracy", 100),
    }  # fmt: skip
    mpl.use("agg")
    figure, axes = plt.subplots(len(panels), 1, sharex=True, figsize=(8, 8), layout="constrained")
    samples = [line["samples"] / 1e6 for line in lines]
    for axis, (label, (name, factor)) in zip(axes, panels.items(), strict=True):
        axis.plot(samples, [line[name] * factor for line in lines])
        axis.set_ylabel(label)
        if name != "accuracy":
            axis.set_ylim(0, 1.1 * max(line[name] for line in lines) * factor)
    axes[-1].set_xlabel("million samples")
    figure.suptitle(f"{lines[0]['stream']}, {lines[0]['model']}, a save and load every {lines[0]['every']:,}")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--stream", default="led_a", help="default: %(default)s")
    parser.add_argument("--model", default="driftmoe", help="default: %(default)s")
    parser.add_argument("--samples", type=int, default=100_000_000)
    parser.add_argument("--every", type=int, default=1_000_000, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--left-alone", action="store_true", help="neither save nor load on the way")
    parser.add_argument("--show", action="store_true", help="show the lines so far, without a run")
    parser.add_argument(
        "--folder", type=Path, default=Path("runs/soak"), help="of all runs (default: %(default)s)"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="copy the lines to this file in the end")
    options = parser.parse_args()
    run = Soak(
        options.stream, options.model, options.samples, options.every, options.seed, not options.left_alone
    )
    place = run.place(options.folder)
    if options.show:
        lines = read_lines(place / "lines.jsonl")
    else:
        start = time.perf_counter()
        with samples_bar(f"{run.stream}, {run.model}", run.samples) as update:
            lines = list(soak(run, options.folder, update))
        print(f"{time.perf_counter() - start:.0f} seconds", file=sys.stderr)
    if not lines:
        raise SystemExit(f"there is no line in {place}; start the run without --show")
    print(summary(run, lines, options.folder))
    draw(lines, place / "lines.png")
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        kept = [line for line in read_lines(options.out) if _key(line) != _key(lines[0])]
        _rewrite(options.out, [*kept, *lines])
    return int(differences(run, options.folder)[1] > 0 or len(growing(lines)) > 0)


def _key(line: Line) -> tuple[Any, ...]:
    return tuple(line[name] for name in ("stream", "model", "length", "every", "seed", "is_saved"))


if __name__ == "__main__":
    sys.exit(main())
