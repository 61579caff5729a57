"""Compare every engine with PyTorch and write docs/engines.md: `python tests/conformance/table.py`."""

import itertools
import os
import platform
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from cases import BLOCKS, CLASSIFIERS, FAMILIES, GPTS, VARIANTS, config_of, weights_for
from measure import CURVE_STEPS, block_errors, cases_of, curve, generated, model_errors, port, step_errors
from ports import PORTS, BlockPort
from refusals import REFUSALS, refusal

PAGE = Path(__file__).parents[2] / "docs" / "engines.md"
INTRODUCTION = """# Engines

Written by `python tests/conformance/table.py`; do not edit it by hand.

One configuration, one checkpoint, several libraries that compute: `clearformer train RECIPE --engine NAME`, and
`generate`, `translate`, `fill`, `classify` and `evaluate` take `--engine` too, whatever engine a run was trained by. A
number here is the largest error over all cases, held against PyTorch in float64, as a share of the largest number there
should be (losses and weights after steps: against PyTorch in the same precision). PyTorch's own float32 stands beside.
`tests/conformance` holds all of this to limits. Without `--engine`, `generate` and `translate` compute a run of PyTorch
in C where that is faster on the machine at hand, which a short test finds out once.

NumPy compiles its kernels where it finds a C compiler; `CC=none` in the environment keeps it to NumPy alone. It is a
fifth faster with `MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=17179869184`, which let glibc keep freed memory; with
`OPENBLAS_THREAD_TIMEOUT=18` the threads of matrix products soon sleep, so that the kernels have threads too: a step of
a GPT of width 384 takes 0.94 times the time.

`C in WebAssembly` is the same C for a browser, here in Node, with decoding and AdamW in JavaScript; it is no
`--engine`.
"""
NAMES = ["torch", *PORTS]


def row(words: str, cells: list[str]) -> str:
    return f"| {words} | {' | '.join(cells)} |"


def head(names: list[str]) -> list[str]:
    return [row("", names), row("---", ["---"] * len(names))]


def number(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.1e}"


def worst(name: str, key: str, double: bool, family: str) -> float:
    """The largest error over all variants of a family."""
    cases = [case for case in cases_of(name) if case[0] == family]
    return max(model_errors(name, *case, weights_for(config_of(*case)), double)[key] for case in cases)


def worst_block(name: str, key: str, double: bool) -> float | None:
    """None of an engine whose blocks cannot be run alone."""
    if not isinstance(port(name), BlockPort):
        return None
    return max(block_errors(name, block, double).get(key, 0.0) for block in BLOCKS)


def same_tokens(name: str, family: str) -> str:
    cases = [case for case in cases_of(name) if case[0] == family]
    equal = sum(
        generated(name, config_of(*case), cached=True) == generated("torch", config_of(*case), cached=True)
        for case in cases
    )
    return f"{equal} of {len(cases)}"


def curve_error(name: str, double: bool) -> float:
    return float(np.abs(curve(name, double) / curve("torch", double) - 1).max())


def rows(names: list[str]) -> list[str]:
    """The table's rows, for the engines of this machine."""
    lines = []
    for double in (False, True):
        words = "float64" if double else "float32"
        measures: dict[str, Callable[[str], float | None]] = {
            f"{len(BLOCKS)} blocks, {key}": partial(worst_block, key=key, double=double)
            for key in ("output", "gradients")
        }
        for family, key in itertools.product(FAMILIES, ("logits", "gradients")):
            measures[f"{family}, {key}"] = partial(worst, key=key, double=double, family=family)
        measures[f"losses of the first {CURVE_STEPS} steps of `tinyshakespeare`"] = partial(curve_error, double=double)
        for what, measure in measures.items():
            print(f"{what}, {words}", flush=True)
            found = [measure(name) if port(name).doubles or not double else None for name in names]
            lines.append(row(f"{what}, {words}", [number(value) for value in found]))
    for family in FAMILIES:
        found = [step_errors(name, family, "as it is", 10)["weights"] for name in names]
        lines.append(row(f"{family}, weights after ten AdamW steps, float32", [number(value) for value in found]))
    for family in ("gpt", "transformer"):
        equal = [same_tokens(name, family) for name in names]
        lines.append(row(f"{family}, variants that write the same tokens", equal))
    return lines


def refused(name: str, setting: str) -> str:
    found = refusal(port(name).engine, setting)
    return "yes" if not found else f"refuses: {found}"


def main() -> None:
    torch.set_num_threads(1)
    names = [name for name in NAMES if name == "torch" or not PORTS[name].missing()]
    engines = [f"- {name}: {port(name).describe()}" for name in names]
    options = [name for name in names if name == "torch" or PORTS[name].is_option]
    variants = ", ".join([*list(VARIANTS)[1:], *GPTS, *CLASSIFIERS])
    parts = [
        INTRODUCTION,
        f"Measured on {platform.system()}, {os.cpu_count()} cores:\n",
        *engines,
        "\n## How far from PyTorch\n",
        *head(names),
        *rows(names),
        f"\nEvery family was measured in these variants: {variants}. Of tinygrad, which compiles each case, only four "
        "were, and its own tests have all. C has no blocks to run "
        "alone: tests/unit/engines/c/test_touch.py compares what stands between them, inside models.",
        "\n## What each does\n",
        *head(options),
        *(row(setting, [refused(name, setting) for name in options]) for setting in REFUSALS),
    ]
    PAGE.write_text("\n".join(parts) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
