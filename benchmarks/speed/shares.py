"""Where the time of a training step goes, and how near its matrix products come to what the processor can do.

    python benchmarks/speed/shares.py

Of each step it takes the least of several times, the operations of its linear layers as PyTorch counts them, and, from
PyTorch's profiler, the share of each kind of kernel. The limit is the most that a square product of the same precision
reached in the same process. bfloat16 is left out where the processor has no instructions for it. Results go to
results/PROCESSOR.json, and from there to docs/speed.md.
"""

import json
import os
from collections.abc import Callable
from functools import partial
from typing import Any

os.environ.pop("OPENBLAS_CORETYPE", None)

import torch
from bench import RESULTS, processor, slug, write
from growth import timed
from quiet import wait_until_quiet
from systems.clearformer import training, training_pairs
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode
from work import Work

from clearformer.training.device import cpu_has_bfloat16

STEPS: dict[str, Callable[[str], Work]] = {
    "GPT S": partial(training, "S"),
    "GPT M": partial(training, "M"),
    "encoder-decoder small": partial(training_pairs, "small"),
    "encoder-decoder base": partial(training_pairs, "base"),
}
KINDS = {
    "products": ("aten::mm", "aten::addmm"),
    "attention": ("attention",),
    "loss": ("softmax", "nll_loss"),
    "norms and activations": ("layer_norm", "gelu", "threshold", "clamp_min"),
    "optimizer": ("fused_adam", "Optimizer", "linalg_vector_norm"),
}
"""kind -> parts of its kernels' names; the first that fits"""
REST = "rest"
RUNS, PRODUCTS, SIZES = 5, 40, (512, 1024, 2048)


def main() -> None:
    path = RESULTS / f"{slug(processor())}.json"
    saved: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"comparisons": {}}
    saved["shares"] = {
        precision: shares_in(precision)
        for precision in ("float32", "bfloat16")
        if precision == "float32" or cpu_has_bfloat16()
    }
    print(json.dumps(saved["shares"], indent=1))
    write(path, saved)


def shares_in(precision: str) -> dict[str, Any]:
    dtype = getattr(torch, precision)
    wait_until_quiet()
    before = limit(dtype)
    steps = {name: step_of(make(precision)) for name, make in STEPS.items()}
    return {"limit": round(max(before, limit(dtype))), "steps": steps}


def limit(dtype: torch.dtype) -> float:
    """GFLOP/s, the most of many products of several sizes."""
    return max(rate_of(torch.randn(size, size, dtype=dtype)) for size in SIZES)


def rate_of(x: Tensor) -> float:
    seconds = min(timed(lambda: x @ x) for _ in range(PRODUCTS))
    return 2 * len(x) ** 3 / seconds / 1e9


def step_of(work: Work) -> dict[str, float]:
    with FlopCounterMode(display=False) as counter:
        work.run()
    seconds = min(timed(work.run) for _ in range(RUNS))
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        work.run()
    times = dict.fromkeys((*KINDS, REST), 0.0)
    for event in profiler.key_averages():
        times[kind_of(event.key)] += event.self_cpu_time_total
    shares = {kind: round(spent / sum(times.values()), 3) for kind, spent in times.items()}
    rates = {"tokens/s": work.units / seconds, "GFLOP/s": counter.get_total_flops() / seconds / 1e9}
    return {name: round(rate) for name, rate in rates.items()} | shares


def kind_of(kernel: str) -> str:
    return next((kind for kind, parts in KINDS.items() if any(part in kernel for part in parts)), REST)


if __name__ == "__main__":
    main()
