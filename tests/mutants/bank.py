"""`python tests/mutants/bank.py` gives every planted bug and every right model to `clearformer check`, bare.

Each is what a person would give it: a file with a function that returns the model, and no word on how to call it. A bug
is caught if the report holds a problem that the model without it has not; its first line is right if it is one of the
answers that the bug names. Seconds are of the processor, since others may use the machine too.

Results go to benchmarks/checks/results/bank.json, and from there to docs/bank.md. With --held-out it runs the bugs that
were set aside while the checks were written.
"""

import argparse
import contextlib
import datetime
import importlib
import io
import json
import platform
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import torch
from bare.bug import Bug
from bare.older import OLDER

from clearformer.checks import check_model
from clearformer.checks.check import Result
from clearformer.checks.load.target import load_target
from clearformer.checks.report.text import problems
from clearformer.errors import ClearformerError

HERE = Path(__file__).parent
RESULTS = HERE.parents[1] / "benchmarks" / "checks" / "results" / "bank.json"
NEW_STYLES = ("nano", "annotated", "llama", "bert")
STYLES = ("single_file", "hugging", "functional", "modular", "textbook", *NEW_STYLES)
LIMIT = 600
"""seconds by the clock, on a machine that may be busy, after which a model is given up"""


def bugs_in(folder: str) -> Iterator[Bug]:
    """The bugs of all styles in `bare` or `held_out`."""
    for style in STYLES:
        if (HERE / folder / f"{style}.py").exists():
            for bug in importlib.import_module(f"{folder}.{style}").BUGS:
                yield replace(bug, style=style)


def open_bugs() -> dict[str, Bug]:
    return {bug.id: bug for bug in (*bugs_in("bare"), *OLDER)}


def held_out_bugs() -> dict[str, Bug]:
    return {bug.id: bug for bug in bugs_in("held_out")}


def right_models() -> dict[str, Callable[[], Any]]:
    """By `family: name`."""
    found = {}
    for path in sorted((HERE / "right").glob("[a-z]*.py")):
        models = importlib.import_module(f"right.{path.stem}").MODELS
        found |= {f"{path.stem}: {name}": make for name, make in models.items()}
    return found


def source(style: str) -> str:
    """The style's file, with a function `model` that returns the model alone."""
    text = (HERE / "styles" / f"{style}.py").read_text(encoding="utf-8")
    return text if style in NEW_STYLES else f"{text}\n\ndef model():\n    return subject().model\n"


def patched(bug: Bug) -> str:
    return source(bug.style).replace(bug.old, bug.new, 1)


@contextlib.contextmanager
def model_of(text: str) -> Iterator[Any]:
    """The model that the function `model` of this source returns."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "transformer_to_check.py"
        path.write_text(text, encoding="utf-8")
        with load_target(f"{path}:model", print) as model:
            yield model


def line(result: Result) -> str:
    """`check: cause`, or `check: crashed`."""
    outcome = result.outcome
    return f"{result.id}:{outcome.cause if outcome.status == 'failed' else outcome.status}"


def give_up(*_: Any) -> None:
    raise TimeoutError(f"the check took more than {LIMIT} seconds")


def check(model: Any) -> dict[str, Any]:
    """What the bare command would print of problems, in its order, or the sentence with which it refuses."""
    start = time.process_time()
    signal.signal(signal.SIGALRM, give_up)
    signal.alarm(LIMIT)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            results = check_model(model)
        found: dict[str, Any] = {"problems": [line(result) for result in problems(results)]}
    except (ClearformerError, TimeoutError) as error:
        found = {"problems": [], "refused": str(error)}
    finally:
        signal.alarm(0)
    return found | {"seconds": round(time.process_time() - start, 1)}


def check_source(text: str) -> dict[str, Any]:
    torch.set_num_threads(1)
    try:
        with model_of(text) as model:
            return check(model)
    except ClearformerError as error:
        return {"problems": [], "refused": str(error), "seconds": 0.0}


def check_right(name: str) -> dict[str, Any]:
    torch.set_num_threads(1)
    return check(right_models()[name]())


def is_right(bug: Bug, found: str) -> bool:
    """Whether this line is a true answer to what is wrong."""
    name, _, cause = found.partition(":")
    for pattern in bug.first:
        wanted, _, wanted_cause = pattern.partition(":")
        if fnmatch(name, wanted) and fnmatch(cause, wanted_cause or "*"):
            return True
    return False


def judge(bug: Bug, found: dict[str, Any], without: dict[str, Any]) -> dict[str, Any]:
    """Add what the bug's result is worth, beside that of the style `without` it."""
    new = [each for each in found["problems"] if each not in without["problems"]]
    first = found["problems"][0] if found["problems"] else ""
    return {
        "style": bug.style,
        "topic": bug.topic,
        **found,
        "caught": bool(new),
        "first_right": bool(new) and is_right(bug, first),
    }


def run(held_out: bool, pattern: str, missing: bool, workers: int) -> None:
    saved = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    bugs = held_out_bugs() if held_out else open_bugs()
    section = "held_out" if held_out else "bugs"
    jobs: dict[tuple[str, str], tuple[Callable[[str], dict[str, Any]], str]] = {}
    if not held_out:
        jobs |= {("styles", style): (check_source, source(style)) for style in STYLES}
        jobs |= {("right", name): (check_right, name) for name in right_models()}
    jobs |= {(section, bug.id): (check_source, patched(bug)) for bug in bugs.values()}
    jobs = {
        (group, name): job
        for (group, name), job in jobs.items()
        if fnmatch(name, pattern) and not (missing and name in saved.get(group, {}))
    }
    with ProcessPoolExecutor(workers) as pool:
        running = {pool.submit(*job): key for key, job in jobs.items()}
        for count, done in enumerate(as_completed(running), 1):
            group, name = running[done]
            saved.setdefault(group, {})[name] = done.result()
            print(f"{count}/{len(jobs)} {name}: {done.result()}", file=sys.stderr, flush=True)
            if count % 10 == 0:
                save(saved, bugs, section)
    save(saved, bugs, section)


def save(saved: dict[str, Any], bugs: dict[str, Bug], section: str) -> None:
    """Write the results of what there still is, judged anew, since answers may have been renamed."""
    groups = {"styles": STYLES, "right": right_models(), section: bugs}
    for group, names in groups.items():
        saved[group] = {name: found for name, found in sorted(saved.get(group, {}).items()) if name in names}
    for name, found in saved[section].items():
        without = saved["styles"].get(bugs[name].style)
        if without is not None:
            bare = {key: found[key] for key in ("problems", "refused", "seconds") if key in found}
            saved[section][name] = judge(bugs[name], bare, without)
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
    names = [row.partition(": ")[2] for row in info.read_text().splitlines() if row.startswith("model name")]
    return names[0] if names else platform.processor()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--held-out", action="store_true", help="run the bugs that were set aside")
    parser.add_argument("--only", default="*", help="names to run, with * for anything")
    parser.add_argument("--missing", action="store_true", help="run what has no result yet")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    run(options.held_out, options.only, options.missing, options.workers)


if __name__ == "__main__":
    main()
