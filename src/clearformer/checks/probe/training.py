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
from clearformer.checks.weights import stir

IGNORED = -100
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
class Lesson:
    """Inputs, and what belongs in each place: targets [B, T], or of a classifier [B]; IGNORED is not asked."""

    inputs: Inputs
    targets: Tensor


@dataclass(frozen=True)
class Learned:
    """What became of a training: the exam's loss before it and the lowest since, in nats, and the trained copy."""

    before: float
    after: float
    steps: int
    probe: Probe


def nats(probe: Probe, lesson: Lesson) -> Tensor:
    """Mean cross-entropy of the model's logits."""
    logits = probe.logits(lesson.inputs)
    if logits.shape[-1] <= int(lesson.targets.max()):
        raise DoesNotApply(
            f"an output of {logits.shape[-1]} numbers is no logits over {probe.subject.vocab_size} tokens"
        )
    return F.cross_entropy(logits.flatten(0, -2).float(), lesson.targets.flatten(), ignore_index=IGNORED)


def pull(probe: Probe, inputs: Inputs) -> Tensor:
    """A number on which every logit has a random influence, also of a model whose output is no logits over tokens."""
    logits = probe.logits(inputs)
    return (logits * torch.randn(logits.shape, generator=torch.Generator().manual_seed(probe.seed))).mean()


def free_tokens(probe: Probe, count: int = 1) -> Tensor:
    """All tokens that are not reserved, in random order. Raises DoesNotApply where there are fewer than `count`."""
    V = probe.subject.vocab_size or 0  # noqa: N806
    free = [token for token in range(V) if token not in probe.subject.reserved]
    if len(free) < count:
        raise DoesNotApply(f"it takes {count} different tokens, and there are {len(free)}")
    return torch.tensor(free)[torch.randperm(len(free), generator=probe.generator)]


def one_batch(probe: Probe) -> Lesson:
    """Four rows to learn by heart: at even places they all differ, at odd ones they are alike.

    So everything after the first place can be known, but half of it not from the current token and its place.
    """
    rows, T = 4, probe.length()  # noqa: N806
    letters = free_tokens(probe, rows)
    pairs = torch.arange(T + 1) // 2
    orders = torch.rand(rows, T + 1, generator=probe.generator).argsort(0)
    which = torch.where(torch.arange(T + 1) % 2 == 0, rows * pairs + orders, rows * (T // 2 + 1) + pairs)
    text = letters[which % len(letters)]  # each place has letters of its own, if there are enough
    inputs = Inputs(text[:, :-1])
    if probe.kind == "classifier":
        return Lesson(inputs, torch.arange(rows) % probe.logits(inputs).shape[-1])
    if probe.kind == "bidirectional":
        asked = torch.arange(T) % 3 == 1
        return Lesson(inputs, text[:, 1:].masked_fill(~asked, IGNORED))
    source = probe.draw(rows, probe.length()) if probe.kind == "encoder-decoder" else None
    return Lesson(inputs.replace(source=source), text[:, 1:])


def learn(probe: Probe, lesson: Callable[[], Lesson], exam: Lesson, goal: float, *, given: bool) -> Learned:
    """Train a copy, without dropout, until the exam's loss is below `goal`; if that fails, another one.

    The second is a quarter as fast, and begins with stirred weights, unless only the weights `given` will do.
    Raises DoesNotApply where the model cannot be trained, or not within SECONDS.
    """
    start = time.process_time()
    rate = min(0.0075, 0.12 / _width(probe))
    best = _train(without_dropout(probe), lesson, exam, goal, rate, start)
    if best.after > goal:
        twin = without_dropout(probe)
        if not given:
            stir(twin.module, probe.seed)
        again = _train(twin, lesson, exam, goal, rate / 4, start)
        best = min(best, again, key=lambda learned: learned.after)
    if best.after > goal and best.steps < ENOUGH and time.process_time() - start > SECONDS:
        raise DoesNotApply(f"the model is too large to be trained here: {best.steps} steps took {SECONDS:.0f} s")
    return best


def without_dropout(probe: Probe) -> Probe:
    """A copy whose dropout layers do nothing, so that it is the same in training as in evaluation."""
    twin = probe.twin()
    for module in twin.module.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.0
    return twin


def _train(twin: Probe, lesson: Callable[[], Lesson], exam: Lesson, goal: float, rate: float, start: float) -> Learned:
    weights = [weight for weight in twin.module.parameters() if weight.requires_grad]
    if not weights:
        raise DoesNotApply("the model has no parameters that could learn")
    optimizer = torch.optim.AdamW(weights, lr=rate, betas=(0.9, 0.95), weight_decay=0.0)
    before = lowest = _examine(twin, exam)
    for step in range(1, STEPS + 1):
        optimizer.param_groups[0]["lr"] = rate * min(1.0, step / WARM_UP)
        with torch.enable_grad():
            loss = nats(twin, lesson())
        if not loss.requires_grad:
            raise DoesNotApply("the logits have no gradient: see parameters.gradients")
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        if step % EXAM_EVERY == 0:
            after = _examine(twin, exam)
            lowest = min(lowest, after)
            nothing = step >= HOPELESS and lowest > 0.99 * before
            if nothing or not goal < after < math.inf or time.process_time() - start > SECONDS:
                break
    return Learned(before, lowest, step, twin)


def _examine(probe: Probe, exam: Lesson) -> float:
    """The loss in evaluation; the model is left in training."""
    probe.module.eval()
    with torch.no_grad():
        loss = nats(probe, exam).item()
    probe.module.train()
    return loss


def _width(probe: Probe) -> float:
    """About the width of the model: half of its matrices are no smaller on their smaller side."""
    return statistics.median([min(weight.shape) for weight in probe.module.parameters() if weight.dim() > 1] or [1])
