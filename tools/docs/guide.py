"""The guide's pages: a script's text, what it changes in the program, its code, and what that printed and drew.

Nothing runs here: `make guide` runs every script in full, and writes what it printed and drew to guide/figures.
"""

import shutil
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from clearformer.guide.notebook import diff_as_markdown
from clearformer.guide.stages import PREDICT, Cell, Script, folder, read_questions, read_stages
from tools.docs import Nav, Pages
from tools.docs.formulas import with_formulas
from tools.docs.links import code, relative, rewrite

INTRODUCTION = """# The guide

A transformer, built from nothing in stages, each a program that runs by itself. A stage changes the program of the one
before as little as it can, and what it changes is shown first. Where a page asks you to predict something, decide
before you read on.

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
    answers = "".join(f"\n**[{each.title}]({each.name}.md)** {with_formulas(each.teaches)}\n" for each in questions)
    made["questions/index.md"] = QUESTIONS + answers
    stage_nav = [
        {_part_title(part): [{f"{each.number}. {each.title}": f"guide/{each.name}.md"} for each in found]}
        for part, found in parts.items()
    ]
    question_nav = [{each.title: f"questions/{each.name}.md"} for each in questions]
    return made, ["guide/index.md", *stage_nav], ["questions/index.md", *question_nav]


def page(script: Script) -> str:
    """A script as a page."""
    printed = outputs(script)
    parts = [_text(script.cells[0]), f"`{script.command}` runs this in your terminal.\n"]
    if script.before is not None:
        parts.append(diff_as_markdown(script) + "\n")
    for unchanged, cells in groupby(script.cells[1:], script.is_unchanged):
        if unchanged:
            program = code("\n\n\n".join(cell.source for cell in cells), "python")
            summary = "The program so far, unchanged"
            parts.append(f'<details class="program" markdown>\n<summary>{summary}</summary>\n\n{program}\n</details>\n')
        else:
            parts += [part for cell in cells for part in (_text(cell) if cell.is_text else code(cell.source, "python"), printed.get(cell.number, ""))]
    file = relative(script.path)
    return rewrite("\n".join(filter(None, parts)), file, _page_of(script))


def outputs(script: Script) -> dict[int, str]:
    """By the number of a cell: what it printed, and its picture."""
    return {}


def _page_of(script: Script) -> str:
    return f"{'guide' if script.number else 'questions'}/{script.name}.md"


def _text(cell: Cell) -> str:
    text = with_formulas(cell.source)
    return f'<div class="predict" markdown>\n\n{text}\n\n</div>\n' if cell.asks else f"{text}\n"


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
