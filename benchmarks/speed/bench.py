"""Speed beside what people use: `make bench` for all comparisons in short, `make bench-full` for numbers to publish.

    python benchmarks/speed/bench.py --only "training M*"

Two systems take turns at the same work, each in a process of its own; parameters, loss at the start and tokens out must
agree. Others' use of the processors is watched: it waits until they are quiet, and pairs that were disturbed are
discarded. With --full results go to results/PROCESSOR.json, and from there to docs/speed.md. In short it compares with
what is there for the same processor, and ends with status 1 if a ratio is 10 % worse.
"""

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import re
import sys
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from comparisons import COMPARISONS
from page import write_page
from pairs import NotComparedError, compare
from peers import PEERS

from clearformer.training.device import cpu_has_bfloat16

RESULTS = Path(__file__).parent / "results"
ROUNDS, SECONDS = 3, 2.0
"""pairs, and seconds of each half of one, in short"""
FULL_ROUNDS, FULL_SECONDS = 5, 4.0
WORSE = 0.9
"""of the committed ratio"""
PACKAGES = ("torch", "numpy", "transformers", "tinygrad")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="longer, and keep the results")
    parser.add_argument("--only", default="*", help="comparisons to run, with * for anything")
    parser.add_argument("--list", action="store_true", help="print their names")
    options = parser.parse_args()
    chosen = [one for one in COMPARISONS if fnmatch(one.name, options.only)]
    if options.list or not chosen:
        print(*(one.name for one in COMPARISONS), sep="\n")
        return 0 if options.list else 2
    path = RESULTS / f"{slug(processor())}.json"
    saved: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"comparisons": {}}
    before, failed = saved["comparisons"], []
    for comparison in chosen:
        if comparison.settings.get("precision") == "bfloat16" and not cpu_has_bfloat16():
            print(f"{comparison.name}: left out, this processor has no instructions for bfloat16")
            continue
        try:
            rounds = (FULL_ROUNDS, FULL_SECONDS) if options.full else (ROUNDS, SECONDS)
            found = compare(comparison, *rounds)
        except NotComparedError as error:
            print(f"{comparison.name}: {error}", file=sys.stderr)
            failed.append(comparison.name)
            continue
        ratio, committed = found["ratio"], before.get(comparison.name, {}).get("ratio", {}).get("median")
        print(describe(comparison.name, found, committed), flush=True)
        if options.full:
            before[comparison.name] = found
            write(path, saved)
        elif committed and ratio["median"] < WORSE * committed:
            failed.append(comparison.name)
    if failed:
        print(f"failed, or 10 % slower than committed: {'; '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def describe(name: str, found: dict[str, Any], committed: float | None) -> str:
    """One line: the ratio, its spread, the two speeds."""
    ratio = found["ratio"]
    spread = f"{ratio['median']:.2f} times as fast ({ratio['least']:.2f} to {ratio['most']:.2f})"
    past = f", committed {committed:.2f}" if committed else ""
    noise = f", {found['disturbed']} disturbed" if found["disturbed"] else ""
    return f"{name}: {spread}{past}; {found['ours']:,} and {found['theirs']:,} {found['unit']}{noise}"


def write(path: Path, saved: dict[str, Any]) -> None:
    """The results with the machine they are of, and the page made of all."""
    saved["machine"] = {
        "processor": processor(),
        "cores": os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
        "date": datetime.date.today().isoformat(),
        "unset": ["OPENBLAS_CORETYPE"],
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES}
        | dict(each.split("==") for each in PEERS),
    }
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(saved, indent=1) + "\n", encoding="utf-8")
    write_page(RESULTS)


def processor() -> str:
    info = Path("/proc/cpuinfo")
    rows = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    return next((row.partition(": ")[2] for row in rows if row.startswith("model name")), platform.processor())


def slug(name: str) -> str:
    """`Intel(R) Xeon(R) Processor @ 2.80GHz` is intel-xeon-processor-2.80ghz."""
    return "-".join(re.findall(r"[a-z0-9.]+", re.sub(r"\((r|tm)\)", " ", name.lower())))


if __name__ == "__main__":
    sys.exit(main())
