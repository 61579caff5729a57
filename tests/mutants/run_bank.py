"""`python tests/mutants/run_bank.py` gives the whole bank to the checks and writes what they found.

A bug is caught if the report has a problem that the model without it has not; its first line is right if it is one of
the answers that the bug names. A right model is called wrong if anything fails. Seconds are of the processor, since
others may use the machine too.

Results go to benchmarks/checks/results/bank.json, and from there to docs/bank.md. With --held-out it runs the bugs that
were set aside while the checks were written.
"""

import argparse
import contextlib
import datetime
import io
import json
import platform
import re
import signal
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import torch
from bank import RESULTS, STYLES, held_out_bugs, is_right, model_of, open_bugs, patched, right_models, source
from bank_page import write_page
from bare.bug import Bug

from clearformer.checks import check_model
from clearformer.checks.check import Result
from clearformer.checks.report.text import describe_problems, problems
from clearformer.errors import ClearformerError

LIMIT = 120
"""seconds of the processor, after which a model is given up"""
HEADLINE = re.compile(r"([\w.-]+) (FAILED|CRASHED)(?: \(([\w-]+)\))?:")
"""of the description of a problem: the check, what it came to, the cause"""

Found = dict[str, Any]


def line(result: Result) -> str:
    """`check:cause`, or `check:crashed`."""
    outcome = result.outcome
    return f"{result.id}:{outcome.cause if outcome.status == 'failed' else outcome.status}"


def first_line(results: Sequence[Result]) -> str:
    """`check:cause` of the problem that a reader is told first; empty where there is none."""
    headline = HEADLINE.search(describe_problems(results))
    if headline is None:
        return ""
    check, status, cause = headline.groups(default="")
    return f"{check}:{cause if status == 'FAILED' else 'crashed'}"


def give_up(*_: Any) -> None:
    raise TimeoutError(f"the checks took more than {LIMIT} seconds")


def check(model: Any) -> Found:
    """The problems that the bare command prints, in its order, or the sentence with which it refuses the model."""
    start = time.process_time()
    signal.signal(signal.SIGPROF, give_up)
    signal.setitimer(signal.ITIMER_PROF, LIMIT)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            results = check_model(model)
        found: Found = {"first": first_line(results), "problems": [line(result) for result in problems(results)]}
    except Exception as error:  # what a person would see in place of a report
        found = {"first": "", "problems": [], "refused": first_sentence(f"{type(error).__name__}: {error}")}
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return found | {"seconds": round(time.process_time() - start, 1)}


def first_sentence(refusal: str) -> str:
    """Without the list of what was tried, which names files of this machine."""
    return refusal.partition(" Tried, ")[0]


def check_source(text: str) -> Found:
    torch.set_num_threads(1)
    try:
        with model_of(text) as model:
            return check(model)
    except ClearformerError as error:
        return {"first": "", "problems": [], "refused": first_sentence(str(error)), "seconds": 0.0}


def check_right(name: str) -> Found:
    torch.set_num_threads(1)
    return check(right_models()[name]())


def judge(bug: Bug, found: Found, without: Found) -> Found:
    """What was found, and what that is worth beside what was found in the model `without` the bug."""
    caught = any(each not in without["problems"] for each in found["problems"])
    return {
        **{"style": bug.style.partition(":")[0], "topic": bug.topic},
        **{key: found[key] for key in ("first", "problems", "refused", "seconds") if key in found},
        **{"caught": caught, "first_right": caught and is_right(bug, found["first"])},
    }


def run(section: str, bugs: dict[str, Bug], pattern: str, missing: bool, workers: int) -> None:
    """Check all whose name fits the pattern, or what has no result yet, and save each result as it comes."""
    saved = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    jobs: dict[tuple[str, str], tuple[Callable[[str], Found], str]] = {
        **{("styles", style): (check_source, source(style)) for style in STYLES},
        **{(section, bug.id): (check_source, patched(bug)) for bug in bugs.values()},
        **{("right", name): (check_right, name) for name in right_models() if section == "bugs"},
    }
    with ProcessPoolExecutor(workers) as pool:
        running = {
            pool.submit(*job): (group, name)
            for (group, name), job in jobs.items()
            if fnmatch(name, pattern) and not (missing and name in saved.get(group, {}))
        }
        for count, done in enumerate(as_completed(running), 1):
            group, name = running[done]
            saved.setdefault(group, {})[name] = done.result()
            print(f"{count}/{len(running)} {name}: {done.result()}", file=sys.stderr, flush=True)
            save(saved, section, bugs)
    save(saved, section, bugs)


def save(saved: Found, section: str, bugs: dict[str, Bug]) -> None:
    """Write the results of what there is. Bugs are judged anew, since answers may have been renamed."""
    for group, names in {"styles": STYLES, "right": right_models(), section: bugs}.items():
        saved[group] = {name: found for name, found in sorted(saved.get(group, {}).items()) if name in names}
    without = saved["styles"] | saved["right"]
    for name, found in saved[section].items():
        if bugs[name].style in without:
            saved[section][name] = judge(bugs[name], found, without[bugs[name].style])
    saved["machine"] = {
        "date": datetime.date.today().isoformat(),
        "processor": processor(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(dict(sorted(saved.items())), indent=1) + "\n", encoding="utf-8")


def processor() -> str:
    info = Path("/proc/cpuinfo")
    rows = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    return next((row.partition(": ")[2] for row in rows if row.startswith("model name")), platform.processor())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--held-out", action="store_true", help="run the bugs that were set aside")
    parser.add_argument("--only", default="*", help="names to run, with * for anything")
    parser.add_argument("--missing", action="store_true", help="run only what has no result yet")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    section, bugs = ("held_out", held_out_bugs()) if options.held_out else ("bugs", open_bugs())
    run(section, bugs, options.only, options.missing, options.workers)
    write_page()


if __name__ == "__main__":
    main()
