"""The device to compute on (CUDA if available, else Apple's MPS, else the CPU) and the precision."""

from typing import Any, Literal

import torch
from numpy.typing import NDArray
from torch import Tensor

from clearformer.errors import ConfigError


def choose_device(name: Literal["auto", "cpu", "cuda", "mps"]) -> torch.device:
    """The named device; "auto": the fastest available. Raises ConfigError if the device is not available."""
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    usable = [device for device, is_available in available.items() if is_available]
    if name == "auto":
        return torch.device(usable[0])
    if name not in usable:
        raise ConfigError(f"the device {name!r} is not available on this machine; use one of {', '.join(usable)}")
    return torch.device(name)


Precision = Literal["auto", "native", "float32", "bfloat16"]


def compute_dtype(device: torch.device, precision: Precision = "auto") -> torch.dtype:
    """The dtype of matrix products.

    auto: bfloat16 on a GPU that supports it, else float32. native: bfloat16 on a CPU that supports it, too.
    """
    if precision in ("float32", "bfloat16"):
        return torch.bfloat16 if precision == "bfloat16" else torch.float32
    if device.type == "cuda":
        has_bfloat16 = torch.cuda.is_bf16_supported()
    else:
        has_bfloat16 = precision == "native" and device.type == "cpu" and cpu_has_bfloat16()
    return torch.bfloat16 if has_bfloat16 else torch.float32


def cpu_has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 by itself."""
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def autocast(device: torch.device, precision: Precision = "auto") -> torch.autocast:
    """A context in which matrix products run in `compute_dtype`; weights stay float32."""
    dtype = compute_dtype(device, precision)
    return torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32)


def move(array: NDArray[Any], device: torch.device) -> Tensor:
    """A NumPy array as a tensor on the device; to a GPU from pinned memory, so that nothing waits for it."""
    tensor = torch.from_numpy(array)
    return (tensor.pin_memory() if device.type == "cuda" else tensor).to(device, non_blocking=True)
