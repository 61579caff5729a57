"""`clearformer guide`"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from rich.console import Console
from rich.markdown import Markdown
from tyro.conf import Positional, arg

from clearformer.cli.arguments import parse
from clearformer.cli.contents import contents, print_contents
from clearformer.cli.files import write_file
from clearformer.errors import ClearformerError
from clearformer.guide.exercises import Exercise, class_folder, find_exercise
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
    exercise: int | None = None
    """write the exercise with this number, to fill in"""
    hint: int | None = None
    """show the next hint to the exercise with this number"""
    grade: Path | None = None
    """a file that answers an exercise, or a folder with a folder for each student"""
    class_: Annotated[Path | None, arg(name="class")] = None
    """write a folder to hand out to a class: the exercises, and a page on how to work"""
    out: Path = Path()
    """the folder for a notebook or an exercise; by default the current one"""
    json: Annotated[bool, arg(name="json")] = False
    """print the list as one JSON object"""


def run(arguments: Sequence[str]) -> int:
    options = parse(Guide, arguments, "guide")
    _require_one(options)
    if options.exercise is not None:
        exercise = find_exercise(options.exercise)
        _write_new({exercise.file_name: exercise.stub}, options.out)
    elif options.hint is not None:
        _show_hint(find_exercise(options.hint))
    elif options.class_ is not None:
        _write_new(class_folder(), options.class_)
    elif options.grade is not None:
        return _grade(options.grade)
    else:
        _show_scripts(options)
    return 0


def _require_one(options: Guide) -> None:
    actions = {
        "STAGE": bool(options.stage) or options.notebook,
        "--exercise": options.exercise is not None,
        "--hint": options.hint is not None,
        "--grade": options.grade is not None,
        "--class": options.class_ is not None,
        "--json": options.json,
    }
    asked = [name for name, given in actions.items() if given]
    if len(asked) > 1:
        raise ClearformerError(f"one of {', '.join(actions)} was expected, found {' and '.join(asked)}; ask for one")


def _show_scripts(options: Guide) -> None:
    stages, questions = read_stages(), read_questions()
    chosen = [find(options.stage, [*stages, *questions])] if options.stage else []
    if options.notebook:
        for script in chosen or [*stages, *questions]:
            _write_notebook(script, options.out)
    elif chosen:
        _run_script(chosen[0], stages)
    elif options.json:
        print(json.dumps(contents(stages, questions), indent=2))
    else:
        print_contents(stages, questions)


def _write_new(files: dict[str, str], folder: Path) -> None:
    """Write files and print their paths. Raises ClearformerError, before writing any, where one is there already."""
    for name in files:
        if (folder / name).exists():
            raise ClearformerError(
                f"a new file was expected at {folder / name}, but there is one; move it away or name another folder"
            )
    for name, text in files.items():
        write_file(folder / name, text)
        print(folder / name)


def _show_hint(exercise: Exercise) -> None:
    progress, hints = Progress.read(), exercise.hints
    shown = min(progress.hints.get(str(exercise.number), 0) + 1, len(hints))
    progress.hints[str(exercise.number)] = shown
    write_file(progress_file(), progress.to_json())
    Console(highlight=False).print(Markdown(hints[shown - 1]))
    last = ", the last" if shown == len(hints) else ""
    print(f"\nhint {shown} of {len(hints)} to exercise {exercise.number}{last}")


def _grade(path: Path) -> int:
    from clearformer.cli.grades import grade_class, grade_file

    if path.is_dir():
        grade_class(path)
        return 0
    if not path.is_file():
        raise ClearformerError(f"a file or a folder to grade was expected at {path}, but there is none")
    return 0 if grade_file(path) else 1


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
