"""`python benchmarks/checks/zoo.py` gives released code to the bare command `clearformer check`.

Bugs that libraries on PyPI had (`released_bugs.py`): a version with the bug and one without it, each in an environment
of its own. A bug is caught if the report has a problem in the version with it that it has not in the other.

Repositories (`repositories/NAME.py` says how to build small models of one): those that lie as NAME in the folder of
`--repositories`; nothing is fetched, and one that is not there is left out.

Every model is checked in a process of its own. Results go to results/zoo.json, and from there to docs/zoo.md.
"""

import argparse
import ast
import datetime
import json
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1]))

import torch
from environments import NotInstalledError, environment
from released_bugs import BUGS, ReleasedBug
from zoo_page import PAGE, RESULTS, page

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
RECIPES = HERE / "repositories"

Found = dict[str, Any]


def check(python: Path | str, target: str, folder: Path, limit: float) -> Found:
    """What `clearformer check TARGET` says in this Python, started in this folder.

    `first`: `check:cause` of the problem that it names first, and `means` its diagnosis; `problems`: all of them;
    `refused`: the error, where nothing was checked.
    """
    start = time.monotonic()
    command = [python, "-m", "clearformer", "check", target, "--json"]
    variables = os.environ | {"PYTHONPATH": str(ROOT / "src"), "HF_HUB_OFFLINE": "1"}
    try:
        done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, timeout=limit)
    except subprocess.TimeoutExpired:
        return refusal(f"it took more than {limit:g} s")
    if done.returncode not in (0, 1) or not done.stdout:
        return refusal((done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1])
    return summary(json.loads(done.stdout)) | {"seconds": round(time.monotonic() - start, 1)}


def refusal(reason: str) -> Found:
    return {"first": "", "problems": [], "refused": public(reason)}


def public(text: str) -> str:
    """The text without the folders of this machine."""
    return re.sub(r"[^\s(]*/site-packages/", "", text).replace(f"{ROOT}/", "")


def summary(report: Found) -> Found:
    """The part of the command's JSON that is kept."""
    problems = {each["id"]: each for each in report["checks"] if each["status"] in ("failed", "crashed")}
    first = problems[report["start_here"][0]] if problems else None
    return {
        "subject": report["subject"]["name"],
        "first": line(first) if first else "",
        "means": public(first["means"] or first["case"]) if first else "",
        "problems": [line(each) for each in problems.values()],
        "passed": report["summary"]["passed"],
    }


def line(check: Found) -> str:
    """`check:cause`, or `check:crashed`."""
    return f"{check['id']}:{check['cause'] if check['status'] == 'failed' else check['status']}"


def check_version(bug: ReleasedBug, version: str, environments: Path, limit: float) -> Found:
    try:
        python = environment((f"{bug.library}=={version}", *bug.beside), environments)
    except NotInstalledError as error:
        return refusal(f"pip: {error}")
    file, _, function = bug.model.partition(":")
    return check(python, f"{HERE / 'released' / file}:{function}", python.parent, limit)


def judge(bug: ReleasedBug, broken: Found, mended: Found) -> Found:
    """What was found in the version with the bug, and what that is worth beside the one without it."""
    caught = "refused" not in mended and any(each not in mended["problems"] for each in broken["problems"])
    return {
        **{name: getattr(bug, name) for name in ("library", "broken", "mended", "model", "truth", "source")},
        **{"caught": caught, "named": caught and is_true(broken["first"], bug), "with": broken, "without": mended},
    }


def is_true(first: str, bug: ReleasedBug) -> bool:
    return any(fnmatch(first, pattern if ":" in pattern else f"{pattern}:*") for pattern in bug.first)


def recipes(folder: Path) -> Iterator[tuple[str, Path]]:
    """Each repository that lies in the folder, and the file that builds models of it; says which ones do not."""
    for recipe in sorted(RECIPES.glob("*.py")):
        if (folder / recipe.stem).is_dir():
            yield recipe.stem, recipe
        else:
            print(f"{recipe.stem} is left out: there is no folder {folder / recipe.stem}")


def models(recipe: Path) -> dict[str, str]:
    """The functions of a recipe that return a model, and what their docstrings remark on what is said of it.

    Functions whose names begin with an underscore help them.
    """
    body = ast.parse(recipe.read_text(encoding="utf-8")).body
    functions = [node for node in body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")]
    return {function.name: ast.get_docstring(function) or "" for function in functions}


def save(results: Found) -> None:
    """Write the results of the bugs that are listed, judged anew, since their answers may have changed."""
    saved = results.get("released", {})
    results["released"] = {
        bug.id: judge(bug, saved[bug.id]["with"], saved[bug.id]["without"]) for bug in BUGS if bug.id in saved
    }
    results["not_run"] = [bug.id for bug in BUGS if bug.id not in saved]
    results["machine"] = {
        "date": datetime.date.today().isoformat(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(page(results), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="*", help="ids of bugs and names of repositories, with * for anything")
    parser.add_argument("--missing", action="store_true", help="run only what has no result yet")
    parser.add_argument("--environments", type=Path, default=ROOT / "build" / "zoo", help="where to create them")
    parser.add_argument("--repositories", type=Path, default=ROOT.parent, help="the folder in which repositories lie")
    parser.add_argument("--limit", type=float, default=300, help="seconds for one model")
    options = parser.parse_args()
    results = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}

    def wanted(group: str, name: str) -> bool:
        return fnmatch(name, options.only) and not (options.missing and name in results.get(group, {}))

    for bug in BUGS:
        if wanted("released", bug.id):
            broken, mended = (
                check_version(bug, version, options.environments.resolve(), options.limit)
                for version in (bug.broken, bug.mended)
            )
            results.setdefault("released", {})[bug.id] = judge(bug, broken, mended)
            save(results)
            print(f"{bug.id}: {json.dumps(results['released'][bug.id], indent=1)}", flush=True)
    for repository, recipe in recipes(options.repositories.resolve()):
        for model, remark in models(recipe).items():
            name = f"{repository}: {model}"
            if wanted("repositories", name):
                folder = options.repositories.resolve() / repository
                found = check(sys.executable, f"{recipe}:{model}", folder, options.limit)
                results.setdefault("repositories", {})[name] = {**found, "remark": remark}
                save(results)
                print(f"{name}: {json.dumps(found, indent=1)}", flush=True)


if __name__ == "__main__":
    main()
