"""`clearformer guide`"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from rich.console import Console
from tyro.conf import Positional, arg

from clearformer.cli.arguments import parse
from clearformer.cli.files import write_file
from clearformer.guide.progress import Progress, progress_file, state_folder
from clearformer.guide.stages import Script, find, read_questions, read_stages


@dataclass(frozen=True)
class Guide:
    """Build a transformer up from nothing, in stages that each run; then ask it questions.

    Without arguments it lists the stages, the questions and the exercises, and says where you are.
    """

    stage: Positional[Annotated[str, arg(metavar="STAGE")]] = ""
    """the number of a stage, or the name of a question, to show and run"""
    notebook: bool = False
    """write it as a Jupyter notebook instead; without STAGE, write them all"""
    out: Path = Path()
    """the folder for what is written; by default the current one"""
    json: Annotated[bool, arg(name="json")] = False
    """print the list as one JSON object"""


def run(arguments: Sequence[str]) -> int:
    options = parse(Guide, arguments, "guide")
    stages, questions = read_stages(), read_questions()
    chosen = [find(options.stage, [*stages, *questions])] if options.stage else []
    if options.notebook:
        for script in chosen or [*stages, *questions]:
            _write_notebook(script, options.out)
    elif chosen:
        _run_script(chosen[0], stages)
    elif options.json:
        print(json.dumps(_contents(stages, questions), indent=2))
    else:
        _print_contents(stages, questions)
    return 0


def _run_script(script: Script, stages: list[Script]) -> None:
    from clearformer.cli.lesson import show

    show(script, state_folder() / "pictures")
    progress = Progress.read()
    progress.finish(script)
    write_file(progress_file(), progress.to_json())
    following = stages[script.number] if script.number is not None and script.number < len(stages) else None
    then = f"; next: {following.title}, {following.command}" if following else ""
    print(f"{script.command} is finished{then}")


def _write_notebook(script: Script, folder: Path) -> None:
    from clearformer.guide.notebook import as_notebook

    path = folder / f"{script.name}.ipynb"
    write_file(path, as_notebook(script))
    for module in script.modules:
        write_file(folder / module.name, module.read_bytes())
    print(path)


def _contents(stages: list[Script], questions: list[Script]) -> dict[str, object]:
    progress = Progress.read()
    following = progress.next_stage(stages)
    return {
        "stages": [_entry(script, progress) for script in stages],
        "questions": [_entry(script, progress) for script in questions],
        "next": following and following.number,
    }


def _entry(script: Script, progress: Progress) -> dict[str, object]:
    return {
        "number": script.number,
        "name": script.name,
        "part": script.part,
        "title": script.title,
        "teaches": script.teaches,
        "minutes": script.minutes,
        "finished": script.name in progress.finished,
    }


def _print_contents(stages: list[Script], questions: list[Script]) -> None:
    """A line for each script, and below a stage's what it teaches."""
    progress = Progress.read()
    following, part = progress.next_stage(stages), ""
    console = Console(highlight=False, markup=False)
    for stage in stages:
        if stage.part != part:
            part = stage.part
            number, _, name = part.partition("_")
            minutes = sum(other.minutes or 0 for other in stages if other.part == part)
            console.print(f"Part {number}: {name}, {minutes} minutes", style="bold", soft_wrap=True)
        mark = "done" if stage.name in progress.finished else "next" if stage is following else ""
        console.print(f"{mark:>6} {stage.number:>3}  {stage.title}, {stage.minutes} minutes", soft_wrap=True)
        console.print(f"{'':12}{stage.teaches}", style="dim", soft_wrap=True)
    console.print("Questions, each answered by an experiment", style="bold")
    for question in questions:
        mark = "done" if question.name in progress.finished else ""
        console.print(f"{mark:>6}      {question.name:<12}{question.title}", soft_wrap=True)
    first = following or [*stages, *questions][0]
    console.print(f"\n{first.command} shows and runs {first.title!r}; --notebook writes a notebook", soft_wrap=True)
