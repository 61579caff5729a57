"""Printing what graded exercises are worth."""

import itertools
from pathlib import Path

from clearformer.api.display import Display
from clearformer.cli.files import write_file
from clearformer.guide import grading
from clearformer.guide.exercises import exercise_of
from clearformer.guide.grading import Grade


def grade_file(path: Path) -> bool:
    """Grade a learner's own file, print a line for each claim, and return whether all hold."""
    exercise = exercise_of(path)
    (graded,) = grading.grade([grading.read_submission(path, "", exercise)])
    for claim, reason in graded.reasons.items():
        print(f"{'FAILS' if reason else 'holds'}  {_sentence(claim)}")
        if reason:
            print(f"       {reason}")
    hint = "" if graded.passed else f"; `clearformer guide --hint {exercise.number}` helps"
    print(f"\nexercise {exercise.number}: {graded.held} of {len(graded.reasons)} claims hold{hint}")
    return graded.passed


def grade_class(folder: Path) -> None:
    """Grade a folder of students' folders, print a table and a sentence on each failure, and write grades.xml."""
    submissions = grading.read_class(folder)
    done = itertools.count(1)
    with Display("grading", len(submissions)) as display:
        display.show(0)
        grades = grading.grade(submissions, lambda graded: display.show(next(done), graded.submission.student))
    _print_table(grades)
    for graded in grades:
        if graded.submission.problem != grading.MISSING:
            _print_failures(graded)
    write_file(folder / "grades.xml", grading.as_junit(grades))
    print(f"\n{folder / 'grades.xml'}: the same for other programs, in JUnit's format")


def _print_table(grades: list[Grade]) -> None:
    """A row for each student, a column for each exercise."""
    students: dict[str, list[str]] = {}
    for graded in grades:
        mark = "passed" if graded.passed else f"{graded.held} of {len(graded.reasons)}"
        missing = graded.submission.problem == grading.MISSING
        students.setdefault(graded.submission.student, []).append("-" if missing else mark)
    numbers = sorted({graded.submission.exercise.number for graded in grades})
    width = max(map(len, [*students, "student"]))
    print(f"{'student':<{width}}" + "".join(f"{f'exercise {number}':>12}" for number in numbers))
    for student, marks in students.items():
        print(f"{student:<{width}}" + "".join(f"{mark:>12}" for mark in marks))


def _print_failures(graded: Grade) -> None:
    """A line for each claim that does not hold; one line for all of them if they have one reason."""
    submission = graded.submission
    failures = {claim: reason for claim, reason in graded.reasons.items() if reason}
    title = f"{submission.student}, exercise {submission.exercise.number}"
    if failures:
        print()
    if len(failures) > 1 and len(set(failures.values())) == 1:
        print(f"{title}: {next(iter(failures.values()))}")
    else:
        for claim, reason in failures.items():
            print(f"{title}: {_sentence(claim)}: {reason}")


def _sentence(claim: str) -> str:
    return claim.removeprefix("test_").replace("_", " ")
