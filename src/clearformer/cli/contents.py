"""The table of contents of the guide."""

from rich.console import Console

from clearformer.guide.exercises import read_exercises
from clearformer.guide.progress import Progress
from clearformer.guide.stages import Script


def contents(stages: list[Script], questions: list[Script]) -> dict[str, object]:
    """Everything in the guide, as JSON has it."""
    progress = Progress.read()
    following = progress.next_stage(stages)
    return {
        "stages": [_entry(script, progress) for script in stages],
        "questions": [_entry(script, progress) for script in questions],
        "exercises": [{"number": exercise.number, "title": exercise.title} for exercise in read_exercises()],
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


def print_contents(stages: list[Script], questions: list[Script]) -> None:
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
    console.print("Exercises, to write yourself", style="bold")
    for exercise in read_exercises():
        console.print(f"{exercise.number:>10}  {exercise.title}", soft_wrap=True)
    if following:
        console.print(f"\n{following.command} shows and runs {following.title!r}", soft_wrap=True)
    console.print(
        "clearformer guide --exercise 1 writes an exercise to fill in, --hint 1 helps, --grade FILE judges it"
    )
