"""tools/run.py: its error messages, and when it installs. No test really installs."""

import ast
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from types import ModuleType

import pytest

TOOL = Path(__file__).parents[2] / "tools" / "run.py"


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The tool, loaded from its path, with an empty project as its checkout."""
    spec = importlib.util.spec_from_file_location("run_tool", TOOL)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    (tmp_path / "constraints.txt").write_text("torch==1\n")
    monkeypatch.setattr(module, "ROOT", tmp_path)
    return module


@pytest.fixture
def packages() -> list[str]:
    """What pip would have installed, in order."""
    return []


@pytest.fixture
def commands(tool: ModuleType, monkeypatch: pytest.MonkeyPatch, packages: list[str]) -> list[str]:
    """The modules that Python would have run; "venv" creates a Python file."""
    ran: list[str] = []

    def pretend(command: list[str], *_: object, **__: object) -> int:
        ran.append(command[2])
        if command[2] == "venv":
            python = tool.venv_python(Path(command[-1]))
            python.parent.mkdir(parents=True, exist_ok=True)
            python.touch()
        if command[2] == "pip":
            packages.append(command[-1])
        return 0

    monkeypatch.setattr(tool, "run", pretend)
    monkeypatch.setattr(tool, "missing_module", lambda _: "")
    return ran


@pytest.fixture
def installed(tool: ModuleType, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The tool, with an environment that is up to date."""
    monkeypatch.setattr(tool, "install", lambda: Path("python"))
    return tool


@pytest.fixture
def error(capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """What was printed on standard error."""
    return lambda: capsys.readouterr().err


def interrupt_pip(tool: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Press Ctrl-C in `python -m pip` of `make install`."""
    pretend = tool.run

    def interrupted(command: list[str], *rest: object) -> int:
        if command[2] == "pip":
            raise KeyboardInterrupt
        return pretend(command, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(tool, "run", interrupted)
        assert tool.main(["install"]) == 130


def test_python_3_6_can_parse_the_file():
    ast.parse(TOOL.read_text(encoding="utf-8"), feature_version=(3, 6))


@pytest.mark.parametrize(("major", "minor"), [(2, 7), (3, 6), (3, 10)])
def test_an_old_python_is_told_what_is_needed_and_what_to_type(tool: ModuleType, major: int, minor: int):
    assert tool.old_python((major, minor), "demo") == (
        f"Python 3.11 or newer is needed, this is {major}.{minor}; install it and run: "
        "python3.12 tools/run.py demo (or: make demo PYTHON=python3.12)"
    )


def test_a_new_python_is_told_nothing(tool: ModuleType):
    assert [tool.old_python(version, "demo") for version in ((3, 11), (3, 14), (4, 0))] == [""] * 3


def test_a_python_that_cannot_create_environments_is_told_the_package(tool: ModuleType):
    message = tool.missing_module((3, 13), lambda name: name != "ensurepip")
    assert message.startswith("Python 3.13 lacks ensurepip, needed to create .venv; ")
    assert "apt install python3.13-venv (or python3-venv)" in message
    assert "lacks venv and ensurepip, " in tool.missing_module((3, 11), lambda _: None)
    assert tool.missing_module((3, 11), lambda name: name) == ""


def test_an_environment_that_cannot_be_created_is_reported(
    tool: ModuleType, monkeypatch: pytest.MonkeyPatch, error: Callable[[], str]
):
    monkeypatch.setattr(tool, "missing_module", lambda _: "apt install python3.11-venv")
    assert tool.main(["install"]) == 1
    assert error() == "apt install python3.11-venv\n"


def test_the_path_of_python_differs_on_windows(tool: ModuleType):
    venv = PurePosixPath("checkout/.venv")
    assert str(tool.venv_python(venv, windows=True)) == "checkout/.venv/Scripts/python.exe"
    assert str(tool.venv_python(venv, windows=False)) == "checkout/.venv/bin/python"


def test_the_stamp_has_python_folder_the_files_sha256_and_the_package(tool: ModuleType, tmp_path: Path):
    (tmp_path / "pyproject.toml").write_bytes(b"")
    (tmp_path / "constraints.txt").write_bytes(b"abc")
    assert tool.stamp(tmp_path, (3, 12), ".[dev]").splitlines() == [
        f"Python 3.12 in {tmp_path}",
        # FIPS 180's digests of the empty message and of "abc"
        "pyproject.toml e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "constraints.txt ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        ".[dev]",
    ]


def test_a_second_installation_runs_nothing(tool: ModuleType, commands: list[str]):
    assert tool.main(["install"]) == 0
    assert commands == ["venv", "pip"]
    assert tool.main(["install"]) == 0
    assert commands == ["venv", "pip"]


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        (["demo", "demo"], ["."]),
        *(([target, "demo", target], [".[dev]"]) for target in ("install", "test", "check", "lint", "docs")),
        (["demo", "test", "demo"], [".", ".[dev]"]),
    ],
)
@pytest.mark.usefixtures("commands")
def test_demo_installs_the_package_only_and_other_targets_the_tools_which_then_stay(
    tool: ModuleType, packages: list[str], targets: list[str], expected: list[str]
):
    assert [tool.main([target]) for target in targets] == [0] * len(targets)
    assert packages == expected


@pytest.mark.usefixtures("commands")
def test_demo_keeps_the_tools_of_an_outdated_environment(tool: ModuleType, packages: list[str], tmp_path: Path):
    tool.install()
    (tmp_path / "constraints.txt").write_text("torch==2\n")
    assert tool.main(["demo"]) == 0
    assert packages == [".[dev]", ".[dev]"]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda _tool, root, _patch: (root / "pyproject.toml").write_text("# changed\n"), ["pip"]),
        (lambda _tool, root, _patch: (root / "constraints.txt").write_text("# changed\n"), ["pip"]),
        (lambda _tool, _root, patch: patch.setattr(sys, "version_info", (3, 99, 0, "final", 0)), ["venv", "pip"]),
        (lambda tool, root, patch: patch.setattr(tool, "ROOT", shutil.copytree(root, root / "new")), ["venv", "pip"]),
        (lambda tool, root, _patch: tool.venv_python(root / ".venv").unlink(), ["venv", "pip"]),
    ],
    ids=["another pyproject.toml", "other constraints", "another Python", "a moved checkout", "a missing Python"],
)
def test_changed_files_update_the_environment_and_an_unusable_one_is_created_again(
    tool: ModuleType,
    commands: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[..., object],
    expected: list[str],
):
    tool.install()
    change(tool, tmp_path, monkeypatch)
    tool.install()
    assert commands == ["venv", "pip", *expected]


@pytest.mark.parametrize("exists", [False, True])
def test_an_interrupted_installation_exits_130_and_is_begun_again_next_time(
    tool: ModuleType,
    commands: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: Callable[[], str],
    exists: bool,
):
    if exists:
        tool.install()
        (tmp_path / "constraints.txt").write_text("torch==2\n")
    interrupt_pip(tool, monkeypatch)
    assert error() == "interrupted\n"
    tool.install()
    assert commands == [*(["venv", "pip"] if exists else ["venv"]), "venv", "pip"]


@pytest.mark.parametrize(("module", "name"), [("venv", "creating .venv"), ("pip", "pip install")])
@pytest.mark.usefixtures("commands")
def test_a_failed_step_is_named_and_stops_the_target(
    tool: ModuleType, monkeypatch: pytest.MonkeyPatch, error: Callable[[], str], module: str, name: str
):
    ran: list[str] = []
    monkeypatch.setattr(tool, "run", lambda command, *_: ran.append(command[2]) or 3 * (command[2] == module))
    assert tool.main(["demo"]) == 1
    assert error().startswith(f"{name} failed with exit code 3, its output is above; it is safe to run this again")
    assert ran[-1] == module


def test_an_environment_is_not_created_again_by_its_own_python(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Callable[[], str]
):
    monkeypatch.setattr(sys, "prefix", str(tmp_path / ".venv"))
    assert tool.main(["install"]) == 1
    assert "type `deactivate`" in error()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["tset"],
            "a target was expected (install, demo, test, check, lint, bench, bench-full, wasm, guide, docs, clean), "
            "found 'tset'",
        ),
        (["check", "-k", "masks"], "check takes no arguments, found -k masks; run it without them"),
    ],
)
def test_a_wrong_command_line_exits_2(tool: ModuleType, error: Callable[[], str], arguments: list[str], message: str):
    assert tool.main(arguments) == 2
    assert error() == f"{message}\n"


def test_arguments_are_passed_to_pytest_and_its_exit_code_is_returned(
    installed: ModuleType, monkeypatch: pytest.MonkeyPatch
):
    ran: list[tuple[list[str], dict[str, str]]] = []
    monkeypatch.setattr(installed, "run", lambda command, env: ran.append((command, env)) or 5)
    assert installed.main(["test", "-k", "masks"]) == 5
    [(command, env)] = ran
    assert command[:3] == ["python", "-m", "pytest"]
    assert command[-2:] == ["-k", "masks"]
    assert env == {"OMP_NUM_THREADS": "1", "CLEARFORMER_TEST_SHAPES": "on"}


def test_all_tests_are_the_fast_ones_with_shapes_checked_and_the_slow_ones_without(
    installed: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    ran: list[tuple[str, str]] = []
    monkeypatch.setattr(
        installed, "run", lambda command, env: ran.append((command[-1], env["CLEARFORMER_TEST_SHAPES"])) or len(ran) - 1
    )
    assert installed.main(["test"]) == 1
    assert ran == [("not slow", "on"), ("slow", "off")]
    assert capsys.readouterr().out == "test: failed: slow tests\n"


def test_check_runs_every_step_and_names_the_failed_ones(
    installed: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    ran: list[str] = []
    monkeypatch.setattr(installed, "run", lambda command, *_: ran.append(command[2]) or int(command[2] == "ruff"))
    assert installed.main(["check"]) == 1
    assert ran == ["ruff", "ruff", "mypy", "pytest"]
    assert capsys.readouterr().out == "check: failed: ruff check, ruff format\n"


@pytest.mark.parametrize(("target", "passed"), [("bench", ["--list"]), ("bench-full", ["--full", "--list"])])
def test_bench_passes_its_arguments_on(
    installed: ModuleType, monkeypatch: pytest.MonkeyPatch, target: str, passed: list[str]
):
    ran: list[list[str]] = []
    monkeypatch.setattr(installed, "run", lambda command: ran.append(command[2:]) or 0)
    assert installed.main([target, "--list"]) == 0
    assert ran == [passed]


def test_clean_removes_build_files_and_caches_and_nothing_else(tool: ModuleType, tmp_path: Path):
    gone = ["build/docs", "dist", ".mypy_cache", "src/clearformer/__pycache__", "build/__pycache__"]
    kept = [".venv/lib/__pycache__", "runs/demo", "src/clearformer/data", "docs"]
    for name in gone + kept:
        (tmp_path / name).mkdir(parents=True)
    assert tool.main(["clean"]) == 0
    assert [name for name in gone + kept if (tmp_path / name).exists()] == kept


def test_exit_codes_of_commands_are_returned_as_by_a_shell(tool: ModuleType):
    assert tool.run([sys.executable, "-c", "raise SystemExit(7)"]) == 7
    if sys.platform != "win32":
        assert tool.run([sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGTERM)"]) == 143


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no process groups to send Ctrl-C to")
def test_an_interrupted_command_can_save_its_work_before_the_tool_exits_130(tmp_path: Path):
    child = (
        "import signal, sys, time, pathlib\n"
        "def save(*_):\n    time.sleep(0.6); pathlib.Path('saved').touch(); sys.exit(0)\n"
        "signal.signal(signal.SIGINT, save); print('ready', flush=True); time.sleep(30)\n"
    )
    driver = (
        f"import runpy, signal, sys\ntool = runpy.run_path({str(TOOL)!r})\n"
        # background jobs of a shell ignore SIGINT, and child processes inherit that
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"tool['TARGETS']['clean'] = lambda _: tool['run']([sys.executable, '-c', {child!r}], cwd=None)\n"
        "sys.exit(tool['main'](['clean']))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", driver],
        cwd=tmp_path,
        text=True,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout
    while process.stdout.readline() != "ready\n":
        assert process.poll() is None
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=20) == 130
    # before reading the pipes, which would wait for the child too
    assert (tmp_path / "saved").exists()
    assert process.communicate()[1] == "interrupted\n"
