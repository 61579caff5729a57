"""Judge one file in a process of its own: `python -m clearformer.guide.judging JUDGE FILE RESULTS`.

RESULTS gets a line of JSON for each test as soon as it is there: its name, and why it failed ("" if it passed).
"""

import importlib.util
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from clearformer.checks.parts.run import run_part
from clearformer.checks.report.text import problems
from clearformer.errors import shortened

Test = Callable[[ModuleType], None]

MAX_CPU_SECONDS = 30
"""of computing; loading PyTorch takes two or three of them"""
MAX_MEMORY = 4 << 30
"""bytes that a submission may allocate; PyTorch itself takes a tenth of that"""
MAX_FILE = 64 << 20
"""bytes of a file that it may write"""

TOLERANCE = 1e-5
"""relative and absolute: float32 sums of the exercises' few terms in another order; 5e-7 seen"""
MAX_SHOWN = 8
"""numbers of a tensor in a message"""

REFUSED = {
    *("os.remove", "os.rmdir", "os.rename", "os.link", "os.symlink", "os.truncate", "os.chmod", "os.chown"),
    *("shutil.rmtree", "shutil.move", "os.kill", "os.killpg"),
    *("os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "subprocess.Popen"),
}
"""what no exercise needs: deleting, moving, starting and ending, by the names of Python's audit events"""
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def main(judge: str, submission: str, results: str) -> None:
    _limit()
    torch.set_num_threads(1)
    tests = read_tests(judge)
    with Path(results).open("a", encoding="utf-8") as out:
        _fence()
        for name, reason in verdicts(tests, submission):
            print(json.dumps([name, reason]), file=out, flush=True)


def read_tests(judge: str) -> dict[str, Test]:
    """The functions `test_CLAIM` of a judge's file."""
    return {name: test for name, test in vars(_load(judge)).items() if name.startswith("test_")}


def verdicts(tests: dict[str, Test], submission: str) -> Iterator[tuple[str, str]]:
    """Each test's name, and why it failed."""
    try:
        work = _load(submission)
    except (Exception, SystemExit) as error:
        yield from ((name, f"the file cannot be imported: {describe(error)}") for name in tests)
        return
    for name, test in tests.items():
        torch.manual_seed(0)
        try:
            test(work)
        except (Exception, SystemExit) as error:
            yield name, describe(error)
        else:
            yield name, ""


def assert_close(found: Any, expected: Tensor) -> None:
    """The AssertionError shows both; `TOLERANCE` allows for rounding."""
    if not isinstance(found, Tensor):
        raise AssertionError(f"a tensor was expected, found {shortened(found)}")
    if found.shape != expected.shape:
        raise AssertionError(f"the shape {list(expected.shape)} was expected, found {list(found.shape)}")
    found, expected = found.detach().to(expected.dtype), expected.detach()
    if not torch.allclose(found, expected, rtol=TOLERANCE, atol=TOLERANCE):
        raise AssertionError(_difference(found, expected))


def _difference(found: Tensor, expected: Tensor) -> str:
    if expected.numel() > MAX_SHOWN:
        return f"the largest difference from what was expected is {(found - expected).abs().max():.3g}"
    shown = [[float(f"{number:.4g}") for number in tensor.flatten().tolist()] for tensor in (expected, found)]
    return f"{shown[0]} was expected, found {shown[1]}"


def assert_part_is_right(name: str, part: Any) -> None:
    """Run the checks of `clearformer check --as NAME`; the AssertionError says what is wrong and where to look."""
    for result in problems(list(run_part(name, part))):
        outcome = result.outcome
        if "NotImplementedError" in outcome.case:  # the check has caught it
            raise NotImplementedError
        raise AssertionError(f"{result.check.claim}, but: {outcome.diagnosis or outcome.case}")


def describe(error: BaseException) -> str:
    """The error in one line."""
    if isinstance(error, NotImplementedError):
        return "it is not written yet"
    text = " ".join(str(error).split())
    if isinstance(error, AssertionError):
        return text or "what the claim says is not so"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _load(path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(Path(path).stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _fence() -> None:
    """From here on this process deletes, moves, writes and starts nothing: wherever a path leads, it stays as it is.

    It stops accidents of Python code, and not malice: what a library in C does is not seen.
    """
    sys.dont_write_bytecode = True

    def refuse(event: str, arguments: tuple[Any, ...]) -> None:
        if event in REFUSED or (event == "open" and arguments[2] & WRITES and arguments[0] != os.devnull):
            raise PermissionError(f"a submission may not do this: {event}{shortened(arguments[:1])}")

    sys.addaudithook(refuse)


def _limit() -> None:
    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_CPU, (MAX_CPU_SECONDS, MAX_CPU_SECONDS + 5))  # a signal, then the end
        resource.setrlimit(resource.RLIMIT_DATA, (MAX_MEMORY, MAX_MEMORY))
        resource.setrlimit(resource.RLIMIT_FSIZE, (MAX_FILE, MAX_FILE))


if __name__ == "__main__":
    main(*sys.argv[1:])
