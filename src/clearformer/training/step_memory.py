"""The memory of a training step, estimated from the forward pass of one batch of any family.

peak = 4/3 · what autograd saves for the backward pass (a measured factor) + the logits and two gradients of their size
"""

from typing import Any

from torch import Tensor, UntypedStorage
from torch.autograd.graph import saved_tensors_hooks

from clearformer.config import TrainConfig
from clearformer.data.batches import Batch
from clearformer.training.device import autocast
from clearformer.training.loop import training_logits
from clearformer.training.loss import summed_loss


def step_memory(model: Any, batch: Batch, config: TrainConfig) -> int:
    """Peak memory of a training step on `batch`, in bytes, without the 16 per parameter."""
    device = next(model.parameters()).device
    saved: dict[int, UntypedStorage] = {}  # storages are kept alive, so that no address is used twice

    def save(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()  # several tensors may be views of one
        saved[storage.data_ptr()] = storage
        return tensor

    with saved_tensors_hooks(save, lambda tensor: tensor):
        with autocast(device, config.precision):
            logits, targets = training_logits(model, batch, config, device)
        summed_loss(logits, targets, config.label_smoothing)
    for weight in model.parameters():
        saved.pop(weight.untyped_storage().data_ptr(), None)
    return sum(storage.nbytes() for storage in saved.values()) * 4 // 3 + 3 * 4 * logits.numel()
