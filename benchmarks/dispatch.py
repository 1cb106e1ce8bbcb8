"""Time a layer of experts beside other ways to compute the same.

    python -m benchmarks.dispatch

One thread, in processor time, so that other work on the machine does not count. With `--device cuda`, wall-clock
time in bfloat16. Each line is one way to compute a whole layer of SwiGLU experts with the same weights, router and
top-k included: forward without gradients, and forward and backward. Before the timing, all ways must give the same
answer and the same gradient of the input. They take turns within a repeat. The fastest repeat is printed, with its
ratio to ours. Each size has its own process. Dense masks come last in it, because they leave gigabytes to the
allocator, which would speed up the ways after them.

- "ours": `MoELayer` with `TopK`;
- "loop with masks": for each expert the rows that chose it, with weights indexed within the loop, as is common;
- "dense masks": each expert on all rows, times a weight that is mostly zero;
- "transformers, ...": the block of Mixtral, by each of its implementations (needs `transformers`);
- "limit": the two grouped products alone, on sorted rows (no gradient of a router, no sum).

Sizes named LoRA are a linear layer with LoRA experts around it. Ours chooses between "all at once" (one LoRA of all
ranks with weights on them) and "by experts" (rows brought to each). "dense masks" is each LoRA on all rows.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import platform
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor, nn
from transformers import MixtralConfig
from transformers.models.mixtral.modeling_mixtral import MixtralSparseMoeBlock

from driftmoe.nn import FeedForwardExperts, MoELayer, lora_layer
from driftmoe.nn.dispatch import collect, expert_linear, spread
from driftmoe.routing import Routing, TopK


class Way(NamedTuple):
    """How the layer is computed, and the weights that get gradients."""

    call: Callable[[Tensor], Tensor]
    weights: list[nn.Parameter]


class Size(NamedTuple):
    """Rows, widths, experts, experts of a row, and the type of experts and rows."""

    n_rows: int
    n_features: int
    n_hidden: int
    n_experts: int
    k: int
    dtype: torch.dtype


class LoRASize(NamedTuple):
    """Rows, width of the linear layer, experts, experts of a row, rank, and the type of all."""

    n_rows: int
    n_features: int
    n_experts: int
    k: int
    rank: int
    dtype: torch.dtype


SIZES: dict[str, Size | LoRASize] = {
    "A": Size(2048, 256, 512, 16, 2, torch.float32),
    "A, bfloat16": Size(2048, 256, 512, 16, 2, torch.bfloat16),
    "B": Size(2048, 256, 512, 64, 6, torch.float32),
    "C": Size(256, 64, 128, 12, 2, torch.float32),
    "C, one row": Size(1, 64, 128, 12, 2, torch.float32),
    "LoRA, 8 of rank 8, narrow": LoRASize(2048, 256, 8, 2, 8, torch.float32),
    "LoRA, 8 of rank 8": LoRASize(2048, 1024, 8, 2, 8, torch.float32),
    "LoRA, 16 of rank 16": LoRASize(2048, 1024, 16, 2, 16, torch.float32),
    "LoRA, 64 of rank 8": LoRASize(2048, 1024, 64, 8, 8, torch.float32),
}
GPU_SIZES: dict[str, Size | LoRASize] = {
    "A": Size(2048, 256, 512, 16, 2, torch.bfloat16),
    "B": Size(2048, 256, 512, 64, 6, torch.bfloat16),
    "large": Size(16384, 2048, 1024, 64, 6, torch.bfloat16),
}
OURS, LOOP, DENSE, LIMIT = "ours", "loop with masks", "dense masks", "limit"


def ways(size: Size, device: str = "cpu") -> dict[str, Way]:
    """Ways to compute the layer, by name; all of the same weights, which learn."""
    experts = FeedForwardExperts(size.n_experts, size.n_features, size.n_hidden, seed=1)
    experts = experts.to(device, size.dtype)
    router = nn.Linear(size.n_features, size.n_experts, bias=False)
    router.weight.data = (
        torch.randn(router.weight.shape, generator=torch.Generator().manual_seed(2)) / size.n_features**0.5
    )
    router = router.to(device)
    layer = MoELayer(router, experts, TopK(size.k))
    w_in, w_out = experts.w_in, experts.w_out

    def top_k(x: Tensor) -> tuple[Tensor, Tensor]:
        values, chosen = router(x.float()).softmax(-1).topk(size.k, dim=-1)
        return (values / values.sum(-1, keepdim=True)).to(x.dtype), chosen

    def network(x: Tensor, e: int) -> Tensor:
        gate, up = (x @ w_in[e]).chunk(2, dim=-1)
        return (F.silu(gate) * up) @ w_out[e]

    def loop_with_masks(x: Tensor) -> Tensor:
        weights, chosen = top_k(x)
        out = torch.zeros_like(x)
        for e in range(size.n_experts):
            rows, places = (chosen == e).nonzero(as_tuple=True)
            if len(rows):
                out = out.index_add(0, rows, network(x[rows], e) * weights[rows, places, None])
        return out

    def dense_masks(x: Tensor) -> Tensor:
        weights, chosen = top_k(x)
        weights = torch.zeros_like(x[:, :1]).repeat(1, size.n_experts).scatter(-1, chosen, weights)
        return torch.stack([weights[:, e, None] * network(x, e) for e in range(size.n_experts)]).sum(0)

    weights = list(layer.parameters())
    entries = {
        OURS: Way(lambda x: layer(x).output, weights),
        LOOP: Way(loop_with_masks, weights),
        DENSE: Way(dense_masks, weights),
    }
    for name in ("eager", "grouped_mm", "batched_mm"):
        if name == "batched_mm" and size.n_rows > 256:
            continue  # it copies a matrix for each row
        block = mixtral(size, name, router, experts).to(device)
        call = lambda x, block=block: block(x[None])[0]  # noqa: E731
        entries[f"transformers, {name}"] = Way(call, list(block.parameters()))
    return entries


def mixtral(size: Size, how: str, router: nn.Linear, experts: FeedForwardExperts) -> nn.Module:
    """Return the block of Mixtral with the weights of a router and of experts."""
    config = MixtralConfig(
        hidden_size=size.n_features,
        intermediate_size=size.n_hidden,
        num_local_experts=size.n_experts,
        num_experts_per_tok=size.k,
    )
    config._experts_implementation = how
    block = MixtralSparseMoeBlock(config).to(size.dtype)
    block.gate.weight.data = router.weight.data.to(size.dtype)
    block.experts.gate_up_proj.data = experts.w_in.data.mT.contiguous()
    block.experts.down_proj.data = experts.w_out.data.mT.contiguous()
    return block


def lora_ways(size: LoRASize, device: str = "cpu") -> dict[str, Way]:
    """Ways to compute a frozen linear layer with LoRA experts, by name; all of the same weights."""
    linear = nn.Linear(size.n_features, size.n_features).to(device, size.dtype).requires_grad_(False)
    layer = lora_layer(linear, n_experts=size.n_experts, policy=TopK(size.k), rank=size.rank, seed=1)
    a, b = layer.experts.a, layer.experts.b
    b.data.normal_(std=0.1, generator=torch.Generator(device).manual_seed(2))

    def routing(x: Tensor) -> Routing:
        return layer.policy(layer.router(x.float()))

    def all_at_once(x: Tensor) -> Tensor:
        hidden = (x @ a.flatten(0, 1).T).unflatten(-1, a.shape[:2]) * routing(x).weights[..., None].to(
            x.dtype
        )
        return linear(x) + layer.scale * (hidden.flatten(-2) @ b.flatten(0, 1))

    def by_experts(x: Tensor) -> Tensor:
        plan = routing(x).plan
        lines = expert_linear(expert_linear(spread(x, plan), a.mT, plan), b, plan)
        return linear(x) + layer.scale * collect(lines, plan, len(x))

    def dense_masks(x: Tensor) -> Tensor:
        weights = routing(x).weights.to(x.dtype)
        return linear(x) + layer.scale * sum(
            weights[:, e, None] * (x @ a[e].T @ b[e]) for e in range(size.n_experts)
        )

    calls = {
        OURS: lambda x: layer(x).output,
        "all at once": all_at_once,
        "by experts": by_experts,
        DENSE: dense_masks,
    }
    weights = [p for p in layer.parameters() if p.requires_grad]
    return {name: Way(call, weights) for name, call in calls.items()}


def limit(size: Size, device: str = "cpu") -> Way:
    """The grouped products of the layer on rows that are sorted by expert, the same number for each."""
    experts = FeedForwardExperts(size.n_experts, size.n_features, size.n_hidden, seed=1).to(
        device, size.dtype
    )
    n_pairs = size.n_rows * size.k
    ends = (torch.arange(1, size.n_experts + 1) * n_pairs // size.n_experts).to(device, torch.int32)
    rows = torch.arange(n_pairs, device=device) % size.n_rows

    def products(x: Tensor) -> Tensor:
        gate, up = F.grouped_mm(x.index_select(0, rows), experts.w_in, offs=ends).chunk(2, dim=-1)
        return F.grouped_mm(F.silu(gate) * up, experts.w_out, offs=ends)[: size.n_rows] * 1.0

    return Way(products, list(experts.parameters()))


def run(way: Way, x: Tensor, direction: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Return the answer to `x`, and the gradient at `x` in a direction of the answer, if one is given."""
    if direction is None:
        with torch.no_grad():
            return way.call(x), None
    x = x.detach().requires_grad_()
    out = way.call(x)
    out.backward(direction)
    for weight in way.weights:
        weight.grad = None
    return out, x.grad


def check(entries: dict[str, Way], x: Tensor, direction: Tensor) -> None:
    """Assert that all ways give our answer and our gradient, but for rounding.

    In bfloat16 the block of transformers routes in bfloat16, and sends a few rows in a hundred elsewhere.
    """
    ours = run(entries[OURS], x, direction)
    tolerance, share = (0.05, 0.9) if x.dtype == torch.bfloat16 else (1e-4, 1.0)
    for name, way in entries.items():
        for what, a, b in zip(("answer", "gradient"), ours, run(way, x, direction), strict=True):
            off = (a - b).float().abs().amax(-1) / a.float().abs().max()
            assert (off < tolerance).float().mean() >= share, f"{name}: another {what}, off by {off.max()}"


def seconds(call: Callable[[], object], n: int, device: str) -> float:
    """Seconds of one call among n."""
    if device == "cuda":
        torch.cuda.synchronize()
    clock = time.thread_time if device == "cpu" else time.perf_counter
    start = clock()
    for _ in range(n):
        call()
    if device == "cuda":
        torch.cuda.synchronize()
    return (clock() - start) / n


def measure(size: Size | LoRASize, device: str, repeats: int, at_least: float) -> list[dict]:
    """Time each way, forward and forward with backward, in turns; milliseconds."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(3)
    x, direction = (
        torch.randn(size.n_rows, size.n_features, generator=generator).to(device, size.dtype)
        for _ in range(2)
    )
    entries = ways(size, device) if isinstance(size, Size) else lora_ways(size, device)
    check(entries, x[:64], direction[:64])
    if isinstance(size, Size):
        entries[LIMIT] = limit(size, device)
    calls = {
        (name, what): lambda way=way, d=d: run(way, x, d)
        for name, way in entries.items()
        for what, d in (("forward", None), ("training", direction))
    }
    times: dict[tuple[str, str], list[float]] = {key: [] for key in calls}
    for is_dense in (
        False,
        True,
    ):  # the last, for it leaves gigabytes to the allocator, which helps others to memory
        for _ in range(repeats):
            for key, call in calls.items():
                if (key[0] == DENSE) == is_dense:
                    n_calls = max(1, int(1e3 * at_least / min(times[key], default=math.inf)))
                    times[key].append(1e3 * seconds(call, n_calls, device))
    ours = {what: min(times[OURS, what]) for what in ("forward", "training")}
    return [
        {"way": name}
        | {
            f"{what}_{unit}": round(value, 4 if unit == "ms" else 2)
            for what in ("forward", "training")
            for unit, value in (
                ("ms", min(times[name, what])),
                ("times_ours", min(times[name, what]) / ours[what]),
            )
        }
        for name in entries
    ]


def main() -> None:
    """Print a table for each size, and how far the goals are met."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--sizes", nargs="+", help="default: all of the device")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument(
        "--seconds", type=float, default=0.05, help="of a way in a repeat (default: %(default)s)"
    )
    parser.add_argument("--out", type=Path, help="a file for the lines, as JSON")
    options = parser.parse_args()

    sizes = SIZES if options.device == "cpu" else GPU_SIZES
    machine = {"python": platform.python_version(), "torch": torch.__version__, "machine": platform.machine()}
    if options.device == "cuda":
        machine["machine"] = torch.cuda.get_device_name()
    lines = []
    for name in options.sizes or sizes:
        size = sizes[name]
        print(name + ":", ", ".join(f"{field}={value}" for field, value in size._asdict().items()))
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as fresh:
            measured = fresh.submit(measure, size, options.device, options.repeats, options.seconds).result()
        for line in measured:
            print(
                "  {way:26} forward {forward_ms:10.3f} ms  x{forward_times_ours:<7} "
                "training {training_ms:10.3f} ms  x{training_times_ours}".format(**line)
            )
        others = [line for line in measured if line["way"] not in (OURS, LIMIT)]
        for what in ("forward", "training"):
            fastest = min(others, key=lambda line: line[f"{what}_ms"])
            ours = 1 / fastest[f"{what}_times_ours"]
            print(
                f"  {what}: ours takes {ours:.2f} times the fastest other ({fastest['way']}); wanted: at most 1.10"
            )
        loops = [line for line in measured if line["way"] == LOOP]
        if size.n_experts >= 64 and loops:
            (loop,) = loops
            print(
                f"  training: {loop['training_times_ours']:.1f} times as fast as the loop with masks; wanted: 5"
            )
        lines += [{"size": name} | size._asdict() | {"dtype": str(size.dtype)} | line for line in measured]
    if options.out:
        options.out.write_text("".join(json.dumps(line | machine) + "\n" for line in lines))


if __name__ == "__main__":
    main()
