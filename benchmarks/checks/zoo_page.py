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
that it has not in the version without it; it is named if the first line says what is wrong.
"""
BUGS = """## Released bugs

| library | with the bug, without it | model | what is wrong | verdict |
| --- | --- | --- | --- | --- |"""
REPOSITORIES = """## Repositories

Checkouts that lay in one folder beside this project, each with a few lines in `benchmarks/checks/repositories` that
build a small model of it.

| repository | what is said of it |
| --- | --- |"""


def link(source: str) -> str:
    """`owner/repository#number` as a link; the same address serves issues and pull requests."""
    repository, _, number = source.partition("#")
    return f"[{source}](https://github.com/{repository}/issues/{number})"


def verdict(found: dict[str, Any]) -> str:
    refused = [found[side]["refused"] for side in ("with", "without") if "refused" in found[side]]
    if refused:
        return "not checked"
    caught = "caught and named" if found["named"] else "caught, not named" if found["caught"] else "missed"
    return caught if not found["without"]["problems"] else f"{caught}; the mended version fails too"


def row_of_bug(found: dict[str, Any]) -> str:
    model = found["model"].partition(":")[2]
    versions = f"{found['broken']}, {found['mended']}"
    what = f"{found['truth']} ({link(found['source'])})"
    return f"| {found['library']} | {versions} | {model} | {what} | {verdict(found)} |"


def said(found: dict[str, Any]) -> str:
    """What stands first in a report, or why there is none."""
    if "refused" in found:
        return f"not checked: {found['refused']}"
    if not found["problems"]:
        return f"no problem; {found['passed']} checks passed"
    more = len(found["problems"]) - 1
    others = f" ({more} more problem{'s' * (more > 1)})" if more else ""
    return f"`{found['first'].replace(':', ' ', 1)}`: {found['means']}{others}"


def paragraph(text: str) -> str:
    return textwrap.fill(text, WIDTH, subsequent_indent="  ", break_on_hyphens=False, break_long_words=False)


def count(founds: list[dict[str, Any]]) -> str:
    checked = [found for found in founds if verdict(found) != "not checked"]
    caught, named = (sum(found[key] for found in checked) for key in ("caught", "named"))
    clean = sum(not found["without"]["problems"] for found in checked)
    return (
        f"Of {len(checked)} bugs {caught} are caught and {named} named in the first line; {clean} of the mended "
        "versions pass all checks that apply to them."
    )


def page(results: dict[str, Any]) -> str:
    machine, released = results["machine"], results.get("released", {})
    lines = [
        INTRODUCTION,
        paragraph(f"Last run on {machine['date']}, Python {machine['python']}, PyTorch {machine['torch']}."),
        "",
        f"{count(list(released.values()))}\n",
        BUGS,
        *(row_of_bug(found) for _, found in sorted(released.items())),
        "\n### What stands first in each report\n",
    ]
    for name, found in sorted(released.items()):
        lines += [f"**{name}**\n"]
        lines += [paragraph(f"- {found['broken']}: {said(found['with'])}")]
        lines += [paragraph(f"- {found['mended']}: {said(found['without'])}"), ""]
    if repositories := results.get("repositories"):
        lines += [REPOSITORIES, *(f"| {name} | {said(found)} |" for name, found in sorted(repositories.items()))]
    return "\n".join(lines).rstrip() + "\n"


def write_page(results: dict[str, Any]) -> None:
    PAGE.write_text(page(results), encoding="utf-8")
