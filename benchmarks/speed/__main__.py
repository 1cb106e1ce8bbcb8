"""Measure the cost of a sample in our trees, the pool and DriftMoE, beside river's and CapyMOA's learners.

    python -m benchmarks.speed                                     the tables, the goals: some six minutes
    python -m benchmarks.speed --capymoa-python OTHER/bin/python   with CapyMOA, where it is installed elsewhere
    python -m benchmarks.speed --stream rbf_f --repeats 5 --out speed_rbf_f.jsonl
    python -m benchmarks.speed --quick                             has a part become slower? a minute; --keep
    python -m benchmarks.speed --scaling --out benchmarks/results/speed_scaling.jsonl   and a picture beside it
    python -m benchmarks.speed --scaling --only values --only names --out ...           these lines of the file alone

Everything runs on the same samples in the same run, on one thread unless a line says two. A case is a way to
predict and then learn a number of samples. First, ways that must be equal are checked for equal answers: our tree
and river's, on dictionaries and in blocks; DriftMoE sample by sample, by frames and in the evaluator; one and two
threads. The same holds for labels that come 500 samples late. "moe-data" is the paper's variant. "driftmoe" is the
adaptive one, which is compared on a second stream as well. Then repeats take turns, so that a busy machine is busy for
all. The medians are printed with their ratios.

*What is timed* is predicting and learning by the calls that users make, from an untrained model on. `prequential`
is timed as a whole, with its metrics, and so is CapyMOA, whose loop stays inside Java. Pools in blocks of 256 count
the hits of their vote. Making samples, dictionaries, frames and models is not timed: the samples are in memory on
both sides. Peers have their defaults, except that CapyMOA's Hoeffding tree has the settings of ours. Features are
numbers for all, unless a line says nominal. Learners that would take too long see fewer samples, and a ratio always
compares equally many. Java runs each case once before its time counts, and its compiler and collector have their
own threads.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import Progress

import streams
from benchmarks.moa_parity import write_lines
from benchmarks.speed.quick import N_IN_BLOCKS, run
from benchmarks.speed.report import report
from benchmarks.speed.samples import Samples
from benchmarks.speed.scaling import BASE, SCALES, draw_growth, print_growth, scaling, with_kept

ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1"
)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.speed",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--stream", default="led_a", choices=streams.names(), metavar="NAME")
    parser.add_argument(
        "--second", default="rbf_f", choices=streams.names(), metavar="NAME", help="(default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--samples", type=int, default=50_000, help="for most (default: %(default)s)")
    parser.add_argument(
        "--few", type=int, default=5_000, help="samples on dictionaries (default: %(default)s)"
    )
    parser.add_argument(
        "--fewest", type=int, default=500, help="for river's ensembles (default: %(default)s)"
    )
    parser.add_argument("--repeats", type=int, default=3, help="(default: %(default)s)")
    parser.add_argument(
        "--scaling", action="store_true", help="how cost grows with each size, instead of the table"
    )
    parser.add_argument(
        "--only",
        action="append",
        choices=list(SCALES),
        metavar="SIZE",
        help="with --scaling, let this size grow alone, and keep what the file has of others; may come again: "
        + ", ".join(SCALES),
    )
    parser.add_argument(
        "--capymoa-python", metavar="PYTHON", help="interpreter with capymoa, if not this one"
    )
    parser.add_argument("--quick", action="store_true", help="a minute: which part has become slower?")
    parser.add_argument("--keep", action="store_true", help="with --quick, keep its ratios as the new bounds")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write lines of JSON as well")
    options = parser.parse_args()
    if any(os.environ.get(name) != "1" for name in ONE_THREAD):  # libraries read these when they are imported
        os.execve(
            sys.executable, [sys.executable, "-m", "benchmarks.speed", *sys.argv[1:]], os.environ | ONE_THREAD
        )
    torch.set_num_threads(1)

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=None)

        def tick(what: str) -> None:
            progress.update(task, description=what, advance=1)

        if options.quick:
            samples = Samples(streams.make(options.stream, options.seed, N_IN_BLOCKS), N_IN_BLOCKS)
            raise SystemExit(not run(samples, max(options.repeats, 5), tick, keeps=options.keep))
        if options.scaling:
            scales = {what: SCALES[what] for what in SCALES if what in (options.only or SCALES)}
            lines = with_kept(scaling(scales, BASE, options.repeats, tick), options.out)
        else:
            lines = report(options, streams.make(options.stream, options.seed, options.samples), tick)
    if options.scaling:
        print_growth(lines)
        if options.out is not None:
            draw_growth(lines, options.out.with_suffix(".png"))
    machine = {"machine": platform.machine(), "cores": os.cpu_count(), "python": platform.python_version()}
    about = machine | {"repeats": options.repeats}
    if not options.scaling:
        about |= {"stream": options.stream, "second": options.second, "seed": options.seed}
    write_lines([about | line for line in lines], options.out)


if __name__ == "__main__":
    main()
