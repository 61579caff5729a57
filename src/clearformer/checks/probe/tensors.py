"""What a tensor is to a model: whether it affects the output, and whether it is a weight or a constant."""

import torch
from torch import Tensor, nn

from clearformer.checks.probe.probe import Inputs, Probe, difference
from clearformer.checks.weights import unregistered_tensors

MIN_VALUES = 32
"""fewer values cannot be told from a pattern"""
MAX_CORRELATION = 0.7
"""of neighbouring values: random ones stayed below 0.63 in 300 draws, tables of sines above 0.94"""

FEWEST_OF_A_WAVE, WAVE_TOLERANCE = 6, 1e-3
"""values along an axis; of the largest value: sines in float32 are off by 1e-5, random values by more than 0.1"""


@torch.no_grad()
def noise_effect(probe: Probe, tensor: Tensor, inputs: Inputs) -> float:
    """The change of the logits, in their standard deviations, when noise of the tensor's size is added to it."""
    before, original = probe.logits(inputs), tensor.detach().clone()
    size = float(original.abs().nan_to_num(posinf=0.0).mean()) or 1.0
    noise = torch.randn(original.shape, generator=torch.Generator().manual_seed(probe.seed)).to(original)
    tensor.copy_(original + size * noise)
    try:
        return float(difference(before, probe.logits(inputs)).max())
    finally:
        tensor.copy_(original)


def unregistered_weights(model: nn.Module) -> dict[str, Tensor]:
    """Weights that are in no state_dict: parameters in plain lists, and plain tensors that are not constants.

    A plain tensor is taken for a weight if it requires a gradient, if its values look random, or if it is a vector of
    equal values, as norms and biases are initialised. Masks and tables of positions are constants.
    """
    return {
        name: tensor
        for name, tensor in unsaved_tensors(model).items()
        if tensor.requires_grad or _looks_like_a_weight(tensor)
    }


def unsaved_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Floating-point tensors that are in no state_dict: non-persistent buffers and unregistered tensors."""
    saved = model.state_dict().keys()
    buffers = {name: tensor for name, tensor in model.named_buffers() if name not in saved}
    unsaved = buffers | unregistered_tensors(model)
    return {name: tensor for name, tensor in unsaved.items() if tensor.is_floating_point() and tensor.numel() > 0}


def _looks_like_a_weight(tensor: Tensor) -> bool:
    if tensor.dim() == 1 and len(tensor) > 1 and bool((tensor == tensor[0]).all()):
        return True
    if tensor.numel() < MIN_VALUES or not tensor.isfinite().all() or len(tensor.unique()) < 0.9 * tensor.numel():
        return False
    axes = [(axis, size) for axis, size in enumerate(tensor.shape) if size > 2]
    neighbours = [(tensor.narrow(axis, 0, size - 1), tensor.narrow(axis, 1, size - 1)) for axis, size in axes]
    correlations = [torch.stack([a.flatten(), b.flatten()]).double().corrcoef()[0, 1].abs() for a, b in neighbours]
    return bool(torch.stack(correlations).max() < MAX_CORRELATION) and not any(
        _are_waves(tensor.double(), axis) for axis, size in axes if size > FEWEST_OF_A_WAVE
    )


def _are_waves(values: Tensor, axis: int) -> bool:
    """Whether all along the axis are sines: the values before and after one add up to it, times 2 cos(frequency)."""
    before, middle, after = (values.narrow(axis, start, values.shape[axis] - 2) for start in range(3))
    factors = ((before + after) * middle).sum(axis, keepdim=True) / middle.square().sum(axis, keepdim=True)
    return bool((before + after - factors * middle).abs().max() < WAVE_TOLERANCE * values.abs().max())
