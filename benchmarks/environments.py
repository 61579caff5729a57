"""Environments with other versions of libraries: a folder each, which shares torch and all else with this Python."""

import re
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path


class NotInstalledError(Exception):
    """pip could not install what was asked for; the message is the last line that it printed."""


def environment(requirements: Sequence[str], folder: Path) -> Path:
    """The Python of an environment in `folder` that has these requirements, such as "transformers==5.17.0".

    It is created if it is missing or incomplete. Packages that this Python has are not installed again, unless the
    requirements need another version of them; torch keeps its version. Raises NotInstalledError.
    """
    place = folder / re.sub(r"[^\w.]+", "-", "_".join(requirements))
    python = place / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    done = place / "installed.txt"
    if not done.exists():
        print(f"installing {', '.join(requirements)}", flush=True)
        venv.create(place, with_pip=True, clear=True)
        share_packages(place)
        constraints = place / "constraints.txt"
        constraints.write_text(f"torch=={version('torch').partition('+')[0]}\n", encoding="utf-8")
        install = [str(python), "-m", "pip", "install", "-q", "--no-compile", "--constraint", str(constraints)]
        pip = subprocess.run([*install, *requirements], capture_output=True, text=True)
        if pip.returncode:
            raise NotInstalledError((pip.stderr.strip().splitlines() or ["pip printed nothing"])[-1])
        done.touch()
    return python


def share_packages(place: Path) -> None:
    """Let the environment import the packages of this Python, behind its own."""
    of_the_environment = {"base": str(place), "platbase": str(place)}
    theirs = Path(sysconfig.get_path("purelib", "venv", vars=of_the_environment))
    (theirs / "shared.pth").write_text(f"{sysconfig.get_path('purelib')}\n", encoding="utf-8")
