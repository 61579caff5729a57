"""Grade exercises: each file in a process of its own, in a copy, with limits, so that none can hurt the others.

As many run at a time as there are cores.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from clearformer.checks.report.xml import element
from clearformer.errors import ClearformerError
from clearformer.guide.exercises import Exercise, read_exercises

Process = subprocess.Popen[bytes]

MAX_SECONDS = 120.0
"""that a submission may take in all, if it only waits; the judge limits the time it may compute"""
POLL_SECONDS = 0.05
"""between looks at what is still running after an interrupt"""
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

    running: set[Process] = set()
    futures: list[Future[Grade]] = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        try:
            futures += [pool.submit(_grade, submission, running) for submission in submissions]
            for done in as_completed(futures):
                on_grade(done.result())
        except BaseException:  # such as Ctrl-C: nothing that a student wrote may go on
            pool.shutdown(wait=False, cancel_futures=True)
            while any(future.running() for future in futures):
                for process in running.copy():
                    _kill(process)
                time.sleep(POLL_SECONDS)
            raise
    return [future.result() for future in futures]


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


def _grade(submission: Submission, running: set[Process]) -> Grade:
    started = time.monotonic()
    reasons = dict.fromkeys(submission.exercise.claims, submission.problem)
    if not submission.problem:
        found, end = _judge(submission, running)
        reasons = {claim: printable(found.get(claim, end)) for claim in reasons}
    return Grade(submission, reasons, time.monotonic() - started)


def _judge(submission: Submission, running: set[Process]) -> tuple[dict[str, str], str]:
    """The reason of each claim that was judged, and why the others were not."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as outer:
        folder, judge, results = (Path(outer) / name for name in ("work", "judge.py", "results"))
        folder.mkdir()
        work = folder / submission.exercise.file_name
        work.write_bytes(submission.source)
        judge.write_text(submission.exercise.judge, encoding="utf-8")
        command = [sys.executable, "-m", "clearformer.guide.judging", str(judge), str(work), str(results)]
        end = _run(command, folder, running)
        lines = results.read_bytes().splitlines() if results.is_file() else []
    within = f"{folder}{os.sep}"
    return {claim: reason.replace(within, "") for claim, reason in _read_results(lines)}, end


def _run(command: list[str], folder: Path, running: set[Process]) -> str:
    """Run the judge with nothing to read or to print on, and its home in the folder; say how it ended."""
    # sys.path, because a relative PYTHONPATH means nothing there
    changed = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
    changed |= dict.fromkeys(("HOME", "USERPROFILE", "TMPDIR", "TEMP", "TMP"), str(folder))
    process = subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, **changed},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    running.add(process)
    try:
        code = process.wait(MAX_SECONDS)
    except subprocess.TimeoutExpired:
        return f"it did not end within {MAX_SECONDS:.0f} seconds"
    finally:
        _kill(process)
        running.discard(process)
    if code < 0:
        return f"Python was stopped by signal {-code}, {signal.strsignal(-code)}"
    return f"Python ended with exit code {code} before this was judged"


def _kill(process: Process) -> None:
    """With all that it started, if the system knows groups of processes."""
    with contextlib.suppress(ProcessLookupError):
        if sys.platform == "win32":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _read_results(lines: list[bytes]) -> Iterator[tuple[str, str]]:
    """Those lines that are a claim and a reason: a submission may have written into the file."""
    for line in lines:
        try:
            name, reason = json.loads(line)
        except ValueError:
            continue
        if isinstance(name, str) and isinstance(reason, str):
            yield name, reason
