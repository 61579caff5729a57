"""The exercises: what a learner gets to fill in, the hints, and who judges."""

import ast
import re
from dataclasses import dataclass
from pathlib import Path

from clearformer.errors import ClearformerError
from clearformer.guide.stages import folder


@dataclass(frozen=True)
class Exercise:
    """One folder of `guide/exercises`."""

    number: int
    folder: Path

    @property
    def file_name(self) -> str:
        """What a learner's file is called, wherever it is."""
        return f"exercise_{self.number}.py"

    @property
    def stub(self) -> str:
        """The file to fill in."""
        return self._read("exercise.py")

    @property
    def judge(self) -> str:
        """The tests, each a function `test_CLAIM(work)` of the learner's module."""
        return self._read("judge.py")

    @property
    def title(self) -> str:
        """The first line of the stub, without the number."""
        return self.stub.partition("\n")[0].partition(": ")[2].rstrip(".")

    @property
    def claims(self) -> list[str]:
        """The names of the tests."""
        functions = [node.name for node in ast.parse(self.judge).body if isinstance(node, ast.FunctionDef)]
        return [name for name in functions if name.startswith("test_")]

    @property
    def hints(self) -> list[str]:
        """The text of each step, in order."""
        return [step.strip() for step in re.split(r"^## Step \d+$", self._read("hints.md"), flags=re.MULTILINE)[1:]]

    def _read(self, name: str) -> str:
        return (self.folder / name).read_text(encoding="utf-8")


def read_exercises() -> list[Exercise]:
    """All exercises, in order."""
    paths = sorted((folder() / "exercises").glob("[0-9]_*"))
    return [Exercise(int(path.name[0]), path) for path in paths]


def find_exercise(number: int) -> Exercise:
    """Raises ClearformerError where there is none with this number."""
    exercises = read_exercises()
    if not 1 <= number <= len(exercises):
        raise ClearformerError(f"an exercise from 1 to {len(exercises)} was expected, found {number}")
    return exercises[number - 1]


def exercise_of(path: Path) -> Exercise:
    """The exercise that a file answers, by its name. Raises ClearformerError for another name."""
    for exercise in read_exercises():
        if path.name == exercise.file_name:
            return exercise
    raise ClearformerError(
        f"a file called exercise_1.py to {read_exercises()[-1].file_name} was expected, found {path.name}; its name "
        "says which exercise it answers"
    )


def class_folder() -> dict[str, str]:
    """What a class is given, by file name: the stubs, and a page on how to work."""
    files = {exercise.file_name: exercise.stub for exercise in read_exercises()}
    return {"README.md": (folder() / "exercises" / "README.md").read_text(encoding="utf-8"), **files}
