"""The training loop: a generator that makes one update and yields what happened.

    for record in train(model, optimizer, batches, config): ...

Printing, saving, plotting and stopping belong to the caller. What does not depend on PyTorch stands in `steps.py`.
"""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from clearformer.config import TrainConfig
from clearformer.data.batches import IGNORE, Batch, Batches
from clearformer.models.build import Model
from clearformer.training.device import Precision, autocast, move
from clearformer.training.loss import summed_loss
from clearformer.training.steps import Record, objective, updates


def train(model: Any, optimizer: Any, batches: Batches, config: TrainConfig, start: int = 0) -> Iterator[Record]:
    """Update number `start` + 1 and so on, up to `config.steps`.

    Raises TrainingError before an update whose loss or gradient is not finite.
    """
    device = next(model.parameters()).device
    model.train()

    def step(micro_batches: list[Batch], rate: float, seed: int) -> tuple[float, float]:
        torch.manual_seed(seed)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad()
        loss = accumulate_gradients(model, micro_batches, config, device)
        norm = clip_gradients(model, config.clip)
        if math.isfinite(loss) and math.isfinite(norm):
            optimizer.step()
        return loss, norm

    def explain(micro_batches: list[Batch], first: int) -> str:
        return _what_went_wrong(model, micro_batches, first, config.precision)

    return updates(step, explain, batches, config, model.config.d_model, start)


def accumulate_gradients(model: Model, micro_batches: list[Batch], config: TrainConfig, device: torch.device) -> float:
    """Add the gradients of all micro-batches, each token weighing the same, as if they were one; return the loss."""
    count = sum(int((batch.targets != IGNORE).sum()) for batch in micro_batches)
    total = 0.0
    for batch in micro_batches:
        with autocast(device, config.precision):
            logits: Tensor = objective(model, config)(*(move(array, device) for array in batch.inputs))
        loss = summed_loss(logits, move(batch.targets, device), config.label_smoothing) / count
        loss.backward()
        total += loss.item()
    return total


def clip_gradients(model: nn.Module, largest: float) -> float:
    """Scale all gradients so that their joint norm is at most `largest` (0: leave them); return the norm before.

    If that is not finite they are left as they are: scaled by it all would be NaN, and none could be named.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.grad is not None]
    norm = torch.nn.utils.get_total_norm([parameter.grad for parameter in parameters if parameter.grad is not None])
    if largest > 0 and norm.isfinite():
        torch.nn.utils.clip_grads_with_norm_(parameters, largest, norm)
    return norm.item()


def _what_went_wrong(model: Model, micro_batches: list[Batch], first: int, precision: Precision) -> str:
    """The first layer whose output or gradient is not finite, and the batch."""
    device = next(model.parameters()).device
    broken: list[str] = []

    def look(name: str, output: object) -> None:
        if isinstance(output, Tensor) and not output.isfinite().all():
            broken.append(name)

    modules = [(name, module) for name, module in model.named_modules() if not list(module.children())]
    hooks = [
        module.register_forward_hook(lambda _module, _inputs, output, name=name: look(name, output))
        for name, module in modules
    ]
    try:
        for offset, batch in enumerate(micro_batches):
            with torch.no_grad(), autocast(device, precision):
                model(*(move(array, device) for array in batch.inputs))
            if broken:
                return f"the output of {broken[0]} on batch {first + offset}"
    finally:
        for hook in hooks:
            hook.remove()
    # a backward pass runs from the last layer to the first, so the last parameter went wrong first
    names = [name for name, weight in model.named_parameters() if weight.grad is not None]
    bad = [name for name in names if not model.get_parameter(name).grad.isfinite().all()]  # type: ignore[union-attr]
    where = f"the gradient of {bad[-1]}" if bad else "the loss, or the norm of all gradients,"
    return f"{where} on batches {first} to {first + len(micro_batches) - 1}"
