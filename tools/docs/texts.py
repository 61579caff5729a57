"""The pages that stand in the repository as Markdown, and what they show."""

import shutil
from pathlib import Path

from tools.docs import ROOT, Nav, Pages
from tools.docs.links import relative, rewrite, site_path

COPIED = (".svg", ".png", ".sbatch", ".yaml")
"""endings of the pictures, and of the scripts to take away"""
START: Nav = [
    "index.md",
    {"Inside an attention head": "head.md"},
    {"The architecture": "architecture.md"},
    {"The paper, line by line": "paper.md"},
    {"Your own data": "data.md"},
    {"Watching and comparing": "watching.md"},
]
CHECKS: Nav = [
    {"What is checked": "checks.md"},
    {"How a model is checked": "checking.md"},
    {"Planted bugs": "mutants.md"},
    {"Bare models": "bank.md"},
    {"Libraries": "libraries.md"},
    {"Released code": "zoo.md"},
]
MEASURED: Nav = [
    {"Results": "results.md"},
    {"Speed": "speed.md"},
    {"Engines": "engines.md"},
    {"Grokking": "grokking.md"},
    {"A run without Python": "export.md"},
    {"Hugging Face and ONNX": "interop.md"},
    {"From one core to a cluster": "parallel.md"},
]


def pages() -> Pages:
    """Every page of docs/, the changelog and the contributing guide, with links that hold in the site."""
    files = [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md"]
    made = {}
    for file in files:
        page = site_path(relative(file))
        made[page] = rewrite(file.read_text(encoding="utf-8"), relative(file), page)
    rows = "".join(f"- [{title(made[page])}]({Path(page).name})\n" for page in decisions(made))
    made["decisions/index.md"] = f"# Decisions\n\nWhy things are as they are, one short page each.\n\n{rows}"
    return made


def project(made: Pages) -> Nav:
    """The pages about the project itself."""
    return [
        {"Changelog": "changelog.md"},
        {"Contributing": "contributing.md"},
        {"Decisions": ["decisions/index.md", *decisions(made)]},
    ]


def decisions(made: Pages) -> list[str]:
    """The decisions' pages, in order."""
    return sorted(page for page in made if page.startswith("decisions/") and page != "decisions/index.md")


def title(markdown: str) -> str:
    """A page's first heading."""
    return markdown.split("\n", 1)[0].removeprefix("# ")


def copy_files(folder: Path) -> None:
    """The pictures and scripts of docs/, at the same places."""
    for file in (ROOT / "docs").rglob("*"):
        if file.suffix in COPIED:
            copy = folder / file.relative_to(ROOT / "docs")
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, copy)
