"""What people use: from PyPI, in an environment of their own that shares torch and all else with this Python; and
nanoGPT, from a folder that the environment variable NANOGPT names."""

import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

from environments import environment

PEERS = ("joeynmt==2.3.0", "importlib_metadata==10.2.0", "ctranslate2==4.8.5", "x-transformers==2.31.10")
"""JoeyNMT does not name importlib_metadata, which it needs"""
OF_PEERS = ("joeynmt", "ctranslate2", "x_transformers")
FOLDER = Path(__file__).resolve().parents[1] / "build" / "peers"


def python_of(system: str) -> str:
    """The Python that has `system`. Raises NotInstalledError."""
    return str(environment(PEERS, FOLDER)) if system in OF_PEERS else sys.executable


def nanogpt() -> Any:
    """nanoGPT's module `model`."""
    spec = importlib.util.spec_from_file_location("nanogpt_model", Path(os.environ["NANOGPT"]) / "model.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
