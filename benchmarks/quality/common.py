"""Shared by the quality benchmarks: changing a configuration, and writing results with the machine's description."""

import dataclasses
import json
import os
import platform
from pathlib import Path
from typing import Any

import torch

from clearformer.config import Config

RESULTS = Path(__file__).parent / "results"


def changed(config: Config, changes: dict[str, Any]) -> Config:
    """The configuration with other values of the settings `part.name`."""
    for name, value in changes.items():
        part, field = name.split(".")
        config = dataclasses.replace(config, **{part: dataclasses.replace(getattr(config, part), **{field: value})})
    return config


def show(label: str, result: dict[str, Any]) -> None:
    """Print the numbers of a result in one line, without curves and tables."""
    numbers = (f"{name} {value:,}" for name, value in result.items() if isinstance(value, int | float))
    print(f"{label:<40}", *numbers, sep="  ", flush=True)


def write(name: str, results: dict[str, Any]) -> None:
    """Write results as JSON, with the machine's description."""
    machine = {"processor": _processor(), "cores": os.cpu_count(), "torch": torch.__version__}
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    lines = (f"{json.dumps(key)}: {json.dumps(value)}" for key, value in ({"machine": machine} | results).items())
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    print(f"written to {path}")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())
