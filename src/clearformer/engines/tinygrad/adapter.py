"""Differences between tinygrad's versions and between machines; the rest of the engine is free of them.

Call `start()` before any computation. It chooses a device and compares a few results with NumPy's: with a compiler that
tinygrad does not expect, such as gcc in place of clang, sums are silently wrong. Compiled kernels go to a separate
cache, and only after that test, so that wrong ones do not outlive their compiler. Can be imported without tinygrad.
"""

import os
import platform
from contextlib import AbstractContextManager
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clearformer.data.downloads import cache_folder
from clearformer.errors import EngineError

VERSIONS = ("0.13", "0.14")
INSTALL = 'pip install "clearformer[tinygrad]"'
# Tried in order if DEV is unset: "" is tinygrad's choice. CPU:X86 would crash the process on other processors.
DEFAULT_DEVICES = ("", "CPU", *(("CPU:X86",) if platform.machine().lower() in ("x86_64", "amd64") else ()))
# float32 sums of up to 32 terms and an exponential: 1.2e-7 measured; a wrong compiler is off by more than 0.5
SELF_TEST_TOLERANCE = 1e-4
PADDING = 64
"""readable bytes after each buffer: the width of the largest register"""


@cache
def start() -> str:
    """Choose the device and test it; returns its name, such as "CPU:X86".

    The device is the environment variable DEV's, if set; else tinygrad's choice, a GPU or a CPU with clang; else the
    CPU through tinygrad's own assembler, which needs no compiler (tinygrad 0.13 on x86-64).

    Raises EngineError if tinygrad is missing, of an unsupported version, without a usable device, or computes wrongly.
    """
    _check_version()
    try:
        from tinygrad.helpers import DEV
    except RuntimeError as error:  # tinygrad reads DEV at import
        raise _unusable(os.environ.get("DEV", ""), error) from None
    _use_separate_cache()
    _pad_buffers()
    requested = repr(DEV)
    failures: list[Exception] = []
    for device in [requested] if requested else DEFAULT_DEVICES:
        DEV.value = device
        try:
            _self_test()
        except EngineError:
            raise
        except AssertionError as error:  # an environment variable of earlier versions, such as CUDA=1
            raise _unusable(requested, error) from None
        except Exception as error:  # drivers and compilers raise anything
            failures.append(error)
        else:
            if device:
                os.environ["DEV"] = device  # for child processes, as tinygrad does with its own choice
            return _name()
    raise _unusable(requested, failures[0])


def reason_to_skip() -> str:
    """Why tinygrad cannot be used here, for a test to skip with; empty if it can."""
    try:
        start()
    except EngineError as error:
        return str(error)
    return ""


def training() -> AbstractContextManager[object]:
    """A context in which tinygrad's dropout is active and its optimizers may step."""
    from tinygrad import Context, Tensor

    return Tensor.train() if hasattr(Tensor, "train") else Context(TRAINING=1)  # 0.13; since 0.14


def _check_version() -> None:
    try:
        found = version("tinygrad")
    except PackageNotFoundError:
        raise EngineError(f"the tinygrad engine needs the package tinygrad, which is missing; run {INSTALL}") from None
    if ".".join(found.split(".")[:2]) not in VERSIONS:
        supported = " and ".join(VERSIONS)
        raise EngineError(f"the tinygrad engine supports tinygrad {supported}, found {found}; run {INSTALL}")


def _use_separate_cache() -> None:
    from tinygrad import helpers

    if "CACHEDB" not in os.environ:
        helpers.CACHEDB = str(cache_folder() / "tinygrad.db")
        helpers._db_connection = None  # tinygrad may have opened the default one already


@cache
def _pad_buffers() -> None:
    """Let kernels read past the end of a buffer.

    tinygrad's x86 assembler loads a whole register to read one number. At the end of a buffer that fills its last page
    this touches the next page, and the process crashes if that is not mapped.
    """
    from tinygrad.runtime.ops_cpu import CPUAllocator

    allocate = CPUAllocator._alloc

    def allocate_padded(self: Any, size: int, options: Any) -> Any:
        if options.external_ptr is not None:  # memory that tinygrad does not allocate
            return allocate(self, size, options)
        return allocate(self, size + PADDING, options).offset(size=size)

    CPUAllocator._alloc = allocate_padded  # type: ignore[method-assign]  # tinygrad has no setting for it


def _self_test() -> None:
    """Compare sums, a product, and a gradient through an exponential with NumPy's."""
    from tinygrad import Context, Tensor

    x = np.linspace(-1, 1, 32, dtype=np.float32).reshape(4, 8)
    w = np.linspace(0.5, -0.5, 32, dtype=np.float32).reshape(8, 4)
    with Context(CACHELEVEL=0):  # a cached kernel would not test the present compiler
        # A kernel that writes four numbers at a time and reads none: compiled by gcc, it writes only one of the four.
        _compare("each of 32 ones", Tensor.ones(32).contiguous().numpy(), np.ones(32))
        _compare("the sum of 1 to 32", Tensor(np.arange(1, 33, dtype=np.float32)).sum().numpy(), np.array(32 * 33 / 2))
        weight = Tensor(w)
        product = Tensor(x) @ weight
        _compare("an entry of a product", product.numpy(), x @ w)
        _compare("an entry of a gradient", product.exp().sum().gradient(weight)[0].numpy(), x.T @ np.exp(x @ w))


def _compare(what: str, found: NDArray[Any], expected: NDArray[Any]) -> None:
    if not np.allclose(found, expected, rtol=SELF_TEST_TOLERANCE, atol=SELF_TEST_TOLERANCE):
        worst = np.argmax(np.abs(found - expected))
        raise EngineError(
            f"tinygrad computes wrongly on {_name()}: {what} should be {expected.flat[worst]:g}, found "
            f"{found.flat[worst]:g}, so its compiler is not the clang that it expects; put clang first on PATH and "
            "unset CC, or set DEV=CPU:X86 with tinygrad 0.13 on x86-64"
        )


def _name() -> str:
    from tinygrad import Device

    return f"{Device.DEFAULT}:{type(Device.default.renderer).__name__.removesuffix('Renderer')}"


def _unusable(requested: str, error: Exception) -> EngineError:
    reason = str(error).partition("\n")[0] or type(error).__name__
    if requested:
        return EngineError(
            f"DEV={requested} names a device that tinygrad cannot use here ({reason}); unset DEV, or name another"
        )
    return EngineError(
        f"tinygrad found no device that it can use here ({reason}); install clang, or on x86-64 tinygrad 0.13, which "
        "needs no compiler there"
    )
