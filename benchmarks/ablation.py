"""What each part of the adaptive mixture adds: one part off at a time, more or fewer trees, less memory.

    python -m benchmarks.ablation parts --limit 30000
    python -m benchmarks.ablation trees --limit 30000 --streams led_a rbf_f rbf_m sea_a electricity covtype
    python -m benchmarks.ablation memory --limit 30000 --streams rbf_f rbf_m recurrent_rbf covtype electricity
    python -m benchmarks.ablation gate --limit 100000
    python -m benchmarks.ablation bytes --limit 50000 --streams electricity led_a rbf_m agrawal_a random_tree
    python -m benchmarks.ablation experts --limit 20000
    python -m benchmarks.ablation shedding --limit 100000
    python -m benchmarks.ablation long --limit 1000000 --seeds 1 --streams led_a sea_g rbf_f rbf_m

Each run writes one file in `--out`, and a run that has a file is not repeated. Then run `driftmoe report` on that
folder, or pass `--lines FILE` to collect the lines alone. Parameters were chosen on seeds 1 to 5 of shorter
streams, so seeds begin with 11.
"""

from __future__ import annotations

import argparse
import functools
import sys
from pathlib import Path

from benchmarks.collected import collect
from driftmoe.cli.board import show_grid
from driftmoe.experiment import JobFolder, planned, read_results, run_grid
from streams.opening import open_stream

PAPER = ("electricity", "led_a", "led_g", "sea_a", "sea_g", "rbf_m", "rbf_f", "covtype")
OTHERS = (
    "weather", "agrawal_a", "agrawal_g", "mixed_a", "recurrent_led", "recurrent_rbf", "random_tree", "waveform",
    "asset_negotiation", "rbf_imbalanced",
)  # fmt: skip

PARTS = (
    "driftmoe",
    "driftmoe(extras=('relevant-neighbours', 'history', 'linear', 'network', 'head'))",
    "driftmoe(extras=('neighbours', 'history', 'linear', 'network', 'head'))",
    "driftmoe(extras=('history', 'linear', 'network', 'head'))",
    "driftmoe(extras=('neighbours', 'relevant-neighbours', 'linear', 'network', 'head'))",
    "driftmoe(extras=('neighbours', 'relevant-neighbours', 'history', 'network', 'head'))",
    "driftmoe(extras=('neighbours', 'relevant-neighbours', 'history', 'linear', 'head'))",
    "driftmoe(extras=('neighbours', 'relevant-neighbours', 'history', 'linear', 'network'))",
    "driftmoe(extras=())",
    "driftmoe(monitors=False)",
    "driftmoe(leverage=1.0)",
    "driftmoe(policy=TopK(k=12))",
    "driftmoe(min_trust=0.0)",
    "driftmoe(gate='router')",
    "driftmoe(gate='recency')",
    "driftmoe(gate='equal')",
    "driftmoe(learning_rate=0.0)",
)
"""The default, then one part less each; 12 of 26 experts vote, and of the trees learn, with `TopK(12)`. With a
learning rate of 0 router and head stay as they were drawn; how well each expert does of late counts all the same."""

GATE = (
    "driftmoe",
    "driftmoe(min_trust=0.0)",
    "driftmoe(gate='equal', min_trust=0.0)",
    "driftmoe(learning_rate=0.0, min_trust=0.0)",
)
"""The learnt gate, the same where all are always asked, equal votes, and a router that stays as it was drawn."""

EXPERTS = (
    "driftmoe",
    *(
        f"driftmoe(extras=('neighbours', 'relevant-neighbours', 'history', 'linear', 'network', '{extra}', 'head'))"
        for extra in ("products", "sequence", "products', 'sequence")
    ),
)
"""The default, then one kind of expert more each, then both."""

N_TREES = (1, 2, 4, 8, 12, 24, 48)

MEMORIES = (256, 512, 1024, 2048, 4096, 8192)

MEGABYTES = (8, 4, 2, 1)

STUDIES = {
    "parts": PARTS,
    "gate": GATE,
    "experts": EXPERTS,
    "trees": tuple(f"driftmoe(n_experts={n}{extras})" for n in N_TREES for extras in ("", ", extras=()")),
    "memory": tuple(f"driftmoe(memory={n})" for n in MEMORIES),
    "bytes": ("driftmoe", *(f"driftmoe(max_bytes={n}000000)" for n in MEGABYTES)),
    "long": ("driftmoe",),
    "shedding": ("driftmoe(min_awake=2)", "driftmoe(min_awake=0)"),
}


def main() -> None:
    """Do the runs of a study that are missing."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study", choices=STUDIES)
    parser.add_argument("--limit", type=int, default=100_000, help="most samples of a stream")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds")
    parser.add_argument("--first-seed", type=int, default=11)
    parser.add_argument("--streams", nargs="+", default=(*PAPER, *OTHERS))
    parser.add_argument("--delay", default="0", help="samples between a sample and its label")
    parser.add_argument("--out", type=Path, help="folder of the results; runs/STUDY by default")
    parser.add_argument("--lines", type=Path, help="file to add all result lines of the folder to")
    parser.add_argument("--workers", type=int, default=1, help="runs at a time")
    parser.add_argument("--data-dir", type=Path, help="as for `driftmoe evaluate`")
    arguments = parser.parse_args()
    out = arguments.out or Path("runs") / arguments.study
    open_run = functools.partial(open_stream, data_dir=arguments.data_dir)
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    runs = planned(
        arguments.streams,
        STUDIES[arguments.study],
        seeds,
        open_run,
        limit=arguments.limit,
        delay=arguments.delay,
    )
    runs.sort(key=lambda run: run.seed)
    events = run_grid(runs, open_run, JobFolder(out), executor="processes", n_workers=arguments.workers)
    n_failed = show_grid(runs, events, out)
    if arguments.lines is not None:
        lines = [dict(line) for line in read_results(out)[0]]
        for line in lines:
            del line["routing"]["experts"], line["parameters"]  # the model tells them
        collect(lines, arguments.lines)
    sys.exit(1 if n_failed else 0)


if __name__ == "__main__":
    main()
