"""The guide's pages: a script's text, what it changes in the program, its code, and what that printed and drew.

Nothing runs here: `make guide` runs every script in full, and writes what it printed and drew to guide/figures.
"""

import shutil
from itertools import groupby
from pathlib import Path

from clearformer.guide.notebook import diff_as_markdown
from clearformer.guide.recording import figures_folder, picture_of, printed_by
from clearformer.guide.stages import Cell, Script, folder, read_questions, read_stages
from tools.docs import Nav, Pages
from tools.docs.formulas import with_formulas
from tools.docs.links import code

INTRODUCTION = """# The guide

A transformer, built from nothing in stages, each a program that runs by itself. A stage changes the program of the one
before as little as it can, and what it changes is shown first. Where a page asks you to predict something, decide
before you read on. Each part has an [exercise](exercises.md).

`clearformer guide` lists the stages in a terminal, `clearformer guide 1` shows and runs the first, and
`clearformer guide 1 --notebook` writes it as a notebook.
"""
QUESTIONS = """# Questions

Each is answered by an experiment that you can run: `clearformer guide NAME`.
"""


def pages() -> tuple[Pages, Nav, Nav]:
    """All pages, the order of the stages, and that of the questions."""
    stages, questions = read_stages(), read_questions()
    made = {f"guide/{stage.name}.md": page(stage) for stage in stages}
    made |= {f"questions/{question.name}.md": page(question) for question in questions}
    parts = {part: list(found) for part, found in groupby(stages, lambda stage: stage.part)}
    tables = "".join(f"\n## {_part_title(part)}\n\n{_table(found)}" for part, found in parts.items())
    made["guide/index.md"] = INTRODUCTION + tables
    made["guide/exercises.md"] = (folder() / "exercises" / "README.md").read_text(encoding="utf-8")
    answers = "".join(f"\n**[{each.title}]({each.name}.md)** {with_formulas(each.teaches)}\n" for each in questions)
    made["questions/index.md"] = QUESTIONS + answers
    stage_nav = [
        {_part_title(part): [{f"{each.number}. {each.title}": f"guide/{each.name}.md"} for each in found]}
        for part, found in parts.items()
    ]
    question_nav = [{each.title: f"questions/{each.name}.md"} for each in questions]
    guide_nav = ["guide/index.md", *stage_nav, {"Exercises": "guide/exercises.md"}]
    return made, guide_nav, ["questions/index.md", *question_nav]


def page(script: Script) -> str:
    """A script as a page."""
    printed = printed_by(script)
    parts = [_text(script.cells[0]), f"`{script.command}` runs this in your terminal.\n"]
    if script.before is not None:
        parts.append(diff_as_markdown(script) + "\n")
    for unchanged, cells in groupby(script.cells[1:], script.is_unchanged):
        if unchanged:
            parts.append(_folded("\n\n\n".join(cell.source for cell in cells)))
            continue
        for cell in cells:
            parts.append(_text(cell) if cell.is_text else code(cell.source, "python"))
            if cell.number in printed:
                parts.append(_shown("printed", code(printed[cell.number], "text")))
            if picture := picture_of(script, cell.number):
                parts.append(_shown("picture", f"![A picture of {script.title}](../pictures/{picture.name})\n"))
    return "\n".join(parts)


def copy_pictures(site: Path) -> None:
    """What the scripts drew."""
    (site / "pictures").mkdir()
    for picture in figures_folder().glob("*.svg"):
        shutil.copy(picture, site / "pictures")


def _shown(kind: str, markdown: str) -> str:
    return f'<div class="{kind}" markdown>\n\n{markdown}\n</div>\n'


def _folded(program: str) -> str:
    summary = "The program so far, unchanged"
    return (
        f'<details class="program" markdown>\n<summary>{summary}</summary>\n\n{code(program, "python")}\n</details>\n'
    )


def _text(cell: Cell) -> str:
    text = with_formulas(cell.source)
    return _shown("predict", f"{text}\n") if cell.asks else f"{text}\n"


def _table(stages: list[Script]) -> str:
    rows = "".join(
        f"| {each.number} | [{each.title}]({each.name}.md) | {with_formulas(each.teaches)} | {each.minutes or ''} |\n"
        for each in stages
    )
    return f"| | stage | what it teaches | minutes |\n| --- | --- | --- | --- |\n{rows}"


def _part_title(part: str) -> str:
    """Part 1: attention, of the folder 1_attention."""
    number, _, name = part.partition("_")
    return f"Part {number}: {name.replace('_', ' ')}"
