"""docs/bank.md, from benchmarks/checks/results/bank.json."""

import json
import textwrap
from collections import defaultdict
from typing import Any

from bank import HERE, RESULTS, known_faults, right_models

PAGE = HERE.parents[1] / "docs" / "bank.md"
FIRST_RUNS = RESULTS.with_name("first_runs.json")
WIDTH = 120
INTRODUCTION = """# How much of what is wrong the bare command finds

Written by `python tests/mutants/run_bank.py`; do not edit it by hand.

Every model here was given to `clearformer check` bare: a file with a function that returns it, and no word on how to
call it. A bug counts as caught if the report has a problem that the model without the bug has not, and its first line
as right if it names what is wrong. The bugs follow patterns from the histories of public repositories;
`tests/mutants/bare` says for each what is wrong, which answers are true, and where it was found. A third of those
written for this bank, chosen by a hash of their names, was set aside while the checks were written.
"""
FIRST = """## At first sight

The checks were mended after what they said of these models, so all the shares above are of models they have seen. This
is how eight batches of models, one after the other, fared when the checks met them for the first time; each was written
without a look at the checks, after public repositories, and joined the right models and bugs above afterwards:
"""


def share(founds: list[dict[str, Any]], key: str) -> str:
    count = sum(bool(found[key]) for found in founds)
    return f"{count} of {len(founds)}, {100 * count / len(founds):.0f} %"


def table_of_bugs(title: str, founds: dict[str, dict[str, Any]], key: str) -> list[str]:
    groups = defaultdict(list)
    for found in founds.values():
        groups[found[key]].append(found)
    rows = [
        f"| {name} | {share(group, 'caught')} | {share(group, 'first_right')} |"
        for name, group in (*sorted(groups.items()), ("all", list(founds.values())))
    ]
    return [f"| {title} | caught | first line right |", "| --- | --- | --- |", *rows]


def alarms(right: dict[str, dict[str, Any]]) -> dict[str, list[str]]:
    """Of each right model that is called wrong: what is said of it, but for known faults of its library."""
    known = known_faults()
    said = {
        name: [each for each in found["problems"] if each.partition(":")[0] not in known.get(name, {})]
        for name, found in right.items()
    }
    return {name: lines for name, lines in said.items() if lines}


def table_of_right_models(right: dict[str, dict[str, Any]]) -> list[str]:
    wrong = alarms(right)
    rows = []
    for family in sorted({name.partition(":")[0] for name in right}):
        of_family = [name for name in right if name.startswith(f"{family}:")]
        refused = sum("refused" in right[name] for name in of_family)
        rows.append(f"| {family} | {len(of_family)} | {sum(name in wrong for name in of_family)} | {refused} |")
    return ["| right models | number | called wrong | not recognised |", "| --- | --- | --- | --- |", *rows]


def table_of_first_runs() -> list[str]:
    runs = json.loads(FIRST_RUNS.read_text(encoding="utf-8"))
    columns = list(dict.fromkeys(name for run in runs for name in run))
    rows = [f"| {' | '.join(str(run.get(name, '')) for name in columns)} |" for run in runs]
    return [f"| {' | '.join(columns)} |", "| --- " * len(columns) + "|", *rows]


def write_page() -> None:
    saved = json.loads(RESULTS.read_text(encoding="utf-8"))
    machine, bugs = saved["machine"], saved["bugs"]
    right = {name: found for name, found in saved["right"].items() if name in right_models()}
    styles = {f"styles: {name}": found for name, found in saved["styles"].items()}
    seconds = sorted(found["seconds"] for found in (*bugs.values(), *right.values()))
    middle, most = seconds[len(seconds) // 2], seconds[-1]
    lines = [
        INTRODUCTION,
        textwrap.fill(
            f"Measured by {machine['date']}, the last ones on {machine['processor']}, one thread, PyTorch "
            f"{machine['torch']}: {middle:.1f} seconds of the processor for the model in the middle, {most:.0f} for "
            "the slowest.",
            WIDTH,
        ),
        "",
        *table_of_bugs("bugs, by what is wrong", bugs, "topic"),
        "",
        *table_of_bugs("bugs, by model", bugs, "style"),
        "",
    ]
    if saved.get("held_out"):
        lines += ["The bugs that were set aside, run once the checks were written:\n"]
        lines += [*table_of_bugs("bugs set aside, by what is wrong", saved["held_out"], "topic"), ""]
    lines += [*table_of_right_models(styles | right), ""]
    wrong = [
        textwrap.fill(f"- {name}: {', '.join(said)}", WIDTH, subsequent_indent="  ", break_on_hyphens=False)
        for name, said in alarms(styles | right).items()
    ]
    if wrong:
        lines += ["Right models that are called wrong:\n", *wrong, ""]
    lines += [FIRST, *table_of_first_runs()]
    PAGE.write_text("\n".join(lines) + "\n", encoding="utf-8")
