"""Everything a person does in this checkout, by one command: `python tools/run.py TARGET`. The Makefile only calls it.

The targets that need it make `.venv` first, and renew it when pyproject.toml, constraints.txt or Python has changed.
`demo` needs the package alone; the others add the tools of development, which then stay.
Standard library only, and no syntax that Python 3.6 cannot read: an old Python shall say a sentence, not SyntaxError.
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

NEEDED = (3, 11)
ROOT = Path(__file__).resolve().parents[1]
ALONE, WITH_TOOLS = ".", ".[dev]"  # what pip installs
WORKERS = min(2, os.cpu_count() or 1)  # every worker loads torch; `test -n 8` overrules
SOURCES = ("benchmarks", "guide", "src", "tests", "tools")
GENERATED = ("build", "dist", "__pycache__", ".hypothesis", ".mypy_cache", ".pytest_cache", ".ruff_cache")


def old_python(version: "tuple[int, int]", target: str) -> str:
    """Return what to say to a Python too old to go on; an empty string if it is new enough."""
    if version >= NEEDED:
        return ""
    return (
        f"Python 3.11 or newer is needed, this is {version[0]}.{version[1]}; install it and run: "
        f"python3.12 tools/run.py {target} (or: make {target} PYTHON=python3.12)"
    )


if old_python(sys.version_info[:2], ""):  # here, because an old Python stumbles over the annotations below
    sys.exit(old_python(sys.version_info[:2], " ".join(sys.argv[1:2]) or "help"))


class TargetError(Exception):
    """The target cannot be done; the sentence says why, and what to do."""


def run(command: list[str], extra_env: dict[str, str] | None = None, cwd: Path | None = ROOT) -> int:
    """Run to the end and return the exit code, 128 + N for signal N. `cwd=None` stays where the caller is.

    Ctrl-C reaches the child by itself. It is waited for, so that it can save its work; only then do we stop too.
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
    """Return the Python inside a virtual environment."""
    return venv / "Scripts" / "python.exe" if windows else venv / "bin" / "python"


def missing_module(version: tuple[int, int], find: Callable[[str], object] = importlib.util.find_spec) -> str:
    """Return what to say if this Python cannot make a virtual environment (Debian ships it in parts), or ""."""
    missing = [name for name in ("venv", "ensurepip") if not find(name)]
    if not missing:
        return ""
    number = f"{version[0]}.{version[1]}"
    return (
        f"Python {number} has to make .venv and lacks its module {' and '.join(missing)}; on Debian and Ubuntu run: "
        f"apt install python{number}-venv (or python3-venv), elsewhere install a complete Python; then run this again"
    )


def stamp(root: Path, version: tuple[int, int], package: str) -> str:
    """Return what an installation depends on: Python and place, each file's hash, and the package with its extras.

    The place counts because an environment that was moved or copied still imports from where it was made.
    """
    lines = [f"Python {version[0]}.{version[1]} in {root}"]
    for name in ("pyproject.toml", "constraints.txt"):
        lines.append(f"{name} {hashlib.sha256((root / name).read_bytes()).hexdigest()}")
    lines.append(package)
    return "\n".join(lines) + "\n"


def step(name: str, command: list[str], extra_env: dict[str, str] | None = None) -> None:
    """Run one step of the installation; stop with its name if it fails."""
    code = run(command, extra_env)
    if code != 0:
        raise TargetError(f"{name} failed with exit code {code}, its output is above; it is safe to run this again")


def make_venv(venv: Path) -> None:
    """Make the environment anew; whatever was in it goes."""
    problem = missing_module(sys.version_info[:2])
    if problem:
        raise TargetError(problem)
    if Path(sys.prefix).resolve() == venv.resolve():
        raise TargetError(
            ".venv must be made anew, which its own Python cannot do; type `deactivate` and run this again"
        )
    print("installing into .venv: minutes, and 1.1 to 1.5 GB of disk, more where torch comes with CUDA", flush=True)
    step("making .venv", [sys.executable, "-m", "venv", "--clear", str(venv)])


def install(package: str = WITH_TOOLS) -> Path:
    """Bring `.venv` to what its stamp asks for, at once if it is there already, and return its Python.

    An environment that has the tools of development keeps them. The stamp is taken away first and written last: an
    environment without one is half made and begun afresh.
    """
    venv = ROOT / ".venv"
    python, mark = venv_python(venv), venv / "clearformer-stamp.txt"
    found = mark.read_text(encoding="utf-8") if mark.exists() and python.exists() else ""
    if WITH_TOOLS in found.splitlines():
        package = WITH_TOOLS
    wanted = stamp(ROOT, sys.version_info[:2], package)
    if found == wanted:
        return python
    if found.splitlines()[:1] != wanted.splitlines()[:1]:
        make_venv(venv)
    mark.unlink(missing_ok=True)
    command = ["-m", "pip", "install", "--disable-pip-version-check", "-c", "constraints.txt", "-e", package]
    # pip builds the package in an environment of its own, which -c does not reach; older pip reads the first name
    build_env = {"PIP_CONSTRAINT": "constraints.txt", "PIP_BUILD_CONSTRAINT": "constraints.txt"}
    step("pip install", [str(python), *command], build_env)
    mark.write_text(wanted, encoding="utf-8")
    print("installed into .venv", flush=True)
    return python


def pytest(python: Path, args: list[str], shapes: str = "on") -> int:
    """Run tests in parallel workers, one thread each, so that they do not fight for the cores.

    With `shapes` "on", every shape in a signature is checked at each call.
    """
    env = {"OMP_NUM_THREADS": "1", "CLEARFORMER_TEST_SHAPES": shapes}
    chunks = ["--maxschedchunk", "2"]  # so that at the end no worker waits for another's long test
    return run([str(python), "-m", "pytest", "-n", str(WORKERS), *chunks, *args], env)


def report(target: str, codes: dict[str, int]) -> int:
    """Say which steps failed; return 1 if any did."""
    failed = [name for name, code in codes.items() if code != 0]
    print(f"{target}: failed: {', '.join(failed)}" if failed else f"{target}: all passed ({', '.join(codes)})")
    return 1 if failed else 0


def lint_codes(python: Path) -> dict[str, int]:
    """Run every linter, also after one has failed; return their exit codes."""
    commands = {"ruff check": ["ruff", "check"], "ruff format": ["ruff", "format", "--check"], "mypy": ["mypy"]}
    return {name: run([str(python), "-m", *command]) for name, command in commands.items()}


def do_install(_: list[str]) -> int:
    """make .venv with the package and all tools of development; at once if nothing changed"""
    print(f"ready: {install()}")
    return 0


def do_demo(args: list[str]) -> int:
    """the whole story: clearformer demo"""
    return run([str(install(ALONE)), "-m", "clearformer", "demo", *args], cwd=None)


def do_test(args: list[str]) -> int:
    """all tests"""
    python = install()
    if args:
        return pytest(python, args)
    fast = pytest(python, ["-m", "not slow"])
    return report("test", {"fast tests": fast, "slow tests": pytest(python, ["-m", "slow"], shapes="off")})


def do_lint(_: list[str]) -> int:
    """ruff and mypy"""
    return report("lint", lint_codes(install()))


def do_check(_: list[str]) -> int:
    """ruff, mypy and the fast tests, the order of imports among them: before every commit"""
    python = install()
    return report("check", {**lint_codes(python), "fast tests": pytest(python, ["-m", "not slow"], shapes="off")})


def do_bench(args: list[str]) -> int:
    """every script in benchmarks/, one after the other"""
    # files that start with an underscore are what the scripts share
    scripts = sorted((ROOT / "benchmarks").glob("[!_]*.py"))
    if not scripts:
        raise TargetError("benchmarks/ should hold scripts and holds none; nothing was measured")
    python = install()
    found = os.environ.pop("OPENBLAS_CORETYPE", None)
    was = f"; it was {found}" if found else ""
    print(f"OPENBLAS_CORETYPE is unset, so that NumPy takes the kernels of this processor{was}", flush=True)
    return report("bench", {script.name: run([str(python), str(script), *args]) for script in scripts})


def do_docs(_: list[str]) -> int:
    """the API reference out of the docstrings, into build/docs"""
    # the parts by name: the package itself loads its names lazily, where pdoc does not see them
    parts = sorted(path.stem for path in (ROOT / "src" / "clearformer").glob("[!_]*") if path.suffix != ".typed")
    modules = [f"clearformer.{part}" for part in parts]
    return run([str(install()), "-m", "pdoc", *modules, "-o", str(ROOT / "build" / "docs")])


def do_clean(_: list[str]) -> int:
    """remove what was built and cached; .venv and runs/ stay"""
    compiled = [path for name in SOURCES for path in (ROOT / name).rglob("__pycache__")]
    for path in [*(ROOT / name for name in GENERATED), *compiled]:
        if path.exists():
            shutil.rmtree(path)
    print("removed build, dist and caches; .venv and runs/ stay (delete them by hand if you want them gone)")
    return 0


TARGETS = {
    "install": do_install,
    "demo": do_demo,
    "test": do_test,
    "check": do_check,
    "lint": do_lint,
    "bench": do_bench,
    "docs": do_docs,
    "clean": do_clean,
}
WITH_ARGUMENTS = ("demo", "test", "bench")


def usage() -> str:
    """List the targets with what they do."""
    lines = [f"  {name:8} {target.__doc__}" for name, target in TARGETS.items()]
    example = "demo, test and bench pass arguments on: tools/run.py test -k masks, or make test ARGS='-k masks'"
    return "\n".join(["python tools/run.py TARGET, or make TARGET", *lines, example])


def main(argv: list[str]) -> int:
    """Do one target and return the exit code: 2 for what cannot be typed, 130 when interrupted."""
    name, args = argv[0] if argv else "help", argv[1:]
    if name in ("help", "-h", "--help"):
        print(usage())
        return 0
    if name not in TARGETS:
        print(f"a target was expected, one of {', '.join(TARGETS)}, and {name!r} found", file=sys.stderr)
        return 2
    if args and name not in WITH_ARGUMENTS:
        print(f"{name} takes no arguments and got {shlex.join(args)}; run it without", file=sys.stderr)
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
