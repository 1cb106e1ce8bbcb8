"""The grid of the DriftMoE paper: its streams and methods, with as many seeds and at such a length as asked for.

    python -m benchmarks.paper --scale 0.1 --seeds 3
    python -m benchmarks.paper --scale 0.1 --seeds 3 --models moa-arf moa-srp --streams led_a sea_a --out runs/paper

A run is one file; one that is there is not done again, so the command can be stopped and given again, also with more
models, streams or seeds. Cheap runs come first, all streams with the first seed before the second seed. `moa-...`
models need the extra `capymoa` and Java. Then `driftmoe report runs/paper`.

Streams are as long as the paper's times `--scale`, or as long as they are: a real one loses its end, a synthetic one
keeps its concepts, which are shorter. `elec2` is the paper's ELEC, with date and day; `electricity` is the same
without. The paper's AIRL is left out where it is neither in the data folder nor can be fetched. Seeds 1 to 3 are for
choosing parameters, so that published figures begin with another one.
"""

from __future__ import annotations

import argparse
import functools
import sys
from pathlib import Path

import streams
from driftmoe.cli import carry_out, planned
from driftmoe.streams_cli import FileOptions, open_stream

N_SAMPLES = 1_000_000
"""Samples of the paper's synthetic streams, and the most that is taken of a real one."""

STREAMS = (
    "electricity", "elec2", "rbf_f", "led_a", "sea_a", "rbf_m", "led_g", "sea_g", "covtype", "airlines",
)  # fmt: skip

OURS = ("driftmoe", "moe-data", "moe-task")
RIVER = ("arf", "srp", "levbag")
CAPYMOA = ("moa-arf", "moa-srp", "moa-levbag")
LARGE = tuple(f"{name}(ensemble_size=100)" for name in CAPYMOA)
MODELS = (*OURS, *CAPYMOA, *RIVER, *LARGE)


def main() -> None:
    """Do the runs that are missing."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scale", type=float, default=1.0, help="length, as a share of the paper's")
    parser.add_argument("--seeds", type=int, default=10, help="number of seeds")
    parser.add_argument("--first-seed", type=int, default=11)
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--streams", nargs="+", default=STREAMS)
    parser.add_argument(
        "--river-limit", type=int, metavar="N",
        help=f"let {', '.join(RIVER)} run on N samples only, and driftmoe once more beside them",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, default=Path("runs/paper"), help="folder of the results")
    parser.add_argument("--workers", type=int, default=1, help="runs at a time")
    parser.add_argument("--data-dir", type=Path, help="as for `driftmoe evaluate`")
    arguments = parser.parse_args()
    open_run = functools.partial(open_stream, options=FileOptions(), data_dir=arguments.data_dir)
    limit, river_limit = round(arguments.scale * N_SAMPLES), arguments.river_limit
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    names = [name for name in arguments.streams if is_there(name, arguments.data_dir)]
    if river_limit is None:
        runs = planned(names, arguments.models, seeds, open_run, limit=limit)
    else:
        full = [model for model in arguments.models if model not in RIVER]
        short = [model for model in arguments.models if model in (*RIVER, "driftmoe")]
        runs = planned(names, full, seeds, open_run, limit=limit)
        runs += planned(names, short, seeds, open_run, limit=river_limit)
    runs.sort(key=lambda run: (run.model in LARGE, run.seed))  # stable: streams and models as they were given
    n_failed = carry_out(runs, open_run, arguments.out, executor="processes", n_workers=arguments.workers)
    sys.exit(1 if n_failed else 0)


def is_there(name: str, data_dir: Path | None) -> bool:
    """Tell whether a stream can be had, and say so where it cannot."""
    try:
        streams.make(name, data_dir=data_dir)
    except FileNotFoundError as error:
        print(f"left out: {str(error).splitlines()[0]}", file=sys.stderr)
        return False
    return True


if __name__ == "__main__":
    main()
