"""Watch PyTorch's operations in one forward pass of any model."""

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from clearformer.checks.probe.probe import Inputs, Probe


class Mode(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """False, since skipping the compiler imports it first, which takes seconds."""
        return False


class _Recorder(Mode):
    """The names of operations whose results are in half precision, and of those whose results hold NaN."""

    def __init__(self) -> None:
        super().__init__()
        self.half: list[str] = []
        self.nan: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if isinstance(out, Tensor) and out.is_floating_point():
            name = func.overloadpacket.__name__
            self.half += [name] if out.dtype in (torch.float16, torch.bfloat16) else []
            self.nan += [name] if not out.is_nested and out.isnan().any() else []
        return out


def half_precision_operations(probe: Probe, inputs: Inputs) -> list[str]:
    """PyTorch's names of the operations of one forward pass whose results are float16 or bfloat16."""
    with _Recorder() as recorder:
        probe.logits(inputs)
    return recorder.half


def first_to_give_nan(probe: Probe, inputs: Inputs) -> str:
    """PyTorch's name of the first operation of one forward pass whose result holds NaN; "" where none does."""
    with _Recorder() as recorder:
        probe.logits(inputs)
    return next(iter(recorder.nan), "")
