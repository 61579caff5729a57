"""Lessons: what a model is asked to say, how far it is from saying it, and a short training of a copy of it."""

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clearformer.checks.outcome import DoesNotApply
from clearformer.checks.probe.probe import Inputs, Probe
from clearformer.checks.weights import randomise_weights

IGNORE_INDEX = -100
"""a label that is not predicted, as in PyTorch's cross-entropy"""
STEPS = 600
"""of one training; right models of width 16 to 384 took 10 to 215 for one batch, and up to 470 for a task"""
SECONDS = 60.0
"""of the processor's time; after these a training ends, and says nothing against the model below ENOUGH steps"""
ENOUGH = 200
HOPELESS = 50
"""after so many steps even the wrong models had learned which letters are in use, if they can learn at all"""
WARM_UP = 10
EXAM_EVERY = 5


@dataclass(frozen=True)
class LabelledBatch:
    """Inputs, and what belongs in each place: targets [B, T], or of a classifier [B]; IGNORED is not asked."""

    inputs: Inputs
    targets: Tensor


@dataclass(frozen=True)
class Training:
    """What became of a training: the exam's loss before it and the lowest since, in nats, and the trained copy."""

    before: float
    after: float
    steps: int
    probe: Probe


def cross_entropy(probe: Probe, lesson: LabelledBatch) -> Tensor:
    """Mean cross-entropy of the model's logits."""
    logits = probe.logits(lesson.inputs)
    if logits.shape[-1] <= int(lesson.targets.max()):
        raise DoesNotApply(
            f"an output of {logits.shape[-1]} numbers is no logits over {probe.subject.vocab_size} tokens"
        )
    return F.cross_entropy(logits.flatten(0, -2).float(), lesson.targets.flatten(), ignore_index=IGNORE_INDEX)


def random_objective(probe: Probe, inputs: Inputs) -> Tensor:
    """A number on which every logit has a random influence, also of a model whose output is no logits over tokens."""
    logits = probe.logits(inputs)
    return (logits * torch.randn(logits.shape, generator=torch.Generator().manual_seed(probe.seed))).mean()


def unreserved_tokens(probe: Probe, count: int = 1) -> Tensor:
    """All tokens that are not reserved, in random order. Raises DoesNotApply where there are fewer than `count`."""
    V = probe.subject.vocab_size or 0  # noqa: N806
    free = [token for token in range(V) if token not in probe.subject.reserved]
    if len(free) < count:
        raise DoesNotApply(f"it takes {count} different tokens, and there are {len(free)}")
    return torch.tensor(free)[torch.randperm(len(free), generator=probe.generator)]


def one_batch(probe: Probe) -> LabelledBatch:
    """Four rows to learn by heart: at even places they all differ, at odd ones they are alike.

    So everything after the first place can be known, but half of it not from the current token and its place.
    """
    rows, T = 4, probe.length()  # noqa: N806
    letters = unreserved_tokens(probe, rows)
    pairs = torch.arange(T + 1) // 2
    orders = torch.rand(rows, T + 1, generator=probe.generator).argsort(0)
    which = torch.where(torch.arange(T + 1) % 2 == 0, rows * pairs + orders, rows * (T // 2 + 1) + pairs)
    text = letters[which % len(letters)]  # each place has letters of its own, if there are enough
    inputs = Inputs(text[:, :-1])
    if probe.kind == "classifier":
        return LabelledBatch(inputs, torch.arange(rows) % probe.logits(inputs).shape[-1])
    if probe.kind == "bidirectional":
        asked = torch.arange(T) % 3 == 1
        return LabelledBatch(inputs, text[:, 1:].masked_fill(~asked, IGNORE_INDEX))
    source = probe.draw(rows, probe.length()) if probe.kind == "encoder-decoder" else None
    return LabelledBatch(inputs.replace(source=source), text[:, 1:])


def learn(probe: Probe, lesson: Callable[[], LabelledBatch], exam: LabelledBatch, goal: float, *, given: bool) -> Training:
    """Train a copy, without dropout, until the exam's loss is below `goal`; if that fails, another one.

    The second is a quarter as fast, and begins with stirred weights, unless only the weights `given` will do.
    Raises DoesNotApply where the model cannot be trained, or not within SECONDS.
    """
    start = time.process_time()
    rate = min(0.0075, 0.12 / _width(probe))
    best = _train(without_dropout(probe), lesson, exam, goal, rate, start)
    if best.after > goal:
        clone = without_dropout(probe)
        if not given:
            randomise_weights(clone.module, probe.seed)
        again = _train(clone, lesson, exam, goal, rate / 4, start)
        best = min(best, again, key=lambda learned: learned.after)
    if best.after > goal and best.steps < ENOUGH and time.process_time() - start > SECONDS:
        raise DoesNotApply(f"the model is too large to be trained here: {best.steps} steps took {SECONDS:.0f} s")
    return best


def without_dropout(probe: Probe) -> Probe:
    """A copy whose dropout layers do nothing, so that it is the same in training as in evaluation."""
    clone = probe.clone()
    for module in clone.module.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.0
    return clone


def _train(clone: Probe, lesson: Callable[[], LabelledBatch], exam: LabelledBatch, goal: float, rate: float, start: float) -> Training:
    weights = [weight for weight in clone.module.parameters() if weight.requires_grad]
    if not weights:
        raise DoesNotApply("the model has no parameters that could learn")
    optimizer = torch.optim.AdamW(weights, lr=rate, betas=(0.9, 0.95), weight_decay=0.0)
    before = lowest = _examine(clone, exam)
    for step in range(1, STEPS + 1):
        optimizer.param_groups[0]["lr"] = rate * min(1.0, step / WARM_UP)
        with torch.enable_grad():
            loss = cross_entropy(clone, lesson())
        if not loss.requires_grad:
            raise DoesNotApply("the logits have no gradient: see parameters.gradients")
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        if step % EXAM_EVERY == 0:
            after = _examine(clone, exam)
            lowest = min(lowest, after)
            nothing = step >= HOPELESS and lowest > 0.99 * before
            if nothing or not goal < after < math.inf or time.process_time() - start > SECONDS:
                break
    return Training(before, lowest, step, clone)


def _examine(probe: Probe, exam: LabelledBatch) -> float:
    """The loss in evaluation; the model is left in training."""
    probe.module.eval()
    with torch.no_grad():
        loss = cross_entropy(probe, exam).item()
    probe.module.train()
    return loss


def _width(probe: Probe) -> float:
    """About the width of the model: half of its matrices are no smaller on their smaller side."""
    return statistics.median([min(weight.shape) for weight in probe.module.parameters() if weight.dim() > 1] or [1])
