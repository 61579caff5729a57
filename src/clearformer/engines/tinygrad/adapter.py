"""What differs between tinygrad's versions and between machines, all of it here.

`start()` comes before anything is computed. It finds a device, and has it work out a few numbers that NumPy works out
as well: a compiler that tinygrad does not expect, gcc in clang's place, adds up wrongly without a word. Compiled
kernels are kept in a cache of our own, which no kernel enters before that test, so that wrong ones do not outlive their
compiler. This module can be imported without tinygrad.
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
# What to try where nobody names a device: "" is tinygrad's choice, and x86 code on another processor ends the process.
OWN_CHOICE = ("", "CPU", *(("CPU:X86",) if platform.machine().lower() in ("x86_64", "amd64") else ()))
# float32 sums of up to 32 terms and an exponential: 1.2e-7 seen; a wrong compiler is off by more than a half
SELF_TEST_TOLERANCE = 1e-4
ROOM = 64
"""bytes behind each buffer that may be read: as many as the widest register holds"""


@cache
def start() -> str:
    """Choose the device and test it; returns its name, such as "CPU:X86".

    The device is the one that DEV names, if that is set; else tinygrad's own choice, a GPU or a CPU with clang; else
    the CPU by tinygrad's own assembler, which takes no compiler (tinygrad 0.13 on x86-64).

    Raises EngineError where tinygrad is missing or of another version, has no usable device, or computes wrongly.
    """
    _check_version()
    try:
        from tinygrad.helpers import DEV
    except RuntimeError as error:  # tinygrad reads DEV when it is imported
        raise _unusable(os.environ.get("DEV", ""), error) from None
    _keep_own_cache()
    _leave_room()
    wanted = repr(DEV)
    said: list[Exception] = []
    for device in [wanted] if wanted else OWN_CHOICE:
        DEV.value = device
        try:
            _self_test()
        except EngineError:
            raise
        except AssertionError as error:  # tinygrad's word on a variable of its earlier versions, such as CUDA=1
            raise _unusable(wanted, error) from None
        except Exception as error:  # whatever a driver or a compiler has to say
            said.append(error)
        else:
            if device:
                os.environ["DEV"] = device  # for a child process, as tinygrad does with a choice of its own
            return _name()
    raise _unusable(wanted, said[0])


def reason_to_skip() -> str:
    """Why tinygrad cannot be used here, in one sentence, for a test to skip with; empty where it can."""
    try:
        start()
    except EngineError as error:
        return str(error)
    return ""


def training() -> AbstractContextManager[object]:
    """A context in which dropout drops and an optimizer may step."""
    from tinygrad import Context, Tensor

    return Tensor.train() if hasattr(Tensor, "train") else Context(TRAINING=1)  # 0.13, and from 0.14 on


def _check_version() -> None:
    try:
        found = version("tinygrad")
    except PackageNotFoundError:
        raise EngineError(f"the tinygrad engine needs the package tinygrad, which is missing; {INSTALL}") from None
    if ".".join(found.split(".")[:2]) not in VERSIONS:
        raise EngineError(f"the tinygrad engine knows tinygrad {' and '.join(VERSIONS)}, found {found}; {INSTALL}")


def _keep_own_cache() -> None:
    from tinygrad import helpers

    if "CACHEDB" not in os.environ:
        helpers.CACHEDB = str(cache_folder() / "tinygrad.db")
        helpers._db_connection = None  # tinygrad may have opened another, used before this


@cache
def _leave_room() -> None:
    """Let kernels read a little past the end of a buffer.

    tinygrad's own x86 code loads a whole register where it needs the first number of it. At the end of a buffer that
    fills its last page it reads the page behind, and where there is none the process ends.
    """
    from tinygrad.runtime.ops_cpu import CPUAllocator

    allocate = CPUAllocator._alloc

    def with_room(self: Any, size: int, options: Any) -> Any:
        if options.external_ptr is not None:  # memory of somebody else's
            return allocate(self, size, options)
        return allocate(self, size + ROOM, options).offset(size=size)

    CPUAllocator._alloc = with_room  # type: ignore[method-assign]  # there is no setting for it


def _self_test() -> None:
    """Sums, a product, and a gradient through an exponential, held against NumPy's."""
    from tinygrad import Context, Tensor

    x = np.linspace(-1, 1, 32, dtype=np.float32).reshape(4, 8)
    w = np.linspace(0.5, -0.5, 32, dtype=np.float32).reshape(8, 4)
    with Context(CACHELEVEL=0):  # a kernel in the cache says nothing about the compiler there is now
        # Four numbers are written at a time, and none is read: gcc compiles it, and writes one of the four.
        _hold("each of 32 ones", Tensor.ones(32).contiguous().numpy(), np.ones(32))
        _hold("the sum of 1 to 32", Tensor(np.arange(1, 33, dtype=np.float32)).sum().numpy(), np.array(32 * 33 / 2))
        weight = Tensor(w)
        product = Tensor(x) @ weight
        _hold("an entry of a product", product.numpy(), x @ w)
        _hold("an entry of a gradient", product.exp().sum().gradient(weight)[0].numpy(), x.T @ np.exp(x @ w))


def _hold(what: str, found: NDArray[Any], right: NDArray[Any]) -> None:
    if not np.allclose(found, right, rtol=SELF_TEST_TOLERANCE, atol=SELF_TEST_TOLERANCE):
        worst = np.argmax(np.abs(found - right))
        raise EngineError(
            f"tinygrad computes wrongly on {_name()}: {what} should be {right.flat[worst]:g} and came out as "
            f"{found.flat[worst]:g}, so its compiler is not the one it expects; put a real clang first on PATH and "
            "leave CC unset, or set DEV=CPU:X86 with tinygrad 0.13 on x86-64"
        )


def _name() -> str:
    from tinygrad import Device

    return f"{Device.DEFAULT}:{type(Device.default.renderer).__name__.removesuffix('Renderer')}"


def _unusable(wanted: str, error: Exception) -> EngineError:
    said = str(error).partition("\n")[0] or type(error).__name__
    if wanted:
        return EngineError(
            f"DEV={wanted} names a device that tinygrad cannot use here ({said}); unset DEV, or name another"
        )
    return EngineError(
        f"tinygrad found no device that it can use here ({said}); install clang, or tinygrad 0.13 on x86-64, which "
        "needs no compiler there"
    )
