"""Where the work is done: CUDA if there is one, else Apple's MPS, else the CPU."""

from typing import Any, Literal

import torch
from numpy.typing import NDArray
from torch import Tensor

from clearformer.errors import ConfigError


def choose_device(wanted: Literal["auto", "cpu", "cuda", "mps"]) -> torch.device:
    """The device of that name, or the fastest there is. Raises ConfigError if it is not there."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if wanted == "auto":
        return torch.device(next(name for name, usable in there.items() if usable))
    if not there[wanted]:
        usable = ", ".join(name for name, usable in there.items() if usable)
        raise ConfigError(f"the device {wanted!r} was asked for, but this machine has only {usable}; use one of those")
    return torch.device(wanted)


Precision = Literal["auto", "native", "float32", "bfloat16"]


def compute_dtype(device: torch.device, precision: Precision = "auto") -> torch.dtype:
    """What matrix products are done in.

    auto: bfloat16 on CUDA that has it, float32 everywhere else. native: the same, and bfloat16 on a CPU that has it.
    """
    if precision in ("float32", "bfloat16"):
        return torch.bfloat16 if precision == "bfloat16" else torch.float32
    if device.type == "cuda":
        has_bf16 = torch.cuda.is_bf16_supported()
    else:
        has_bf16 = precision == "native" and device.type == "cpu" and _processor_has_bf16()
    return torch.bfloat16 if has_bf16 else torch.float32


def _processor_has_bf16() -> bool:
    has = torch.cpu.get_capabilities()
    return bool(has.get("avx512_bf16") or has.get("amx_bf16"))


def autocast(device: torch.device, precision: Precision = "auto") -> torch.autocast:
    """A context in which matrix products are done in `compute_dtype`; weights stay float32."""
    dtype = compute_dtype(device, precision)
    return torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32)


def move(array: NDArray[Any], device: torch.device) -> Tensor:
    """A NumPy array as a tensor on the device."""
    return torch.from_numpy(array).to(device, non_blocking=True)
