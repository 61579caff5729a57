"""What a tensor is to a model: whether it moves the output, and whether it is a weight or a constant."""

import torch
from torch import Tensor, nn

from clearformer.checks.probe.probe import Inputs, Probe, difference
from clearformer.checks.weights import unregistered_tensors

FEWEST = 32
"""values that it takes to tell random ones from a pattern"""
RELATED = 0.7
"""correlation of neighbours: random values stayed below 0.63 in 300 draws, tables of sines above 0.94"""


@torch.no_grad()
def noise_effect(probe: Probe, tensor: Tensor, inputs: Inputs) -> float:
    """How far the logits move, as a share of their spread, when noise of the tensor's own size is added to it."""
    before, kept = probe.logits(inputs), tensor.detach().clone()
    size = float(kept.abs().nan_to_num(posinf=0.0).mean()) or 1.0
    noise = torch.randn(kept.shape, generator=torch.Generator().manual_seed(probe.seed)).to(kept)
    tensor.copy_(kept + size * noise)
    try:
        return float(difference(before, probe.logits(inputs)).max())
    finally:
        tensor.copy_(kept)


def unregistered_weights(model: nn.Module) -> dict[str, Tensor]:
    """Weights that are in no state_dict: parameters in plain lists, and plain tensors that are no constants.

    A plain tensor is one if it wants a gradient, if its values look random, or if it is a vector of equal values, as
    the weights and biases of norms begin. Masks and tables of positions are constants.
    """
    return {name: tensor for name, tensor in unsaved_tensors(model).items() if tensor.requires_grad or _looks_made(tensor)}


def unsaved_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Tensors of floating point that are in no state_dict: buffers that are not persistent, and unregistered ones."""
    saved = model.state_dict().keys()
    buffers = {name: tensor for name, tensor in model.named_buffers() if name not in saved}
    found = buffers | unregistered_tensors(model)
    return {name: tensor for name, tensor in found.items() if tensor.is_floating_point() and tensor.numel() > 0}


def _looks_made(tensor: Tensor) -> bool:
    if tensor.dim() == 1 and len(tensor) > 1 and bool((tensor == tensor[0]).all()):
        return True
    if tensor.numel() < FEWEST or not tensor.isfinite().all() or len(tensor.unique()) < 0.9 * tensor.numel():
        return False
    pairs = [
        (tensor.narrow(axis, 0, size - 1), tensor.narrow(axis, 1, size - 1))
        for axis, size in enumerate(tensor.shape)
        if size > 2
    ]
    related = [torch.stack([a.flatten(), b.flatten()]).double().corrcoef()[0, 1].abs() for a, b in pairs]
    return bool(torch.stack(related).max() < RELATED)
