"""tools/run.py: what it says when it cannot go on, and when it installs. Nothing here really installs."""

import ast
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
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
    """What pip would have installed."""
    return []


@pytest.fixture
def commands(tool: ModuleType, monkeypatch: pytest.MonkeyPatch, packages: list[str]) -> list[str]:
    """What the tool would have run: "venv" (which leaves a Python behind) and the modules that Python runs."""
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


def fail_at(tool: ModuleType, monkeypatch: pytest.MonkeyPatch, module: str, outcome: int | BaseException) -> None:
    """From now on `python -m MODULE` ends with this exit code or exception."""
    pretend = tool.run

    def failing(command: list[str], *rest: object, **more: object) -> int:
        if command[2] != module:
            return pretend(command, *rest, **more)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    monkeypatch.setattr(tool, "run", failing)


def test_python_3_6_can_read_the_file():
    ast.parse(TOOL.read_text(encoding="utf-8"), feature_version=(3, 6))


@pytest.mark.parametrize("version", [(2, 7), (3, 6), (3, 10)])
def test_old_python_is_told_what_is_needed_and_what_to_type(tool: ModuleType, version: tuple[int, int]):
    said = tool.old_python(version, "demo")
    assert said.startswith(f"Python 3.11 or newer is needed, this is {version[0]}.{version[1]}; install it")
    assert "python3.12 tools/run.py demo" in said
    assert "make demo PYTHON=python3.12" in said


@pytest.mark.parametrize("version", [(3, 11), (3, 14), (4, 0)])
def test_new_python_goes_on(tool: ModuleType, version: tuple[int, int]):
    assert tool.old_python(version, "demo") == ""


def test_debian_python_without_ensurepip_is_told_the_package(tool: ModuleType):
    said = tool.missing_module((3, 13), lambda name: name != "ensurepip")
    assert "Python 3.13 lacks ensurepip, needed to create .venv" in said
    assert "apt install python3.13-venv (or python3-venv)" in said


def test_python_without_venv_is_told_both_modules(tool: ModuleType):
    assert "lacks venv and ensurepip" in tool.missing_module((3, 11), lambda _: None)


def test_complete_python_is_told_nothing(tool: ModuleType):
    assert tool.missing_module((3, 11), lambda name: name) == ""


def test_environment_that_cannot_be_made_ends_with_the_sentence(
    tool: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(tool, "missing_module", lambda _: "apt install python3.11-venv")
    assert tool.main(["install"]) == 1
    assert capsys.readouterr().err == "apt install python3.11-venv\n"


def test_pythons_place_differs_on_windows(tool: ModuleType):
    venv = PurePosixPath("checkout/.venv")
    assert str(tool.venv_python(venv, windows=True)) == "checkout/.venv/Scripts/python.exe"
    assert str(tool.venv_python(venv, windows=False)) == "checkout/.venv/bin/python"


def test_stamp_names_python_place_the_files_sha256_and_the_package(tool: ModuleType, tmp_path: Path):
    (tmp_path / "pyproject.toml").write_bytes(b"")
    (tmp_path / "constraints.txt").write_bytes(b"abc")
    assert tool.stamp(tmp_path, (3, 12), ".[dev]").splitlines() == [
        f"Python 3.12 in {tmp_path}",
        # FIPS 180's digests of the empty message and of "abc"
        "pyproject.toml e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "constraints.txt ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        ".[dev]",
    ]


def test_second_installation_runs_nothing(tool: ModuleType, commands: list[str]):
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
def test_demo_installs_the_package_alone_and_the_others_the_tools_which_then_stay(
    tool: ModuleType, packages: list[str], targets: list[str], expected: list[str]
):
    assert [tool.main([target]) for target in targets] == [0] * len(targets)
    assert packages == expected


@pytest.mark.usefixtures("commands")
def test_demo_that_renews_an_environment_keeps_its_tools(tool: ModuleType, packages: list[str], tmp_path: Path):
    tool.install()
    (tmp_path / "constraints.txt").write_text("torch==2\n")
    assert tool.main(["demo"]) == 0
    assert packages == [".[dev]", ".[dev]"]


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_changed_file_installs_again_into_the_same_environment(
    tool: ModuleType, commands: list[str], tmp_path: Path, name: str
):
    tool.install()
    (tmp_path / name).write_text("# changed\n")
    tool.install()
    assert commands == ["venv", "pip", "pip"]


def test_other_python_begins_afresh(tool: ModuleType, commands: list[str], monkeypatch: pytest.MonkeyPatch):
    tool.install()
    monkeypatch.setattr(sys, "version_info", (3, 99, 0, "final", 0))
    tool.install()
    assert commands == ["venv", "pip", "venv", "pip"]


def test_moved_checkout_begins_afresh(
    tool: ModuleType, commands: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    tool.install()
    moved = shutil.copytree(tmp_path, tmp_path / "moved")
    monkeypatch.setattr(tool, "ROOT", moved)
    tool.install()
    assert commands == ["venv", "pip", "venv", "pip"]


def test_environment_whose_python_is_gone_begins_afresh(tool: ModuleType, commands: list[str], tmp_path: Path):
    tool.install()
    tool.venv_python(tmp_path / ".venv").unlink()
    tool.install()
    assert commands == ["venv", "pip", "venv", "pip"]


def test_interrupted_installation_exits_130_and_begins_afresh_next_time(
    tool: ModuleType, commands: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    with monkeypatch.context() as patch:
        fail_at(tool, patch, "pip", KeyboardInterrupt())
        assert tool.main(["install"]) == 130
    assert capsys.readouterr().err == "interrupted\n"
    tool.install()
    assert commands == ["venv", "venv", "pip"]


def test_interrupted_renewal_begins_afresh_next_time(
    tool: ModuleType, commands: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    tool.install()
    (tmp_path / "constraints.txt").write_text("torch==2\n")
    with monkeypatch.context() as patch:
        fail_at(tool, patch, "pip", KeyboardInterrupt())
        assert tool.main(["install"]) == 130
    tool.install()
    assert commands == ["venv", "pip", "venv", "pip"]


@pytest.mark.parametrize(("module", "name"), [("venv", "creating .venv"), ("pip", "pip install")])
def test_failed_step_is_named_and_stops_the_target(
    tool: ModuleType,
    commands: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    module: str,
    name: str,
):
    fail_at(tool, monkeypatch, module, 3)
    assert tool.main(["demo"]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"{name} failed with exit code 3")
    assert "safe to run this again" in said
    assert "clearformer" not in commands


def test_environment_is_not_made_anew_by_its_own_python(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(sys, "prefix", str(tmp_path / ".venv"))
    assert tool.main(["install"]) == 1
    assert "type `deactivate`" in capsys.readouterr().err


def test_unknown_target_exits_2_and_lists_the_targets(tool: ModuleType, capsys: pytest.CaptureFixture[str]):
    assert tool.main(["tset"]) == 2
    said = capsys.readouterr().err
    assert "'tset'" in said
    assert "install, demo, test, check" in said


def test_arguments_nobody_takes_exit_2(tool: ModuleType, capsys: pytest.CaptureFixture[str]):
    assert tool.main(["check", "-k", "masks"]) == 2
    assert "check takes no arguments, found -k masks" in capsys.readouterr().err


def test_arguments_go_on_to_pytest_and_its_exit_code_comes_back(tool: ModuleType, monkeypatch: pytest.MonkeyPatch):
    seen: list[tuple[list[str], dict[str, str]]] = []
    monkeypatch.setattr(tool, "install", lambda: Path("python"))
    monkeypatch.setattr(tool, "run", lambda command, env: seen.append((command, env)) or 5)
    assert tool.main(["test", "-k", "masks"]) == 5
    [(command, env)] = seen
    assert command[:3] == ["python", "-m", "pytest"]
    assert command[-2:] == ["-k", "masks"]
    assert env == {"OMP_NUM_THREADS": "1", "CLEARFORMER_TEST_SHAPES": "on"}


def test_all_tests_are_the_fast_ones_with_shapes_checked_and_the_slow_ones_without(
    tool: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    ran: list[tuple[str, str]] = []
    monkeypatch.setattr(tool, "install", lambda: Path("python"))
    monkeypatch.setattr(
        tool, "run", lambda command, env: ran.append((command[-1], env["CLEARFORMER_TEST_SHAPES"])) or len(ran) - 1
    )
    assert tool.main(["test"]) == 1
    assert ran == [("not slow", "on"), ("slow", "off")]
    assert capsys.readouterr().out == "test: failed: slow tests\n"


def test_check_runs_every_step_and_names_the_failed_ones(
    tool: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    ran: list[str] = []
    monkeypatch.setattr(tool, "install", lambda: Path("python"))
    monkeypatch.setattr(tool, "run", lambda command, *_: ran.append(command[2]) or int(command[2] == "ruff"))
    assert tool.main(["check"]) == 1
    assert ran == ["ruff", "ruff", "mypy", "pytest"]
    assert capsys.readouterr().out == "check: failed: ruff check, ruff format\n"


def test_bench_runs_scripts_but_not_their_helpers_and_without_openblas_coretype(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "benchmarks").mkdir()
    for name in ("b.py", "a.py", "_shared.py"):
        (tmp_path / "benchmarks" / name).touch()
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    monkeypatch.setattr(tool, "install", lambda: Path("python"))
    ran: list[str] = []
    monkeypatch.setattr(tool, "run", lambda command: ran.append(Path(command[1]).name) or 0)
    assert tool.main(["bench"]) == 0
    assert ran == ["a.py", "b.py"]
    assert "OPENBLAS_CORETYPE" not in os.environ
    assert "it was Haswell" in capsys.readouterr().out


def test_bench_without_scripts_says_so(tool: ModuleType, capsys: pytest.CaptureFixture[str]):
    assert tool.main(["bench"]) == 1
    assert "nothing was measured" in capsys.readouterr().err


def test_clean_removes_what_was_made_and_nothing_else(tool: ModuleType, tmp_path: Path):
    gone = ["build/docs", "dist", ".mypy_cache", "src/clearformer/__pycache__", "build/__pycache__"]
    kept = [".venv/lib/__pycache__", "runs/demo", "src/clearformer/data", "docs"]
    for name in gone + kept:
        (tmp_path / name).mkdir(parents=True)
    assert tool.main(["clean"]) == 0
    assert [name for name in gone + kept if (tmp_path / name).exists()] == kept


def test_exit_codes_of_commands_are_passed_on_as_a_shell_would(tool: ModuleType):
    assert tool.run([sys.executable, "-c", "raise SystemExit(7)"]) == 7
    if sys.platform != "win32":
        assert tool.run([sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGTERM)"]) == 143


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is sent to a process group, which Windows has not")
def test_interrupted_command_may_finish_its_work_before_the_tool_exits_130(tmp_path: Path):
    child = (
        "import signal, sys, time, pathlib\n"
        "def save(*_):\n    time.sleep(0.6); pathlib.Path('saved').touch(); sys.exit(0)\n"
        "signal.signal(signal.SIGINT, save); print('ready', flush=True); time.sleep(30)\n"
    )
    driver = (
        f"import runpy, signal, sys\ntool = runpy.run_path({str(TOOL)!r})\n"
        # a shell starts what it runs in the background with SIGINT ignored, and that is inherited
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
    # before reading the pipes, which the child holds open too and which would wait for it in the tool's place
    assert (tmp_path / "saved").exists()
    assert process.communicate()[1] == "interrupted\n"
