"""Training: two compiled functions, one that accumulates the gradients of a batch and one that makes the update.

The first is compiled for each shape of a batch, the second once. If loss or gradient norm is not finite, the update
changes nothing.
"""

import math
from collections.abc import Iterable, Iterator

import numpy as np
from tinygrad import GlobalCounters, Tensor, TinyJit

from clearformer.config import TrainConfig
from clearformer.data.batches import IGNORE, Batch, Batches
from clearformer.engines.tinygrad.compiled import Compiled, on_device, padded_inputs, padded_targets
from clearformer.engines.tinygrad.explain import locate_nonfinite
from clearformer.engines.tinygrad.model import Model
from clearformer.engines.tinygrad.models import Network
from clearformer.engines.tinygrad.optimizer import Optimizer
from clearformer.engines.tinygrad.shapes import Float, Int
from clearformer.training.steps import Record, training_forward, updates


def train(
    model: Model, optimizer: Optimizer, batches: Batches, config: TrainConfig, start: int = 0
) -> Iterator[Record]:
    """Make updates `start` + 1 to `config.steps`, and yield a record after each.

    Raises TrainingError before an update whose loss or gradient is not finite.
    """
    trainer = Trainer(model, optimizer, config)

    def explain(micro_batches: list[Batch], first: int) -> str:
        return locate_nonfinite(model, optimizer.gradients, micro_batches, first)

    return updates(trainer.step, explain, batches, config, model.config.d_model, start)


class Trainer:
    """A model, its optimizer, and both compiled functions."""

    def __init__(self, model: Model, optimizer: Optimizer, config: TrainConfig) -> None:
        self.model, self.optimizer, self.config = model, optimizer, config
        self.loss = Tensor(np.zeros(1, np.float32)).realize()
        self.totals = [optimizer.gradients.view(name) for name in model.parameters]
        self.accumulate, self.update = Compiled(self._accumulate), TinyJit(self._update)

    def step(self, micro_batches: list[Batch], rate: float, seed: int) -> tuple[float, float]:
        """Make an update on all micro-batches as if they were one batch; return the loss and the gradient norm."""
        self.gradients(micro_batches, seed)
        loss, norm = map(float, self.update(on_device(self.optimizer.settings(rate))).numpy())
        if math.isfinite(loss) and math.isfinite(norm):
            self.optimizer.steps += 1
        return loss, norm

    def gradients(self, micro_batches: list[Batch], seed: int) -> None:
        """Compute the gradients of all micro-batches as if they were one batch, into the optimizer's buffer."""
        context = self.model.config.context
        count = sum(int((batch.targets != IGNORE).sum()) for batch in micro_batches)
        for number, batch in enumerate(micro_batches):
            self.accumulate(
                on_device(np.array([seed, number], np.uint32)),
                on_device(np.array([number > 0])),
                on_device(np.array([1 / count], np.float32)),
                padded_targets(batch, context),
                *padded_inputs(batch.inputs, context),
            )

    def _accumulate(self, key: Tensor, add: Tensor, weight: Tensor, targets: Tensor, *inputs: Tensor) -> Tensor:
        """Write a batch's loss and gradients, times `weight`, to the buffers, or add them to these if `add`."""
        with self.model.noise.enabled(key):
            logits = training_forward(self.model.network, self.config)(*inputs)
        loss = summed_loss(logits, targets, self.config.label_smoothing) * weight
        gradients = loss.sum().gradient(*self.model.parameters.values())
        for total, new in zip([self.loss, *self.totals], [loss, *gradients], strict=True):
            total.assign(add.where(total, 0) + new)
        return self.loss.realize(*self.totals)

    def _update(self, settings: Float[Tensor, "3"]) -> Float[Tensor, "2"]:
        """Clip, update, and return the loss and the norm before clipping."""
        norm = self.optimizer.gradients.flat.square().sum().sqrt()
        result = self.loss.cat(norm.reshape(1)).contiguous()
        clip = self.config.clip
        scale = (clip / (norm + 1e-6)).clamp(max_=1.0) if clip > 0 else Tensor(1.0)
        self.optimizer.update(settings, scale, result.isfinite().all())
        return result.realize()


def summed_loss(logits: Float[Tensor, "*B V"], targets: Int[Tensor, "*B"], smoothing: float = 0.0) -> Float[Tensor, ""]:
    """Cross-entropy in nats, summed over the predicted tokens."""
    return logits.sparse_categorical_crossentropy(targets, IGNORE, smoothing, reduction="sum")


def mean_loss(model: Model, batches: Iterable[Batch]) -> float:
    """Mean nats per predicted token over `batches`, without label smoothing or dropout."""
    context, total, count = model.config.context, 0.0, 0
    for batch in batches:
        total += model.run(_loss, padded_targets(batch, context), *padded_inputs(batch.inputs, context)).item()
        count += int((batch.targets != IGNORE).sum())
    return total / count


def _loss(network: Network, targets: Tensor, *inputs: Tensor) -> Tensor:
    return summed_loss(network(*inputs), targets)


def step_memory(model: Model, batch: Batch, config: TrainConfig) -> int:
    """Memory of a step in bytes, without the 16 per parameter: what tinygrad allocates for a batch's gradients."""
    trainer = Trainer(model, Optimizer(model, config), config)
    before = GlobalCounters.mem_used
    for _ in range(2):  # the second call is the compiled one
        trainer.gradients([batch], 0)
    return GlobalCounters.mem_used - before
