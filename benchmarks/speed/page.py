"""docs/speed.md, from the results of each processor."""

import json
from pathlib import Path
from typing import Any

from growth_page import growth_section

PAGE = Path(__file__).parents[2] / "docs" / "speed.md"
INTRODUCTION = """# How fast it is, beside what people use

Written by `make bench-full`; do not edit it by hand. `make bench` measures all again in short, and fails where a ratio
is 10 % worse than here on the same kind of processor.

Two systems take turns at the same work, each in a process of its own. They have as many parameters, start with the same
loss and write as many tokens. A ratio is that of one pair, and above 1 where the first system is faster; here are the
median, the least and the most of pairs in which nobody else used the processors. PyTorch and OpenBLAS use all cores and
their own defaults. Training is forward, backward, clipping and AdamW; generation is greedy, 128 tokens after 32;
translation is of 32 sentences at once with a beam of 5. S and M are GPTs of 4 and 6 layers, 128 and 384 wide, with
contexts of 64 and 256; G is GPT-2 small; small and base are encoder-decoders of 3 and 6 layers, 256 and 512 wide.
x-transformers, JoeyNMT and CTranslate2, in float32, are installed from PyPI into an environment of their own.
"""

TRIED = """## Tried, and not taken

`torch.compile` of a training step took 40 to 48 seconds to begin on the Intel Xeon at 2.80 GHz below, and then made a
step of S 1.12 times as fast, of M 1.02 and of the small encoder-decoder 0.90 times (medians of 15, 5 and 15 pairs in
one process): a run of S has its seconds back after some 6,000 steps, the others hardly ever. Half of a step is matrix
products, which it leaves to the same library.

oneDNN in place of MKL for products in float32, where MKL has no AVX-512: a linear layer with both gradients, of the
sizes of S, M and base, reached 89, 80 and 106 GFLOP/s on the AMD EPYC below, and 110, 106 and 121 with MKL, which
stays. Where PyTorch's products in bfloat16 go to oneDNN already, as on the Intel Xeon with AMX, weights that are packed
for it made the forward product of M's layers 1.0 to 1.4 times as fast, and nothing else. Attention in bfloat16 took M
6.6 ms a layer forward and 42 backward there, and 13 and 30 in float32, which stays.
"""

SHARES = """### Where a training step goes

Written by `python benchmarks/speed/shares.py`. GFLOP/s are those of the linear layers' products over the time of the
whole step; {limits} was the most that a square product reached alone.
The shares are of the profiler's time; dispatch, copies and sums are the rest. Were all but the products free, a step
would be as many times as fast as the last column says; PyTorch leaves the products to its library.

{table}
"""

LIMITS = """## Where the time of a search goes

On the AMD EPYC below, 32 sentences took the small translator 0.56 seconds while NumPy chose among the candidates of
the beam, and 0.48 since C sums their exponentials: 0.34 of them go to the decoder and its logits, 0.04 each to the
choice and to the encoder, 0.03 to reordering the cache. Products of 160 rows with a layer's weights reach 78 to 121
GFLOP/s there in C, 77 to 127 in NumPy and 53 to 103 in PyTorch.
"""


def write_page(results: Path) -> None:
    parts = [INTRODUCTION, LIMITS, TRIED]
    for path in sorted(results.glob("*.json")):
        saved = json.loads(path.read_text(encoding="utf-8"))
        parts.append(section(saved))
        if "shares" in saved:
            parts.append(shares_section(saved["shares"]))
        if "growth" in saved:
            parts.append(growth_section(saved["growth"], PAGE.with_name(f"growth-{path.stem}.svg")))
    PAGE.write_text("\n".join(parts), encoding="utf-8")


def section(saved: dict[str, Any]) -> str:
    """The table of one processor."""
    machine = saved["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    rows = [row(name, found) for name, found in saved["comparisons"].items()]
    return "\n".join(
        [
            f"## {machine['processor']}, {machine['cores']} cores",
            "",
            f"{machine['date']}, Python {machine['python']}, {versions}; OPENBLAS_CORETYPE was unset.",
            "",
            "| work | times as fast | least to most | aim | first | second | unit |",
            "| --- | --- | --- | --- | --- | --- | --- |",
            *rows,
            "",
        ]
    )


def row(name: str, found: dict[str, Any]) -> str:
    ratio = found["ratio"]
    speeds = " | ".join(f"{found[side]:,}" for side in ("ours", "theirs"))
    median, spread = f"{ratio['median']:.2f}", f"{ratio['least']:.2f} to {ratio['most']:.2f}"
    return f"| {name} | {median} | {spread} | {found['aim']} | {speeds} | {found['unit']} |"


def shares_section(shares: dict[str, Any]) -> str:
    """The table of what a training step's time goes to."""
    kinds = [name for name in next(iter(shares["float32"]["steps"].values())) if "/s" not in name]
    rows = [
        f"| {name}, {precision} | {step['tokens/s']:,} | {step['GFLOP/s']} | {step['GFLOP/s'] / found['limit']:.0%} | "
        f"{' | '.join(f'{step[kind]:.0%}' for kind in kinds)} | {1 / step['products']:.2f} |"
        for precision, found in shares.items()
        for name, step in found["steps"].items()
    ]
    head = ["step", "tokens/s", "GFLOP/s", "of the most", *kinds, "at most faster"]
    return SHARES.format(
        limits=" and ".join(f"{found['limit']} in {precision}" for precision, found in shares.items()),
        table="\n".join([f"| {' | '.join(head)} |", "| --- " * len(head) + "|", *rows]),
    )
