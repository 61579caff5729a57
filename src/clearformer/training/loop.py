"""The training loop: a generator that yields a record after each update.

    for record in train(model, optimizer, batches, config): ...

Printing, saving, plotting and stopping are the caller's. `steps.py` has the part that does not depend on PyTorch.
"""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from clearformer.config import TrainConfig
from clearformer.data.batches import IGNORE, Batch, Batches
from clearformer.models.build import Model
from clearformer.models.last import last_logits
from clearformer.models.sharded import whole
from clearformer.training.allocator import keep_freed_memory
from clearformer.training.device import Precision, autocast, move
from clearformer.training.loss import summed_loss
from clearformer.training.processes import ALONE, Processes, processes_of, share
from clearformer.training.steps import Record, training_batch, training_forward, updates


def train(model: Any, optimizer: Any, batches: Batches, config: TrainConfig, start: int = 0) -> Iterator[Record]:
    """Make updates `start` + 1 to `config.steps`, and yield a record after each.

    Raises TrainingError before an update whose loss or gradient is not finite.
    """
    keep_freed_memory()
    model.train()
    processes = processes_of(model)
    objective = processes.wrap(Objective(model, config), training_batch(batches.batch(0), config))

    def step(micro_batches: list[Batch], rate: float, seed: int) -> tuple[float, float]:
        torch.manual_seed(seed + processes.rank)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad()
        loss = accumulate_gradients(objective, micro_batches, processes)
        norm = clip_gradients(model, config.clip)
        if math.isfinite(loss) and math.isfinite(norm):
            optimizer.step()
        return loss, norm

    def explain(micro_batches: list[Batch], first: int) -> str:
        return _locate_nonfinite(model, micro_batches, first, config.precision)

    return updates(step, explain, batches, config, model.config.d_model, start)


class Objective(nn.Module):
    """The loss of a batch in nats, summed over its predicted tokens: a module, since processes share a `forward`."""

    def __init__(self, model: Any, config: TrainConfig) -> None:
        super().__init__()
        self.model = model
        self.config = config

    def forward(self, batch: Batch) -> Tensor:
        config, device = self.config, next(self.model.parameters()).device
        with autocast(device, config.precision):
            logits, targets = training_logits(self.model, batch, config, device)
        return summed_loss(logits, targets, config.label_smoothing, getattr(torch, config.loss_precision))


def accumulate_gradients(objective: nn.Module, micro_batches: list[Batch], processes: Processes = ALONE) -> float:
    """Compute the gradients of all micro-batches as if they were one batch; return the loss in nats per token.

    Each predicted token has the same weight, whatever the size of its micro-batch, and whichever of the processes
    computes it. Gradients must be zero before.
    """
    count = sum(int((batch.targets != IGNORE).sum()) for batch in micro_batches)
    total = 0.0
    for batch in micro_batches:
        with processes.exchange(objective, batch is micro_batches[-1]):
            loss = objective(share(batch, processes)) / count
            (loss * processes.size).backward()  # of which the mean over the processes is taken
        total += loss.item()
    return processes.sums(total)[0]


def training_logits(model: Any, batch: Batch, config: TrainConfig, device: torch.device) -> tuple[Tensor, Tensor]:
    """The logits that the loss is of, and their targets: of the last token alone with `last_only`."""
    inputs, targets = [move(array, device) for array in batch.inputs], move(batch.targets, device)
    if config.last_only:
        return last_logits(model, *inputs), targets[:, -1:]
    return training_forward(model, config)(*inputs), targets


def clip_gradients(model: nn.Module, max_norm: float) -> float:
    """Scale all gradients so that their joint norm is at most `max_norm` (0: no limit); return the original norm.

    If that is not finite, gradients stay unscaled: scaling would make all of them NaN and hide the first bad one.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.grad is not None]
    norm = whole(torch.nn.utils.get_total_norm([weight.grad for weight in parameters if weight.grad is not None]))
    if max_norm > 0 and norm.isfinite():
        torch.nn.utils.clip_grads_with_norm_(parameters, max_norm, norm)
    return norm.item()


def _locate_nonfinite(model: Model, micro_batches: list[Batch], first: int, precision: Precision) -> str:
    """The first layer whose output is not finite, or the parameter whose gradient is not; and the batch."""
    device = next(model.parameters()).device
    nonfinite: list[str] = []

    def inspect(name: str, output: object) -> None:
        if isinstance(output, Tensor) and not output.isfinite().all():
            nonfinite.append(name)

    modules = [(name, module) for name, module in model.named_modules() if not list(module.children())]
    hooks = [
        module.register_forward_hook(lambda _module, _inputs, output, name=name: inspect(name, output))
        for name, module in modules
    ]
    try:
        for offset, batch in enumerate(micro_batches):
            with torch.no_grad(), autocast(device, precision):
                model(*(move(array, device) for array in batch.inputs))
            if nonfinite:
                return f"the output of {nonfinite[0]} on batch {first + offset}"
    finally:
        for hook in hooks:
            hook.remove()
    # the backward pass runs from the last layer to the first: the last such parameter is the origin
    gradients = {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
    nonfinite = [name for name, gradient in gradients.items() if not whole(gradient).isfinite().all()]
    where = f"the gradient of {nonfinite[-1]}" if nonfinite else "the loss, or the norm of all gradients,"
    return f"{where} on batches {first} to {first + len(micro_batches) - 1}"
