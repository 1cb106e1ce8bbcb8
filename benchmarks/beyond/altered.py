"""The default, altered while it runs: a router taught toward the best expert, smaller pools, trees that are replaced.

    python -m benchmarks.beyond.altered --limit 20000

- `tau=T`: the router learns toward softmax(-loss / T) of its experts, as an oracle would route, and not from the
  likelihood of the mixture. The weights of the memories learn as always.
- `replace`: at the end of each block of 500 samples with an alarm of the model's own drift detector, of the two trees
  that agreed most often in it the one that the gate trusted less begins anew.
- `n_experts=N`, `min_awake=N`: fewer trees, and trees that sleep where the gate does not need them; both are arguments.

The library knows neither of the first two: a run puts them in from outside. A run that has a line in `--out` is not
repeated. The runs of a stream follow one another, the default first, so that their processor times can be compared.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

from benchmarks.beyond.kernels import toward_best
from benchmarks.beyond.pool_kernels import agreement
from benchmarks.beyond.votes import Recorder, parser_of_runs
from driftmoe import DriftMoEClassifier
from driftmoe.evaluation import prequential
from driftmoe.mixture.adaptive import AdaptiveMixture
from driftmoe.mixture.router import Router
from driftmoe.transaction import planned
from streams.opening import open_stream

DEFAULT = "default"
ALTERED = ("tau=0.1", "replace", "n_experts=2", "n_experts=4")
RESULTS = Path(__file__).parents[1] / "results" / "ablation" / "altered.jsonl"

STEP = 500
"""Samples between two looks at the drift detector."""


@contextmanager
def taught_toward_best(tau: float) -> Iterator[None]:
    """Teach the routers of all adaptive mixtures toward softmax(-loss / tau) of their experts, while it is entered."""
    call_of, plan = AdaptiveMixture._answer_call, Router.plan
    told: list[Any] = []

    def answer_call(mixture: AdaptiveMixture, now: Any, batch: Any, arrivals: Any) -> Any:
        told[:] = now
        return call_of(mixture, now, batch, arrivals)

    def plan_lesson(router: Router, errors: np.ndarray, changes: Any, **more: Any) -> None:
        if told and errors is told[-1]:
            _, votes, _, targets, _, weights, _ = told
            changes.append(planned(toward_best, votes, weights, targets, tau, errors))
        plan(router, errors, changes, **more)

    with (
        mock.patch.object(AdaptiveMixture, "_answer_call", answer_call),
        mock.patch.object(Router, "plan", plan_lesson),
    ):
        yield


def replace_one(model: DriftMoEClassifier, recorder: Recorder) -> None:
    """Begin one of the two trees anew that agreed most often on the samples of a record: the less trusted one."""
    found = recorder.joined()
    pool = model._mixture.experts.pool
    n_trees = pool.n_experts
    agreed = np.zeros((n_trees, n_trees))
    agreement(found["votes"][:, :n_trees], agreed)
    np.fill_diagonal(agreed, -1.0)
    pair = list(divmod(int(agreed.argmax()), n_trees))
    trust = found["weights"][:, :n_trees].mean(axis=0)
    pool.reset(min(pair, key=lambda e: (trust[e], e)))


def measured(name: str, stream: Any, seed: int) -> dict[str, Any]:
    """Return accuracy, and processor time of a sample in µs, of a run of an altered model on a stream."""
    before, _, value = name.partition("=")
    arguments = {before: int(value)} if before in ("n_experts", "min_awake") else {}
    model = DriftMoEClassifier(seed=seed, **arguments)
    start = time.process_time()
    more: dict[str, Any] = {}
    if before == "tau":
        with taught_toward_best(float(value)):
            *_, last = prequential(stream, model, window=10**9)
    elif before == "replace":
        last, more["n_replaced"] = _with_replacements(model, stream)
    else:
        *_, last = prequential(stream, model, window=10**9)
    seconds = time.process_time() - start
    figures = {
        "accuracy": round(last.cumulative["accuracy"], 6),
        "us": round(1e6 * seconds / last.n_samples, 2),
    }
    return {"n_samples": last.n_samples} | figures | more


def _with_replacements(model: DriftMoEClassifier, stream: Any) -> tuple[Any, int]:
    seen, n_replaced = 0, 0
    with Recorder() as recorder:
        for last in prequential(stream, model, window=STEP):
            events = [event for event in model.events(since=seen) if event.kind == "drift"]
            seen = last.n_samples
            if events:
                replace_one(model, recorder)
                n_replaced += 1
            recorder.steps.clear()
    return last, n_replaced


def main() -> None:
    """Do the runs that have no line yet, and add theirs."""
    parser = parser_of_runs(__doc__)
    parser.add_argument("--altered", nargs="+", default=ALTERED, help="default: all, and the default itself")
    parser.add_argument("--out", type=Path, default=RESULTS, help="file of the lines")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    old = arguments.out.read_text().splitlines() if arguments.out.exists() else []
    done = {tuple(json.loads(line)[name] for name in ("stream", "model", "seed", "limit")) for line in old}
    with arguments.out.open("a") as lines:
        for seed in arguments.seeds:
            for stream in arguments.streams:
                for name in (DEFAULT, *arguments.altered):
                    run = {"stream": stream, "model": name, "seed": seed, "limit": arguments.limit}
                    if tuple(run.values()) in done:
                        continue
                    opened = open_stream(
                        stream, limit=arguments.limit, seed=seed, data_dir=arguments.data_dir
                    )
                    print(json.dumps(run | measured(name, opened, seed)), file=lines, flush=True)


if __name__ == "__main__":
    main()
