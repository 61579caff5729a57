"""Tensors of which every process holds a part, as FSDP makes of parameters: put together, and divided again."""

from typing import Any

from torch import Tensor


def whole(tensor: Tensor) -> Tensor:
    """A tensor with the parts of all processes, which must all call this; an undivided one is returned itself."""
    gather: Any = getattr(tensor, "full_tensor", None)
    return tensor if gather is None else gather()


def divided_like(tensor: Tensor, parameter: Any) -> Tensor:
    """This process's part of a whole tensor, which all have, divided as `parameter` is, if at all."""
    if not hasattr(parameter, "placements"):
        return tensor
    from torch.distributed.tensor import DTensor, Replicate

    mesh = parameter.device_mesh
    return DTensor.from_local(tensor, mesh, [Replicate()]).redistribute(mesh, parameter.placements)
