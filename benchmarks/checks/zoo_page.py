"""docs/zoo.md, from benchmarks/checks/results/zoo.json."""

import textwrap
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
RESULTS = Path(__file__).parent / "results" / "zoo.json"
PAGE = ROOT / "docs" / "zoo.md"
WIDTH = 120
INTRODUCTION = """# What the bare command says of released code

Written by `python benchmarks/checks/zoo.py`; do not edit it by hand.

Each library below was released with a silent bug, and later without it. The script installs both versions from PyPI,
builds a small model with random weights in each, and gives it to `clearformer check` bare: a file with a function that
returns the model, and no word on how to call it. A bug is caught if the report has a problem in the version with it
that it has not in the version without it; it is named if the first line says what is wrong. The bugs of #48745 and the
chunks of Falcon-H1, LFM2 and Qwen were known when the checks were written; the others were chosen from the issues of
their libraries before anything was run on them. None was left out for what came of it, but for GPT-NeoX's padding on
the left (huggingface/transformers#22161), which moves no logit: rotary positions count only by their differences.
"""
BUGS = """## Released bugs

| library, versions with and without | model | what was wrong | first line with | first line without | verdict |
| --- | --- | --- | --- | --- | --- |"""
REPOSITORIES = """## Repositories

Folders that lay beside this project, each with a few lines in `benchmarks/checks/repositories` that build small models
of what is in it.

| model | what is said of it | remark |
| --- | --- | --- |"""


def link(source: str) -> str:
    """`owner/repository#number` as a link; the same address serves issues and pull requests."""
    repository, _, number = source.partition("#")
    return f"[{source}](https://github.com/{repository}/issues/{number})"


def is_checked(found: dict[str, Any]) -> bool:
    return "refused" not in found["with"] and "refused" not in found["without"]


def verdict(found: dict[str, Any]) -> str:
    if not is_checked(found):
        return "not checked"
    return "named" if found["named"] else "caught, not named" if found["caught"] else "missed"


def first_line(found: dict[str, Any]) -> str:
    """The problem that is named first, or that there is none, or no report."""
    if "refused" in found:
        return "refused"
    return f"`{found['first'].strip(':').replace(':', ' ')}`" if found["problems"] else "none"


def row_of_bug(found: dict[str, Any]) -> str:
    cells = (
        f"{found['library']} {found['broken']}, {found['mended']}",
        found["model"].partition(":")[2],
        f"{found['truth']} ({link(found['source'])})",
        first_line(found["with"]),
        first_line(found["without"]),
        verdict(found),
    )
    return f"| {' | '.join(cells)} |"


def said(found: dict[str, Any]) -> str:
    """What a report begins with, or why there is none."""
    if "refused" in found:
        return f"refused: {found['refused']}"
    if not found["problems"]:
        return f"no problem; {found['passed']} checks passed"
    others = ", ".join(each.strip(":").replace(":", " ") for each in found["problems"] if each != found["first"])
    return f"{first_line(found)}: {found['means']}" + (f" Also: {others}." if others else "")


def paragraph(text: str, indent: str = "") -> str:
    return textwrap.fill(text, WIDTH, subsequent_indent=indent, break_on_hyphens=False, break_long_words=False)


def item(text: str) -> str:
    return paragraph(f"- {text}", indent="  ")


def count(founds: list[dict[str, Any]]) -> str:
    checked = [found for found in founds if is_checked(found)]
    caught, named = (sum(found[key] for found in checked) for key in ("caught", "named"))
    clean = sum(not found["without"]["problems"] for found in checked)
    refused = len(founds) - len(checked)
    return paragraph(
        f"Of {len(founds)} bugs {caught} are caught, {named} of them named in the first line; missed: "
        f"{len(checked) - caught}; in models that the command refuses: {refused}. Of {len(checked)} mended versions "
        f"{clean} pass all checks that apply to them."
    )


def page(results: dict[str, Any]) -> str:
    machine, released, missing = results["machine"], results.get("released", {}), results.get("not_run")
    lines = [
        INTRODUCTION,
        paragraph(f"Last run on {machine['date']}, Python {machine['python']}, PyTorch {machine['torch']}."),
        "",
        count(list(released.values())),
        "",
        *([f"{paragraph('Listed, but not run yet: ' + ', '.join(missing) + '.')}\n"] if missing else []),
        BUGS,
        *map(row_of_bug, released.values()),
        "\n### What each report begins with\n",
    ]
    for name, found in released.items():
        lines += [f"**{name}**\n"]
        lines += [item(f"{found['broken']}: {said(found['with'])}")]
        lines += [item(f"{found['mended']}: {said(found['without'])}"), ""]
    if repositories := results.get("repositories"):
        lines += [
            REPOSITORIES,
            *(
                f"| {name} | {said(found)} | {found.get('remark', '')} |"
                for name, found in sorted(repositories.items())
            ),
        ]
    return "\n".join(lines).rstrip() + "\n"
