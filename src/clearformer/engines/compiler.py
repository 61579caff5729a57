"""Compile C files with the machine's compiler at first use, and cache the library.

Its file name depends on the sources, the compiler, its options and its predefined macros, which describe the processor,
so that no stale or foreign library is ever loaded. Two processes at once do no harm: the last one wins.
"""

import ctypes
import hashlib
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from clearformer.data.downloads import cache_folder
from clearformer.errors import EngineError

OPTIONS = ("-O3", "-march=native", "-mprefer-vector-width=512"), ("-O3", "-march=native"), ("-O3",)
"""of the compiler: the first that it accepts"""
ALWAYS = ("-fopenmp-simd", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC")
"""`omp simd` loops may add in any order, floating-point exceptions are not observed; results do not change otherwise"""
COMPILERS = ("cc", "gcc", "clang")
PACKAGE = "ziglang"
"""a whole clang from PyPI, used if no other compiler is found"""
TIMEOUT_SECONDS = 120.0


def load(name: str, sources: Sequence[Path], wanted: Sequence[str] = ()) -> tuple[ctypes.CDLL, str]:
    """The compiled library, and the compiler's name and version; without the options `wanted` if they are unknown.

    Raises EngineError if there is no compiler or it fails.
    """
    command = _command()
    for options in [(*some, *more) for more in dict.fromkeys((tuple(wanted), ())) for some in OPTIONS]:
        try:
            return _load(name, sources, [*command, *options, *ALWAYS])
        except subprocess.CalledProcessError as failure:
            lines = failure.stderr.splitlines()
            words = next((line for line in lines if "error" in line), f"it ends with {failure.returncode}")
        except (OSError, subprocess.TimeoutExpired) as failure:
            words = str(failure)
    raise EngineError(f"{shlex.join(command)} cannot compile {sources[0].name}: {words}")


def _command() -> list[str]:
    """The environment variable CC, else the first compiler found, else that of the Python package."""
    if command := shlex.split(os.environ.get("CC", "")):
        return command
    for name in COMPILERS:
        if found := shutil.which(name):
            return [found]
    if importlib.util.find_spec(PACKAGE):
        return [sys.executable, "-m", PACKAGE, "cc"]
    raise EngineError("no C compiler found")


def _load(name: str, sources: Sequence[Path], command: list[str]) -> tuple[ctypes.CDLL, str]:
    macros = _run([*command, "-dM", "-E", "-x", "c", os.devnull])
    texts = [path.read_text("utf-8") for path in (*sources, *_headers(sources))]
    key = hashlib.sha256("\n".join((*texts, *command, macros)).encode()).hexdigest()
    folder = cache_folder() / "kernels"
    library = folder / f"{name}-{key[:20]}.so"
    if not library.exists():
        folder.mkdir(0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            compiled = Path(temporary) / library.name
            print(f"compiling {name} in C, once on this machine", file=sys.stderr, flush=True)
            _run([*command, *map(str, sources), "-o", str(compiled), "-lm"])
            compiled.replace(library)
    version = re.search(r'#define __VERSION__ "(.*)"', macros)
    words = version[1] if version else "an unknown compiler"
    return ctypes.CDLL(str(library)), words if "clang" in macros else f"gcc {words}"


def _headers(sources: Sequence[Path]) -> list[Path]:
    """All headers in the folders of the sources."""
    return sorted(path for folder in {source.parent for source in sources} for path in folder.glob("*.h"))


def _run(command: list[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=TIMEOUT_SECONDS).stdout
