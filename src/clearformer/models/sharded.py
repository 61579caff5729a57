"""Tensors of which every process holds a part, as FSDP makes of parameters: put together, and divided again."""

from typing import Any

from torch import Tensor


def whole(tensor: Tensor) -> Tensor:
    """A tensor with the parts of all processes, which must all call this; an undivided one is returned itself."""
    gather: Any = getattr(tensor, "full_tensor", None)
    return tensor if gather is None else gather()


def own_part(tensor: Tensor) -> Tensor:
    """This process's part of a tensor, which shares its memory; an undivided one is returned itself."""
    part: Any = getattr(tensor, "to_local", None)
    return tensor if part is None else part()


def joined_like(part: Tensor, parameter: Any) -> Tensor:
    """The tensor of which each process has a part, divided as `parameter` is, if at all."""
    if not hasattr(parameter, "placements"):
        return part
    from torch.distributed.tensor import DTensor

    shape, stride = parameter.shape, parameter.stride()
    return DTensor.from_local(part, parameter.device_mesh, parameter.placements, shape=shape, stride=stride)


def divided_like(tensor: Tensor, parameter: Any) -> Tensor:
    """This process's part of a whole tensor, which all have, divided as `parameter` is, if at all."""
    if not hasattr(parameter, "placements"):
        return tensor
    from torch.distributed.tensor import DTensor, Replicate

    mesh = parameter.device_mesh
    return DTensor.from_local(tensor, mesh, [Replicate()]).redistribute(mesh, parameter.placements)
