"""How much memory a training step takes, counted on the forward pass of one batch, so that it holds for every family.

peak = 4/3 · what autograd saves for the backward pass, as was measured + the logits and two gradients of their size
"""

from typing import Any

from torch import Tensor, UntypedStorage
from torch.autograd.graph import saved_tensors_hooks

from clearformer.config import TrainConfig
from clearformer.data.batches import Batch
from clearformer.training.device import autocast, move
from clearformer.training.loss import summed_loss
from clearformer.training.steps import objective


def step_memory(model: Any, batch: Batch, config: TrainConfig) -> int:
    """Bytes that a step takes at its peak, beside 16 a parameter."""
    device = next(model.parameters()).device
    kept: dict[int, UntypedStorage] = {}  # held, so that no address is given twice

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()  # several tensors may be views of one
        kept[storage.data_ptr()] = storage
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        with autocast(device, config.precision):
            logits = objective(model, config)(*(move(array, device) for array in batch.inputs))
        summed_loss(logits, move(batch.targets, device), config.label_smoothing)
    for weight in model.parameters():
        kept.pop(weight.untyped_storage().data_ptr(), None)
    return sum(storage.nbytes() for storage in kept.values()) * 4 // 3 + 3 * 4 * logits.numel()
