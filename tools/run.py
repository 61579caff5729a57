"""The development tasks of this checkout: `python tools/run.py TARGET`. The Makefile only calls it.

Targets that need `.venv` create it first, and update it when pyproject.toml, constraints.txt or Python has changed.
`demo` installs the package only; the others add the development tools, which then stay installed.
Standard library only, and parsable by Python 3.6, so that an old Python prints an error message, not a SyntaxError.
"""

import hashlib
import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

MIN_PYTHON = (3, 11)
ROOT = Path(__file__).resolve().parents[1]
PACKAGE, PACKAGE_AND_TOOLS = ".", ".[dev]"  # what pip installs
WORKERS = min(2, os.cpu_count() or 1)  # every worker loads torch; `test -n 8` overrides it
SOURCES = ("benchmarks", "guide", "src", "tests", "tools")
GENERATED = ("build", "dist", "__pycache__", ".hypothesis", ".mypy_cache", ".pytest_cache", ".ruff_cache")


def old_python(version: "tuple[int, int]", target: str) -> str:
    """Return the error message for a Python that is too old; an empty string if it is new enough."""
    if version >= MIN_PYTHON:
        return ""
    return (
        f"Python 3.11 or newer is needed, this is {version[0]}.{version[1]}; install it and run: "
        f"python3.12 tools/run.py {target} (or: make {target} PYTHON=python3.12)"
    )


if old_python(sys.version_info[:2], ""):  # here, because an old Python fails on the annotations below
    sys.exit(old_python(sys.version_info[:2], " ".join(sys.argv[1:2]) or "help"))


class TargetError(Exception):
    """The target cannot run; the message says why, and what to do."""


def run(command: list[str], extra_env: dict[str, str] | None = None, cwd: Path | None = ROOT) -> int:
    """Run a command and return its exit code, 128 + N for signal N. `cwd=None` keeps the caller's folder.

    Ctrl-C reaches the child, too. Wait for it, so that it can save its work, and only then raise KeyboardInterrupt.
    """
    print("$", shlex.join(command), flush=True)
    interrupted = False
    with subprocess.Popen(command, cwd=cwd, env={**os.environ, **(extra_env or {})}) as child:
        while child.returncode is None:
            try:
                child.wait()
            except KeyboardInterrupt:
                interrupted = True
    if interrupted:
        raise KeyboardInterrupt
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


def venv_python(venv: Path, windows: bool = os.name == "nt") -> Path:
    """Return the path of a virtual environment's Python."""
    return venv / "Scripts" / "python.exe" if windows else venv / "bin" / "python"


def missing_module(version: tuple[int, int], find: Callable[[str], object] = importlib.util.find_spec) -> str:
    """Return the error message if this Python cannot create virtual environments (as Debian's), or ""."""
    missing = [name for name in ("venv", "ensurepip") if not find(name)]
    if not missing:
        return ""
    number = f"{version[0]}.{version[1]}"
    return (
        f"Python {number} lacks {' and '.join(missing)}, needed to create .venv; on Debian and Ubuntu run: "
        f"apt install python{number}-venv (or python3-venv), elsewhere install a complete Python; then run this again"
    )


def stamp(root: Path, version: tuple[int, int], package: str) -> str:
    """Return what an installation depends on: Python, folder, each file's hash, and the package with its extras.

    The folder counts because an environment that was moved or copied still imports from the old one.
    """
    lines = [f"Python {version[0]}.{version[1]} in {root}"]
    for name in ("pyproject.toml", "constraints.txt"):
        lines.append(f"{name} {hashlib.sha256((root / name).read_bytes()).hexdigest()}")
    lines.append(package)
    return "\n".join(lines) + "\n"


def step(name: str, command: list[str], extra_env: dict[str, str] | None = None) -> None:
    """Run one step of the installation; raise TargetError with its name if it fails."""
    code = run(command, extra_env)
    if code != 0:
        raise TargetError(f"{name} failed with exit code {code}, its output is above; it is safe to run this again")


def make_venv(venv: Path) -> None:
    """Create the environment, deleting an old one."""
    problem = missing_module(sys.version_info[:2])
    if problem:
        raise TargetError(problem)
    if Path(sys.prefix).resolve() == venv.resolve():
        raise TargetError(
            ".venv must be created again, which its own Python cannot do; type `deactivate` and run this again"
        )
    print("installing into .venv: takes minutes and 1.1 to 1.5 GB of disk, more for torch with CUDA", flush=True)
    step("creating .venv", [sys.executable, "-m", "venv", "--clear", str(venv)])


def install(package: str = PACKAGE_AND_TOOLS) -> Path:
    """Bring `.venv` up to date, if its stamp says that it is not, and return its Python.

    An environment with the development tools keeps them. The stamp is deleted first and written last: an environment
    without one is incomplete, and created again.
    """
    venv = ROOT / ".venv"
    python, stamp_file = venv_python(venv), venv / "clearformer-stamp.txt"
    found = stamp_file.read_text(encoding="utf-8") if stamp_file.exists() and python.exists() else ""
    if PACKAGE_AND_TOOLS in found.splitlines():
        package = PACKAGE_AND_TOOLS
    expected = stamp(ROOT, sys.version_info[:2], package)
    if found == expected:
        return python
    if found.splitlines()[:1] != expected.splitlines()[:1]:
        make_venv(venv)
    stamp_file.unlink(missing_ok=True)
    command = ["-m", "pip", "install", "--disable-pip-version-check", "-c", "constraints.txt", "-e", package]
    # pip builds the package in a separate environment, which -c does not reach; older pip reads the first variable
    build_env = {"PIP_CONSTRAINT": "constraints.txt", "PIP_BUILD_CONSTRAINT": "constraints.txt"}
    step("pip install", [str(python), *command], build_env)
    stamp_file.write_text(expected, encoding="utf-8")
    print("installed into .venv", flush=True)
    return python


def pytest(python: Path, args: list[str], shapes: str = "on") -> int:
    """Run tests in parallel workers of one thread each. `shapes` "on": check the shapes of signatures at each call."""
    env = {"OMP_NUM_THREADS": "1", "CLEARFORMER_TEST_SHAPES": shapes}
    return run([str(python), "-m", "pytest", "-n", str(WORKERS), *args], env)


def report(target: str, codes: dict[str, int]) -> int:
    """Print which steps failed; return 1 if any did."""
    failed = [name for name, code in codes.items() if code != 0]
    print(f"{target}: failed: {', '.join(failed)}" if failed else f"{target}: all passed ({', '.join(codes)})")
    return 1 if failed else 0


def lint_codes(python: Path) -> dict[str, int]:
    """Run every linter, even if one fails; return their exit codes."""
    commands = {"ruff check": ["ruff", "check"], "ruff format": ["ruff", "format", "--check"], "mypy": ["mypy"]}
    return {name: run([str(python), "-m", *command]) for name, command in commands.items()}


def do_install(_: list[str]) -> int:
    """create .venv with the package and the development tools, or update it"""
    print(f"ready: {install()}")
    return 0


def do_demo(args: list[str]) -> int:
    """clearformer demo: the whole story"""
    return run([str(install(PACKAGE)), "-m", "clearformer", "demo", *args], cwd=None)


def do_test(args: list[str]) -> int:
    """all tests"""
    python = install()
    if args:
        return pytest(python, args)
    fast = pytest(python, ["-m", "not slow"])
    # loadgroup: workers get one test at a time, and tests of a group, which share costly fixtures, run in one worker;
    # with it pytest-xdist 3.8 waits without end for the worker that replaces a crashed one
    slow = pytest(python, ["--dist", "loadgroup", "--max-worker-restart", "0", "-m", "slow"], shapes="off")
    return report("test", {"fast tests": fast, "slow tests": slow})


def do_lint(_: list[str]) -> int:
    """ruff and mypy"""
    return report("lint", lint_codes(install()))


def do_check(_: list[str]) -> int:
    """ruff, mypy and the fast tests: before every commit"""
    python = install()
    return report("check", {**lint_codes(python), "fast tests": pytest(python, ["-m", "not slow"], shapes="off")})


def do_bench(args: list[str]) -> int:
    """speed beside other libraries, in short; fails where it is 10 % slower than docs/speed.md says of the processor"""
    return run([str(install()), str(ROOT / "benchmarks" / "speed" / "bench.py"), *args])


def do_bench_full(args: list[str]) -> int:
    """the same for longer, into docs/speed.md"""
    return do_bench(["--full", *args])


def do_wasm(_: list[str]) -> int:
    """the C engine compiled to WebAssembly, after a change of its C files"""
    return run([str(install()), str(ROOT / "tools" / "wasm.py")])


def do_guide(args: list[str]) -> int:
    """every stage and question of guide/ in full, its pictures and output into guide/figures"""
    env = {"OMP_NUM_THREADS": "1", "CLEARFORMER_GUIDE": "full"}
    return run([str(install()), str(ROOT / "tools" / "guide.py"), *args], env)


def do_docs(args: list[str]) -> int:
    """the documentation's site, into build/docs"""
    return run([str(install()), "-m", "tools.docs", *args])


def do_clean(_: list[str]) -> int:
    """remove build files and caches; .venv and runs/ stay"""
    compiled = [path for name in SOURCES for path in (ROOT / name).rglob("__pycache__")]
    for path in [*(ROOT / name for name in GENERATED), *compiled]:
        if path.exists():
            shutil.rmtree(path)
    print("removed build, dist and caches; .venv and runs/ stay (delete them by hand if you want)")
    return 0


TARGETS = {
    "install": do_install,
    "demo": do_demo,
    "test": do_test,
    "check": do_check,
    "lint": do_lint,
    "bench": do_bench,
    "bench-full": do_bench_full,
    "wasm": do_wasm,
    "guide": do_guide,
    "docs": do_docs,
    "clean": do_clean,
}
TAKE_ARGUMENTS = ("demo", "test", "bench", "bench-full", "guide", "docs")


def usage() -> str:
    """List the targets."""
    lines = [f"  {name:10} {target.__doc__}" for name, target in TARGETS.items()]
    takers = f"{', '.join(TAKE_ARGUMENTS[:-1])} and {TAKE_ARGUMENTS[-1]}"
    example = f"{takers} pass arguments on: tools/run.py test -k masks, or make test ARGS='-k masks'"
    return "\n".join(["python tools/run.py TARGET, or make TARGET", *lines, example])


def main(argv: list[str]) -> int:
    """Run one target and return the exit code: 2 for a wrong command line, 130 if interrupted."""
    name, args = argv[0] if argv else "help", argv[1:]
    if name in ("help", "-h", "--help"):
        print(usage())
        return 0
    if name not in TARGETS:
        print(f"a target was expected ({', '.join(TARGETS)}), found {name!r}", file=sys.stderr)
        return 2
    if args and name not in TAKE_ARGUMENTS:
        print(f"{name} takes no arguments, found {shlex.join(args)}; run it without them", file=sys.stderr)
        return 2
    try:
        return TARGETS[name](args)
    except TargetError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
