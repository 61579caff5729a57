"""What scales: steps and all-reduces measured here by 1, 2 and 4 processes, and the efficiency they foretell on GPUs.

    python benchmarks/scaling/scaling.py                    in a few minutes; again, it keeps what others disturbed less
    python benchmarks/scaling/scaling.py --processes --peak 989e12 --within 450e9 --between 400e9

The processes are torchrun's, on this machine's CPU by gloo, one thread each, with the same rows in each process. For
GPUs, which nobody has measured here, hardware figures are arguments. Results go to results/, the tables between the
marks in docs/parallel.md, and the picture to docs/scaling.svg.
"""

import argparse
import datetime
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure
from ring import BYTES_PER_GRADIENT, Cluster, Link, bucket_count, fit, ring_seconds

from clearformer.config import GPTConfig
from clearformer.inspection.figures import STYLE, standalone, svg
from clearformer.inspection.page import LIGHT
from clearformer.models.initial import count_parameters

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
RESULTS = HERE / "results" / "scaling.json"
PAGE, PICTURE = ROOT / "docs" / "parallel.md", ROOT / "docs" / "scaling.svg"
PROCESSES = (1, 2, 4)
GPUS = (8, 64, 512)
BATCH = 2**19
"""tokens of a whole batch, where it stays the same on any number of GPUs"""
_GPT2 = GPTConfig(vocab_size=50257, context=1024, d_model=768, num_heads=12, num_layers=12, d_ff=3072)
_LARGE = GPTConfig(vocab_size=50257, context=2048, d_model=2048, num_heads=16, num_layers=24, d_ff=8192)
MODELS = {"GPT-2 124M": (_GPT2, 32768), "GPT 1.3B": (_LARGE, 16384)}
"""with the tokens a GPU takes in a step, where they stay the same"""


def main() -> None:
    options = arguments()
    found: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    if found.get("processor") != processor():
        found = {"processor": processor(), "cores": os.cpu_count(), "measured": {}}
    for number in options.processes:
        keep_quieter(found["measured"], str(number), measured(number))
    found |= {"hardware": vars(options), "foretold": foretold(options)}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    PICTURE.write_text(standalone(picture(options)), encoding="utf-8")
    tables = {"measured": measured_table(found), "foretold": foretold_table(found["foretold"])}
    page = PAGE.read_text(encoding="utf-8")
    for name, table in tables.items():
        print(table, end="\n\n")
        page = re.sub(rf"(<!-- {name} -->\n).*?(<!-- end -->)", rf"\g<1>\n{table}\n\n\g<2>", page, flags=re.DOTALL)
    PAGE.write_text(page, encoding="utf-8")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, nargs="*", default=PROCESSES, help="to measure; none: foretell only")
    parser.add_argument("--peak", type=float, default=312e12, help="FLOP/s of a GPU")
    parser.add_argument("--mfu", type=float, default=0.4, help="the share of the peak that training reaches")
    parser.add_argument("--gpus", type=int, default=8, help="of a machine")
    parser.add_argument("--within", type=float, default=235e9, help="bytes/s between the GPUs of a machine")
    parser.add_argument("--within-latency", type=float, default=3.4e-6, help="seconds")
    parser.add_argument("--between", type=float, nargs="+", default=[200e9, 12.5e9], help="bytes/s between machines")
    parser.add_argument("--between-latency", type=float, default=9.6e-6, help="seconds")
    return parser.parse_args()


def measured(number: int) -> dict[str, Any]:
    """What `number` processes measured."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT / 'src'}:{HERE.parent / 'speed'}"}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "found.json"
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(number)]
        subprocess.run([*torchrun, str(HERE / "one_process.py"), str(out)], check=True, env=environment)
        found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
        return found


def keep_quieter(kept: dict[str, Any], number: str, new: dict[str, Any]) -> None:
    """Replace what was measured before, unless others used less of the machine then."""
    if number not in kept or kept[number]["tokens"] != new["tokens"] or new["others"] <= kept[number]["others"]:
        kept[number] = new | {"date": datetime.date.today().isoformat()}


def foretold(options: argparse.Namespace) -> list[dict[str, Any]]:
    """The efficiency of each model on each number of GPUs, with each network, with a batch that grows or stays."""
    rows = []
    for name, (config, tokens) in MODELS.items():
        parameters = count_parameters(config)
        for between in options.between:
            for grows in (True, False):
                each = {gpus: tokens if grows else BATCH / gpus for gpus in GPUS}
                reached = {gpus: cluster(options, between).efficiency(parameters, each[gpus], gpus) for gpus in GPUS}
                row = {"model": name, "parameters": parameters, "between": between}
                rows.append(row | {"tokens": tokens if grows else None, "efficiency": list(reached.values())})
    return rows


def cluster(options: argparse.Namespace, between: float) -> Cluster:
    within = Link(options.within_latency, options.within)
    return Cluster(options.peak * options.mfu, options.gpus, within, Link(options.between_latency, between))


def measured_table(found: dict[str, Any]) -> str:
    """Markdown: each number of processes, measured beside what one process and the fitted link foretell."""
    alone, cores = found["measured"]["1"], found["cores"]
    buckets = bucket_count(alone["parameters"])
    size = alone["parameters"] * BYTES_PER_GRADIENT / buckets
    lines = [
        "| processes | latency, ms | bandwidth, GB/s | compute, s | step, s | foretold, s | efficiency | others |",
        "| --- " * 8 + "|",
    ]
    for number in sorted(map(int, found["measured"])):
        row = found["measured"][str(number)]
        link, expected = ("", ""), alone["step"]
        if number > 1:
            fitted = fit({int(size): seconds for size, seconds in row["all_reduce"].items()}, number)
            link = f"{fitted.latency * 1e3:.2f}", f"{fitted.bandwidth / 1e9:.2f}"
            exchange = buckets * ring_seconds(size, number, fitted)
            expected = alone["compute"] * max(1, number / cores) + exchange
        shares = f"{100 * alone['step'] / row['step']:.0f} % | {100 * row['others']:.0f} %"
        told = " | ".join(f"{seconds:.3f}" for seconds in (row["compute"], row["step"], expected))
        lines.append(f"| {number} | {link[0]} | {link[1]} | {told} | {shares} |")
    return "\n".join(lines)


def foretold_table(rows: list[dict[str, Any]]) -> str:
    """Markdown."""
    lines = [
        f"| model | network of a machine | tokens a GPU | {' | '.join(f'{gpus} GPUs' for gpus in GPUS)} |",
        "| --- " * (3 + len(GPUS)) + "|",
    ]
    for row in rows:
        tokens = f"{row['tokens']:,}" if row["tokens"] else f"{BATCH:,} / GPUs"
        shares = " | ".join(f"{100 * share:.1f} %" for share in row["efficiency"])
        lines.append(f"| {row['model']} | {row['between'] / 1e9:g} GB/s | {tokens} | {shares} |")
    return "\n".join(lines)


def picture(options: argparse.Namespace) -> str:
    """Efficiency over the number of GPUs: solid with the first network, dashed with the last.

    Blue is a batch that grows with the number of GPUs, red one that stays.
    """
    numbers = [2**power for power in range(10)]
    with rc_context(STYLE | {"font.size": 8}):
        figure = Figure(figsize=(7.2, 2.6), layout="constrained")
        panels = figure.subplots(1, len(MODELS), sharey=True)
        for axes, (name, (config, tokens)) in zip(panels, MODELS.items(), strict=True):
            parameters = count_parameters(config)
            for between, style in ((options.between[0], "-"), (options.between[-1], "--")):
                machines = cluster(options, between)
                for grows, colour in ((True, "accent"), (False, "contrast")):
                    shares = [machines.efficiency(parameters, tokens if grows else BATCH / n, n) for n in numbers]
                    axes.plot(numbers, shares, style, color=LIGHT[colour], linewidth=1.2)
            axes.set_xscale("log", base=2)
            axes.set(xlabel="GPUs", ylim=(0, 1.02), xticks=[1, *GPUS], xticklabels=["1", *map(str, GPUS)])
            axes.set_title(name, fontsize=8)
        panels[0].set_ylabel("efficiency")
        return svg(figure)


def processor() -> str:
    info = Path("/proc/cpuinfo")
    rows = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    return next((row.partition(": ")[2] for row in rows if row.startswith("model name")), platform.processor())


if __name__ == "__main__":
    main()
