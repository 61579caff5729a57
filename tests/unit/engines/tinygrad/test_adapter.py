"""The adapter finds a device that computes correctly, or says why there is none."""

import ast
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest

import clearformer
from clearformer.engines.tinygrad import adapter
from clearformer.errors import EngineError

pytestmark = pytest.mark.slow  # most start a Python process

needs_tinygrad = pytest.mark.skipif(bool(reason := adapter.reason_to_skip()), reason=reason)

# A clang that is gcc: without the option that gcc does not know, and through a file, which gcc's assembler needs.
GCC_AS_CLANG = """#!/bin/sh
for a; do case $a in --target=*) ;; *) set -- "$@" "$a";; esac; shift; done
object=$(mktemp) && gcc "$@" -o "$object" && cat "$object"; status=$?
rm -f "$object"; exit $status
"""
ASK = "from clearformer.engines.tinygrad import adapter; print(adapter.reason_to_skip() or adapter.start())"


@pytest.fixture
def _not_started() -> Iterator[None]:
    """`start` has no cached result, before and after."""
    adapter.start.cache_clear()
    yield
    adapter.start.cache_clear()


def ask(code: str = ASK, **environment: str) -> str:
    """The output of a new Python process, with these environment variables."""
    environment = {name: value for name, value in os.environ.items() if name != "DEV"} | environment
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def raiser(error: Exception) -> Any:
    def fail(*_: object) -> NoReturn:
        raise error

    return fail


@needs_tinygrad
@pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is missing")
def test_gcc_in_place_of_clang_is_refused(tmp_path: Path):
    fake = tmp_path / "clang"
    fake.write_text(GCC_AS_CLANG)
    fake.chmod(0o755)
    output = ask(PATH=f"{tmp_path}:{os.environ['PATH']}", DEV="CPU")
    assert output.startswith("tinygrad computes wrongly on CPU:Clang")
    assert "each of 32 ones should be 1, found 0" in output
    assert "put clang first on PATH" in output


@needs_tinygrad
@pytest.mark.usefixtures("_not_started")
@pytest.mark.parametrize(
    ("operation", "what"),
    [
        ("sum", "the sum of 1 to 32 should be 528, found 1056"),
        ("__matmul__", "a product"),
        ("exp", "a gradient"),
    ],
)
def test_each_wrong_operation_is_refused(operation: str, what: str, monkeypatch: pytest.MonkeyPatch):
    from tinygrad import Tensor

    right = getattr(Tensor, operation)
    monkeypatch.setattr(Tensor, operation, lambda *args, **named: right(*args, **named) * 2)
    with pytest.raises(EngineError, match=r"tinygrad computes wrongly on .*compiler") as caught:
        adapter.start()
    assert what in str(caught.value)


@pytest.mark.usefixtures("_not_started")
def test_a_missing_package_is_reported_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(adapter, "version", raiser(PackageNotFoundError("tinygrad")))
    assert adapter.reason_to_skip() == (
        'the tinygrad engine needs the package tinygrad, which is missing; run pip install "clearformer[tinygrad]"'
    )


@pytest.mark.usefixtures("_not_started")
@pytest.mark.parametrize("found", ["0.12.0", "0.15.0", "1.13.0"])
def test_an_unsupported_version_is_reported_with_the_supported_ones(found: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(adapter, "version", lambda _: found)
    with pytest.raises(EngineError, match=rf"supports tinygrad 0\.13 and 0\.14, found {found}; run pip install"):
        adapter.start()


@needs_tinygrad
@pytest.mark.parametrize("device", ["NOSUCH", "CPU:NOSUCH", "a:b:c:d"])
def test_a_missing_device_is_refused_by_name(device: str):
    output = ask(DEV=device)
    assert output.lower().startswith(f"dev={device} names a device that tinygrad cannot use here (".lower())
    assert output.endswith("; unset DEV, or name another")


@needs_tinygrad
@pytest.mark.usefixtures("_not_started")
def test_without_any_device_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    from tinygrad.helpers import DEV

    before = DEV.value
    DEV.value = ""
    monkeypatch.setattr(adapter, "_self_test", raiser(FileNotFoundError(2, "no such file", "clang")))
    try:
        with pytest.raises(
            EngineError, match=r"found no device .*no such file.*; install clang, or on x86-64 tinygrad"
        ):
            adapter.start()
    finally:
        DEV.value = before


@needs_tinygrad
def test_an_environment_variable_of_earlier_versions_is_an_error():
    assert "(CUDA=1 is deprecated, use DEV=CUDA instead)" in ask(CUDA="1")


@needs_tinygrad
def test_the_device_named_by_dev_is_used():
    chosen = adapter.start()
    assert ask(DEV=chosen) == chosen


@needs_tinygrad
def test_kernels_have_a_separate_cache_unless_the_user_names_one(tmp_path: Path):
    show = f"{ASK}; from tinygrad import helpers; print(helpers.CACHEDB)"
    assert ask(show, CLEARFORMER_CACHE=str(tmp_path)).splitlines()[1] == str(tmp_path / "tinygrad.db")
    assert not any(tmp_path.iterdir())  # the self-test stores nothing
    assert ask(show, CACHEDB=str(tmp_path / "mine.db")).splitlines()[1] == str(tmp_path / "mine.db")


@needs_tinygrad
@pytest.mark.skipif("X86" not in (reason or adapter.start()), reason="only tinygrad's x86 assembler reads past buffers")
def test_buffers_are_padded_once():
    from tinygrad import Device
    from tinygrad.device import BufferSpec

    adapter.start.cache_clear()
    adapter.start()  # a second start adds no more padding
    buffer = Device.default.allocator.alloc(4096, BufferSpec(nolru=True))
    assert buffer.size == 4096
    assert len(buffer.meta) == 4096 + adapter.PADDING  # the mapped memory


@needs_tinygrad
def test_tinygrads_dropout_is_active_in_training_only():
    from tinygrad import Tensor

    ones = Tensor.ones(1000).contiguous()
    with adapter.training():
        dropped = ones.dropout(0.5).numpy()
    assert set(np.unique(dropped)) == {0.0, 2.0}
    assert ones.dropout(0.5).numpy().tolist() == [1.0] * 1000


def test_the_adapter_does_not_import_tinygrad():
    code = "import sys, clearformer, clearformer.engines.tinygrad.adapter; print('tinygrad' in sys.modules)"
    assert ask(code) == "False"


def test_nothing_outside_the_engine_imports_tinygrad():
    source = Path(clearformer.__file__).parent
    for path in sorted(source.rglob("*.py")):
        if path.is_relative_to(source / "engines" / "tinygrad"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not [name for name in names if name.split(".")[0] == "tinygrad"], path
