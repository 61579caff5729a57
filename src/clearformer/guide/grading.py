"""Grade exercises: each file in a process of its own, in a copy, with limits, so that none can hurt the others.

As many run at a time as there are cores.
"""

import asyncio
import contextlib
import json
import os
import signal
import sys
import tempfile
import time
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from clearformer.checks.report.xml import element
from clearformer.errors import ClearformerError
from clearformer.guide.exercises import Exercise, read_exercises

MAX_SECONDS = 120.0
"""that a submission may take in all, if it only waits; the judge limits the time it may compute"""
MAX_BYTES = 1 << 20
"""of a submission"""
MISSING = "it was not handed in"


@dataclass(frozen=True)
class Submission:
    """A student's answer to an exercise, as it was when grading began; `problem` says why there is none."""

    student: str
    exercise: Exercise
    source: bytes
    problem: str = ""


@dataclass(frozen=True)
class Grade:
    """For each claim why it does not hold, "" if it does."""

    submission: Submission
    reasons: dict[str, str]
    seconds: float

    @property
    def held(self) -> int:
        """How many claims hold."""
        return sum(not reason for reason in self.reasons.values())

    @property
    def passed(self) -> bool:
        return self.held == len(self.reasons)


def read_submission(path: Path, student: str, exercise: Exercise) -> Submission:
    """The file, which may be missing or no text at all."""
    if not path.is_file():
        return Submission(student, exercise, b"", MISSING)
    try:
        if path.stat().st_size > MAX_BYTES:
            return Submission(student, exercise, b"", f"the file has more than {MAX_BYTES:,} bytes")
        return Submission(student, exercise, path.read_bytes())
    except OSError as error:
        return Submission(student, exercise, b"", f"the file cannot be read: {error.strerror}")


def read_class(folder: Path) -> list[Submission]:
    """Every student's submissions, in the order of their folders' names.

    All are read before any is run, so that none can change another. Raises ClearformerError where no folder has one.
    """
    exercises = read_exercises()
    students = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not any((student / exercise.file_name).is_file() for student in students for exercise in exercises):
        raise ClearformerError(
            f"a folder for each student was expected in {folder}, with files exercise_1.py to "
            f"{exercises[-1].file_name}, found none; name the folder that holds them"
        )
    return [
        read_submission(student / exercise.file_name, printable(student.name), exercise)
        for student in students
        for exercise in exercises
    ]


def grade(submissions: list[Submission], on_grade: Callable[[Grade], None] = lambda _: None) -> list[Grade]:
    """Judge submissions. Whatever one does ends as the reasons why claims do not hold.

    Grades are in the order of the submissions; `on_grade` gets each as soon as it is there, in any order.
    """

    return asyncio.run(_grade_all(submissions, on_grade))


def printable(text: str) -> str:
    """The text without what a terminal might take for a command."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def as_junit(grades: list[Grade]) -> str:
    """JUnit XML: a suite for each exercise of each student, with a test case for each claim."""
    root = ElementTree.Element("testsuites")
    for graded in grades:
        submission, count = graded.submission, len(graded.reasons)
        name = f"{submission.student}.exercise_{submission.exercise.number}"
        attributes = {"name": name, "tests": str(count), "failures": str(count - graded.held)}
        suite = element(root, "testsuite", {**attributes, "time": f"{graded.seconds:.3f}"})
        for claim, reason in graded.reasons.items():
            case = element(suite, "testcase", {"classname": name, "name": claim})
            if reason:
                element(case, "failure", {"message": reason})
    return ElementTree.tostring(root, encoding="unicode") + "\n"


async def _grade_all(submissions: list[Submission], on_grade: Callable[[Grade], None]) -> list[Grade]:
    cores = asyncio.Semaphore(os.cpu_count() or 1)
    return await asyncio.gather(*(_grade(submission, cores, on_grade) for submission in submissions))


async def _grade(submission: Submission, cores: asyncio.Semaphore, on_grade: Callable[[Grade], None]) -> Grade:
    async with cores:
        started = time.monotonic()
        reasons = dict.fromkeys(submission.exercise.claims, submission.problem)
        if not submission.problem:
            found, end = await _judge(submission)
            reasons = {claim: printable(found.get(claim, end)) for claim in reasons}
        graded = Grade(submission, reasons, time.monotonic() - started)
    on_grade(graded)
    return graded


async def _judge(submission: Submission) -> tuple[dict[str, str], str]:
    """The reason of each claim that was judged, and why the others were not."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as outer:
        folder, judge, results = (Path(outer) / name for name in ("work", "judge.py", "results"))
        folder.mkdir()
        work = folder / submission.exercise.file_name
        work.write_bytes(submission.source)
        judge.write_text(submission.exercise.judge, encoding="utf-8")
        command = [sys.executable, "-m", "clearformer.guide.judging", str(judge), str(work), str(results)]
        end = await _run(command, folder)
        lines = results.read_bytes().splitlines() if results.is_file() else []
    within = f"{folder}{os.sep}"
    return {claim: reason.replace(within, "") for claim, reason in _read_results(lines)}, end


async def _run(command: list[str], folder: Path) -> str:
    """Run the judge with nothing to read or to print on, and its home in the folder; say how it ended."""
    # sys.path, because a relative PYTHONPATH means nothing there
    changed = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
    changed |= dict.fromkeys(("HOME", "USERPROFILE", "TMPDIR", "TEMP", "TMP"), str(folder))
    async with _killed_at_the_end(
        await asyncio.create_subprocess_exec(
            *command,
            cwd=folder,
            env={**os.environ, **changed},
            stdin=DEVNULL,
            stdout=DEVNULL,
            stderr=DEVNULL,
            start_new_session=True,
        )
    ) as process:
        try:
            async with asyncio.timeout(MAX_SECONDS):
                code = await process.wait()
        except TimeoutError:
            return f"it did not end within {MAX_SECONDS:.0f} seconds"
    if code < 0:
        return f"Python was stopped by signal {-code}, {signal.strsignal(-code)}"
    return f"Python ended with exit code {code} before this was judged"


@contextlib.asynccontextmanager
async def _killed_at_the_end(process: Process) -> AsyncIterator[Process]:
    """With all that it started, if the system knows groups of processes."""
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            if sys.platform == "win32":
                process.kill()
            else:
                os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


def _read_results(lines: list[bytes]) -> Iterator[tuple[str, str]]:
    """Those lines that are a claim and a reason: a submission may have written into the file."""
    for line in lines:
        try:
            name, reason = json.loads(line)
        except ValueError:
            continue
        if isinstance(name, str) and isinstance(reason, str):
            yield name, reason
