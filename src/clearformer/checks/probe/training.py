"""Batches with known targets, the cross-entropy on them, and a short training of a copy of the model."""

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from clearformer.checks.outcome import DoesNotApply
from clearformer.checks.probe.probe import Inputs, Probe
from clearformer.checks.weights import randomise_weights

IGNORE_INDEX = -100
"""a label that is not predicted, as in PyTorch's cross-entropy"""
STEPS = 600
"""of one training; correct models of width 16 to 384 took 10 to 215 for one batch, and up to 470 for a task"""
SECONDS = 60.0
"""of processor time, after which training ends; with fewer than MIN_STEPS steps the model is not judged"""
MIN_STEPS = 200
STALLED_STEPS = 50
"""training without progress ends after these: even wrong models learn within them which tokens are in use"""
FIRST_STEPS = 75
"""of a task, from the model's own weights and then from random ones: most right models took 15 to 50"""
WARM_UP = 10
DROPOUTS = (F.dropout, F.dropout1d, F.dropout2d, F.dropout3d, F.alpha_dropout, F.feature_alpha_dropout, torch.dropout)
EVALUATE_EVERY, EVALUATE_ANYWAY, NEAR = 5, 25, 1.5
"""steps: the first where the batch's loss is at most so many times the goal"""


@dataclass(frozen=True)
class LabelledBatch:
    """Inputs and their targets [B, T], or [B] for a classifier; IGNORE_INDEX is not predicted."""

    inputs: Inputs
    targets: Tensor


@dataclass(frozen=True)
class Training:
    """The loss on the evaluation batch in nats, before training and the lowest during it, and the trained copy."""

    before: float
    after: float
    steps: int
    probe: Probe


def cross_entropy(probe: Probe, batch: LabelledBatch) -> Tensor:
    """Mean cross-entropy of the model's logits, in nats."""
    logits = probe.logits(batch.inputs)
    if logits.shape[-1] <= int(batch.targets.max()):
        raise DoesNotApply(
            f"an output of width {logits.shape[-1]} cannot be logits over {probe.subject.vocab_size} tokens"
        )
    return F.cross_entropy(logits.flatten(0, -2).float(), batch.targets.flatten(), ignore_index=IGNORE_INDEX)


def random_objective(probe: Probe, inputs: Inputs) -> Tensor:
    """The mean of the logits with random weights: a scalar to differentiate, whatever the output means."""
    logits = probe.logits(inputs)
    return (logits * torch.randn(logits.shape, generator=torch.Generator().manual_seed(probe.seed))).mean()


def unreserved_tokens(probe: Probe, count: int = 1) -> Tensor:
    """All tokens that are not reserved, in random order. Raises DoesNotApply where there are fewer than `count`."""
    V = probe.subject.vocab_size or 0  # noqa: N806
    tokens = [token for token in range(V) if token not in probe.subject.reserved]
    if len(tokens) < count:
        raise DoesNotApply(f"{count} different tokens are needed, found {len(tokens)}")
    return torch.tensor(tokens)[torch.randperm(len(tokens), generator=probe.generator)]


def batch_to_memorise(probe: Probe) -> LabelledBatch:
    """Four rows that differ from each other at even positions and are alike at odd ones.

    All tokens but the first can be predicted, half of them only from earlier tokens.
    """
    rows, T = 4, probe.length()  # noqa: N806
    vocabulary = unreserved_tokens(probe, rows)
    pairs = torch.arange(T + 1) // 2
    orders = torch.rand(rows, T + 1, generator=probe.generator).argsort(0)
    indices = torch.where(torch.arange(T + 1) % 2 == 0, rows * pairs + orders, rows * (T // 2 + 1) + pairs)
    tokens = vocabulary[indices % len(vocabulary)]  # no token at two positions, if the vocabulary is large enough
    inputs = Inputs(tokens[:, :-1])
    if probe.kind == "classifier":
        return LabelledBatch(inputs, torch.arange(rows) % probe.logits(inputs).shape[-1])
    if probe.kind == "bidirectional":
        predicted = torch.arange(T) % 3 == 1
        return LabelledBatch(inputs, tokens[:, 1:].masked_fill(~predicted, IGNORE_INDEX))
    source = probe.draw(rows, probe.length()) if probe.kind == "encoder-decoder" else None
    return LabelledBatch(inputs.replace(source=source), tokens[:, 1:])


def train(
    probe: Probe, next_batch: Callable[[], LabelledBatch], evaluation: LabelledBatch, goal: float, *, own_weights: bool
) -> Training:
    """Train a copy without dropout until its loss on `evaluation` is at most `goal` nats; if that fails, another copy.

    With `own_weights` the second has a quarter of the learning rate; else random weights and half of the rate. Then
    both get FIRST_STEPS, and the better one goes on first, since from some initial values training takes hundreds.
    Raises DoesNotApply where the model has nothing to train, or is too slow for SECONDS.
    """
    start = time.process_time()
    rate = min(0.0075, 0.12 / _width(probe))
    first, second = _Run(to_train(probe), evaluation, rate), to_train(probe)
    if not own_weights:
        randomise_weights(second.module, probe.seed)
    runs = [first, _Run(second, evaluation, rate / 4 if own_weights else rate / 2)]
    for steps in (STEPS,) if own_weights else (FIRST_STEPS, STEPS):
        for run in runs:
            run.train(next_batch, steps, goal, start)
            if run.lowest <= goal:
                return run.result
        runs.sort(key=lambda run: run.lowest)
    if runs[0].steps < MIN_STEPS and time.process_time() - start > SECONDS:
        raise DoesNotApply(f"the model is too large to be trained here: {runs[0].steps} steps took {SECONDS:.0f} s")
    return runs[0].result


class Adam:
    """Adam (arXiv:1412.6980). PyTorch's imports its compiler at the first step, which takes longer than a training."""

    def __init__(self, weights: Sequence[Tensor], betas: tuple[float, float] = (0.9, 0.95), eps: float = 1e-8) -> None:
        self.weights, self.betas, self.eps, self.count = weights, betas, eps, 0
        self.moments = [(torch.zeros_like(weight), torch.zeros_like(weight)) for weight in weights]

    def step(self, rate: float) -> None:
        """Change each weight that has a gradient, in place, and forget the gradients."""
        self.count += 1
        corrections = [1 - beta**self.count for beta in self.betas]
        for weight, (mean, square) in zip(self.weights, self.moments, strict=True):
            if weight.grad is not None:
                gradient = weight.grad.to_dense()
                mean.lerp_(gradient, 1 - self.betas[0])
                square.lerp_(gradient.square(), 1 - self.betas[1])
                size = (square / corrections[1]).sqrt_().add_(self.eps)
                weight.addcdiv_(mean, size, value=-rate / corrections[0])
                weight.grad = None


class NoDropout(TorchFunctionMode):
    """Each function of PyTorch that drops values returns its input."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None) -> Any:
        named = kwargs or {}
        if func in DROPOUTS:
            return args[0] if args else named["input"]
        if func is F.scaled_dot_product_attention:
            args, named = args[:4], {**named, "dropout_p": 0.0}
        return func(*args, **named)


def to_train(probe: Probe) -> Probe:
    """A copy without dropout. One that is mostly frozen, as below adapters, is trained whole."""
    clone = without_dropout(probe)
    weights = [weight for weight in clone.module.parameters() if weight.is_floating_point()]
    learned = sum(weight.numel() for weight in weights if weight.requires_grad)
    if 0 < 2 * learned < sum(weight.numel() for weight in weights):
        for weight in weights:
            weight.requires_grad_()
    return clone


def without_dropout(probe: Probe) -> Probe:
    """A copy whose dropout layers do nothing, so that training and evaluation mode compute the same."""
    clone = probe.clone()
    for module in clone.module.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.0
    return clone


class _Run:
    """One training, which can be continued."""

    def __init__(self, clone: Probe, evaluation: LabelledBatch, rate: float) -> None:
        self.clone, self.evaluation, self.rate = clone, evaluation, rate
        self.weights = [weight for weight in clone.module.parameters() if weight.requires_grad]
        if not self.weights:
            raise DoesNotApply("the model has no parameters that could learn")
        self.optimizer, self.steps, self.is_over = Adam(self.weights), 0, False
        self.before = self.lowest = _evaluate(clone, evaluation)

    @property
    def result(self) -> Training:
        return Training(self.before, self.lowest, self.steps, self.clone)

    def train(self, next_batch: Callable[[], LabelledBatch], steps: int, goal: float, start: float) -> None:
        """Up to this number of steps in all, unless its loss is at most `goal`, or makes no progress, before."""
        while self.steps < steps and not self.is_over:
            self.steps += 1
            with torch.enable_grad():
                loss = cross_entropy(self.clone, next_batch())
            if not loss.requires_grad:
                raise DoesNotApply("the logits have no gradient: see parameters.gradients")
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.weights, 1.0)
            self.optimizer.step(self.rate * min(1.0, self.steps / WARM_UP))
            if self.steps % EVALUATE_EVERY:
                continue
            near, late = not loss.item() > NEAR * goal, time.process_time() - start > SECONDS  # NaN is near too
            if near or late or self.steps % EVALUATE_ANYWAY == 0:
                after = _evaluate(self.clone, self.evaluation)
                self.lowest = min(self.lowest, after)
                stalled = self.steps >= STALLED_STEPS and self.lowest > 0.99 * self.before
                self.is_over = stalled or late or not goal < after < math.inf


def _evaluate(probe: Probe, batch: LabelledBatch) -> float:
    """The loss in evaluation mode; the model is left in training mode."""
    probe.module.eval()
    with torch.no_grad():
        loss = cross_entropy(probe, batch).item()
    probe.module.train()
    return loss


def _width(probe: Probe) -> float:
    """An estimate of the model's width: the median over its matrices of the smaller dimension."""
    return statistics.median([min(weight.shape) for weight in probe.module.parameters() if weight.dim() > 1] or [1])
