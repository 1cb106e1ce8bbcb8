"""Runs and their results. A run is one model on one stream with one seed; its result is a JSON line and a curve.

`driftmoe evaluate` keeps its runs in a `ResultFolder`: `results.jsonl` has a line for each run, `windows.csv` a line
for each window of each run. Both files are rewritten together after each run. `driftmoe grid` keeps its runs in a
`JobFolder`, with one file per run, so that many processes or machines can write at the same time. A run that has a file
is not done again. `run_grid` does the runs one by one, in processes of this machine, or on a Dask cluster.
`read_results` reads both kinds of folder.

Several commands may share a folder. A command does a run only while it holds the run's `Claim`, a lock of the operating
system that is released whenever and however the process ends. `Backlog` hands out the runs with their claims.

`planning` lists the runs of a grid. `run` does one run, `lines` defines its result line and its curve, `folder` stores
them, and `results` reads them. `evaluations` does the runs of `driftmoe evaluate`, `grid` those of `driftmoe grid`,
both with `executors`. They take the runs from the `backlog`. `checkpoints` keeps runs that are not complete, so that
they go on after their process was killed, and `spare_room` the memory that their models have in reserve. `environment`
says with which versions a run was done.
"""

from __future__ import annotations

from driftmoe.experiment.backlog import GLANCE, Backlog, Event, Shared
from driftmoe.experiment.checkpoints import CheckpointFolder, why_not_kept
from driftmoe.experiment.delays import delay_by_time, delay_options, parsed_delay, told_delay
from driftmoe.experiment.evaluations import Evaluations, Outcome
from driftmoe.experiment.executors import LOOK, PATIENCE, Happenings, Work
from driftmoe.experiment.folder import CLAIMS, COMMITTED, PENDING, Claim, JobFolder, ResultFolder
from driftmoe.experiment.grid import EXECUTORS, run_grid, shard
from driftmoe.experiment.label_order import (
    LABEL_ORDERS,
    check_order,
    label_share_of,
    of_model,
    order_protocol,
)
from driftmoe.experiment.lines import (
    CURVE_COLUMNS,
    KEY,
    KINDS,
    OPTIONAL,
    REQUIRED,
    counts_warm_up,
    kind_of_run,
    run_key,
    warm_up_protocol,
)
from driftmoe.experiment.measuring import check_gives_proba, computed, figures_of
from driftmoe.experiment.planning import OpenStream, check_delay, fitting_window, planned
from driftmoe.experiment.results import read_failures, read_results
from driftmoe.experiment.run import (
    ENOUGH_TO_COMPILE,
    Attempt,
    News,
    Run,
    check_fingerprint,
    commit,
    compile_first,
    plain,
    reading,
    run_job,
    versions,
)

__all__ = [
    "CLAIMS", "COMMITTED", "CURVE_COLUMNS", "ENOUGH_TO_COMPILE", "EXECUTORS", "GLANCE", "KEY", "KINDS", "LABEL_ORDERS",
    "LOOK", "OPTIONAL", "PATIENCE", "PENDING", "REQUIRED", "Attempt", "Backlog", "CheckpointFolder", "Claim",
    "Evaluations", "Event", "Happenings", "JobFolder", "News", "OpenStream", "Outcome", "ResultFolder", "Run", "Shared",
    "Work",
    "check_delay", "check_fingerprint", "check_gives_proba", "check_order", "commit", "compile_first", "computed",
    "counts_warm_up",
    "delay_by_time", "delay_options", "figures_of", "fitting_window", "kind_of_run", "label_share_of", "of_model",
    "order_protocol",
    "parsed_delay", "plain", "planned",
    "read_failures", "read_results", "reading", "run_grid", "run_job", "run_key", "shard", "told_delay", "versions",
    "warm_up_protocol", "why_not_kept",
]  # fmt: skip
