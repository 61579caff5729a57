"""The compiler of this machine: makes a library of a C file the first time it is asked for, and keeps it.

What is kept has a name that depends on the source, the compiler, its options and all the compiler says of the
processor, so that nothing stale or foreign is ever loaded. Two processes at once do no harm: the last one wins.
"""

import ctypes
import hashlib
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

from clearformer.data.downloads import cache_folder
from clearformer.errors import EngineError

OPTIONS = ("-O3", "-march=native", "-mprefer-vector-width=512"), ("-O3", "-march=native"), ("-O3",)
"""what is asked of the compiler: the first that it understands"""
ALWAYS = ("-fopenmp-simd", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC")
"""loops marked `omp simd` may add in any order, and nobody asks which operation was inexact: no result changes else"""
COMPILERS = ("cc", "gcc", "clang")
TIMEOUT_SECONDS = 120.0


def load(source: Path) -> tuple[ctypes.CDLL, str]:
    """The library made of a C file, and the name and version of what made it. Raises EngineError."""
    command = _command()
    for options in OPTIONS:
        try:
            return _load(source, [*command, *options, *ALWAYS])
        except subprocess.CalledProcessError as failure:
            lines = failure.stderr.splitlines()
            words = next((line for line in lines if "error" in line), f"it ends with {failure.returncode}")
        except (OSError, subprocess.TimeoutExpired) as failure:
            words = str(failure)
    raise EngineError(f"{shlex.join(command)} cannot compile {source.name}: {words}")


def _command() -> list[str]:
    """What the environment variable CC says, else the first compiler there is."""
    if named := shlex.split(os.environ.get("CC", "")):
        return named
    for name in COMPILERS:
        if found := shutil.which(name):
            return [found]
    raise EngineError("no C compiler found")


def _load(source: Path, command: list[str]) -> tuple[ctypes.CDLL, str]:
    known = _run([*command, "-dM", "-E", "-x", "c", os.devnull])
    key = hashlib.sha256("\n".join((source.read_text("utf-8"), *command, known)).encode()).hexdigest()
    folder = cache_folder() / "kernels"
    library = folder / f"{source.stem}-{key[:20]}.so"
    if not library.exists():
        folder.mkdir(0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as half:
            made = Path(half) / library.name
            _run([*command, str(source), "-o", str(made), "-lm"])
            made.replace(library)
    version = re.search(r'#define __VERSION__ "(.*)"', known)
    words = version[1] if version else "an unknown compiler"
    return ctypes.CDLL(str(library)), words if "clang" in known else f"gcc {words}"


def _run(command: list[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=TIMEOUT_SECONDS).stdout
