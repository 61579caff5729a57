"""Does the model learn?"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from clearformer.checks.outcome import DoesNotApply, Outcome, failed, passed
from clearformer.checks.probe.probe import Inputs, Probe
from clearformer.checks.probe.training import (
    IGNORE_INDEX,
    LabelledBatch,
    Training,
    batch_to_memorise,
    train,
    unreserved_tokens,
)
from clearformer.checks.recognise import heads
from clearformer.checks.weights import randomise_weights

MEMORISED = 0.1
"""nats: correct models fell below it in 10 to 215 steps; one that cannot see its context stays above 0.6"""
ALPHABET, STRING_LENGTH = 4, 3
"""the size of a task's alphabet, and the length of its strings: there are 64 strings"""
LEARNED = 0.5 * math.log(ALPHABET)
"""nats: half the loss of a model that knows the alphabet and not the order"""
UNIT_TOLERANCE = 1e-4
"""of a length of 1: vectors that were divided by their length have it to 1e-6 in float32"""
BOUND_FACTOR = 30.0
"""on the weights: logits that nothing bounds then differ by hundreds"""


def one_batch(probe: Probe) -> Outcome:
    """One batch can be learned to a loss near 0.

    A model with thousands of weights can memorise 48 tokens. One that cannot is broken somewhere between its input and
    its loss, and more data will not help. This is the first thing to try with any new model.

    A copy of the model, with its own weights, is trained with Adam on four rows of 12 tokens, for at most two times
    600 steps, at two learning rates. Its loss must fall below 0.1 nats. It does not where the output goes through a
    softmax before the loss, where gradients are cut, or where attention carries nothing from token to token: every
    other token can only be predicted from an earlier one.
    """
    if probe.kind == "classifier" and (heads.gives_its_loss(probe.subject.call) or _gives_unit_vectors(probe)):
        raise DoesNotApply("what it gives are vectors to compare, and no logits")
    batch = batch_to_memorise(probe)
    if (bound := _bound_by_a_learned_scale(probe, batch)) is not None:
        raise DoesNotApply(f"logits differ by at most {bound:.2g} until a learned scale grows, which takes long")
    training = train(probe, lambda: batch, batch, MEMORISED, own_weights=True)
    if not training.after > MEMORISED:  # NaN is reported by run_isolated
        return passed(training.after, MEMORISED, f"after {training.steps} steps")
    cause, diagnosis = _explain_not_memorised(probe, training, batch)
    case = (
        f"four rows of {batch.inputs.tokens.shape[1]} tokens: from {training.before:.3g} to {training.after:.3g} nats"
    )
    return failed(cause, training.after, MEMORISED, case=case, diagnosis=diagnosis, notes=(f"{training.steps} steps",))


def _gives_unit_vectors(probe: Probe) -> bool:
    """Whether each text gets a vector of length 1, so that products are cosines."""
    lengths = probe.logits(probe.inputs(4)).norm(dim=-1)
    return bool((lengths - 1).abs().max() < UNIT_TOLERANCE)


def _explain_not_memorised(probe: Probe, training: Training, batch: LabelledBatch) -> tuple[str, str]:
    clone = probe.clone()
    randomise_weights(clone.module, probe.seed, BOUND_FACTOR)
    spread, is_bounded = _spread(clone, batch)
    if is_bounded:
        return (
            "bounded",
            f"However large the weights, logits differ by at most {spread:.2g}: look for a tanh, a sigmoid, a norm or "
            "a cosine after the output projection.",
        )
    if training.after > 0.99 * training.before:
        return "nothing", "It learns nothing: gradients do not arrive, or the weights in use are not registered."
    if probe.kind == "classifier":
        return (
            "little",
            "It learns something, but cannot distinguish four sequences: does pooling preserve the sequence?",
        )
    predicted, tokens = batch.targets != IGNORE_INDEX, batch.inputs.tokens
    keys = tokens * tokens.shape[1] + torch.arange(tokens.shape[1])
    alone = _conditional_entropy(keys[predicted], batch.targets[predicted])
    if training.after > 0.9 * alone:
        return (
            "reads-one-token",
            f"The current token and its position alone leave {alone:.2g} nats at best, and the model gets no further: "
            "attention carries nothing from other tokens.",
        )
    return (
        "little",
        "It learns something, but not 48 tokens: gradients may be cut, or activations too large or too small.",
    )


def _spread(probe: Probe, batch: LabelledBatch) -> tuple[float, bool]:
    """By how much logits differ, and whether that is too little for the loss that is wanted."""
    logits = probe.logits(batch.inputs)
    spread = float(logits.max() - logits.min())
    return spread, math.isfinite(spread) and _least_loss(spread, logits.shape[-1]) > MEMORISED


def _bound_by_a_learned_scale(probe: Probe, batch: LabelledBatch) -> float | None:
    """By how much logits differ at most, however large the matrices, where vectors that are learned raise that bound.

    Products of vectors of unit length are such logits, which a learned scale multiplies.
    """
    clone = probe.clone()
    randomise_weights(clone.module, probe.seed, BOUND_FACTOR)
    spread, is_bounded = _spread(clone, batch)
    with torch.no_grad():
        for weight in clone.module.parameters():
            if weight.requires_grad and weight.dim() < 2:
                weight.mul_(BOUND_FACTOR)
    return spread if is_bounded and not _spread(clone, batch)[1] else None


def _least_loss(spread: float, vocabulary: int) -> float:
    """The least cross-entropy, in nats, of logits of which none is more than `spread` above another."""
    return math.log1p((vocabulary - 1) * math.exp(-spread))


def _conditional_entropy(keys: Tensor, targets: Tensor) -> float:
    """The entropy of the target given the key, in nats: the best loss of a model that sees only the key."""
    pairs, count = torch.stack([keys, targets]).unique(dim=1, return_counts=True)
    of_key = torch.stack([count[pairs[0] == key].sum() for key in pairs[0]])
    return float((count * (of_key / count).log()).sum() / count.sum())


def reversing(probe: Probe) -> Outcome:
    """A short training on reversing strings beats the untrained model.

    To turn `abc` into `cba`, each token has to be copied from another position: in an encoder-decoder from its source,
    in a causal model from its past. Weights that are never used, positions that do not arrive and attention that sees
    nothing all show here, though every single layer may look right.

    A copy is trained on random strings of three letters from an alphabet of four, from the model's own weights or from
    random ones, whichever is faster. On new strings its loss must be below half of ln 4 nats a letter; ln 4 is the loss
    of a model that knows only the alphabet.
    """
    if probe.length(2 * STRING_LENGTH) < 2 * STRING_LENGTH:
        raise DoesNotApply(f"it takes a context of {2 * STRING_LENGTH} tokens")
    alphabet = unreserved_tokens(probe, ALPHABET + 1)

    def random_batch(rows: int) -> LabelledBatch:
        strings = alphabet[torch.randint(ALPHABET, (rows, STRING_LENGTH), generator=probe.generator)]
        separator = alphabet[ALPHABET].expand(rows, 1)
        answer = strings.flip(1)
        if probe.kind == "encoder-decoder":
            return LabelledBatch(Inputs(torch.cat([separator, answer[:, :-1]], 1), source=strings), answer)
        return _next_token_batch(torch.cat([strings, separator, answer], 1), STRING_LENGTH)

    return _learn_task(probe, random_batch)


def induction(probe: Probe) -> Outcome:
    """A short training on repeated strings beats the untrained model.

    In `abc abc abc` all but the first three letters can be predicted by looking back: at what followed this letter the
    last time, or at what stood three positions before. The current letter alone does not tell, so a model that does not
    attend to its past cannot learn it.

    A copy is trained on random strings of three letters from an alphabet of four, each repeated three times, from the
    model's own weights or from random ones, whichever is faster. On new strings its loss must be below half of ln 4
    nats a letter.
    """
    if probe.length(3 * STRING_LENGTH) < 3 * STRING_LENGTH:
        raise DoesNotApply(f"it takes a context of {3 * STRING_LENGTH} tokens")
    alphabet = unreserved_tokens(probe, ALPHABET)

    def random_batch(rows: int) -> LabelledBatch:
        strings = alphabet[torch.randint(ALPHABET, (rows, STRING_LENGTH), generator=probe.generator)]
        return _next_token_batch(strings.repeat(1, 3), STRING_LENGTH - 1)

    return _learn_task(probe, random_batch)


def _next_token_batch(tokens: Tensor, unpredictable: int) -> LabelledBatch:
    """Each next token is predicted, but for the first ones, which are random."""
    targets = tokens[:, 1:].clone()
    targets[:, :unpredictable] = IGNORE_INDEX
    return LabelledBatch(Inputs(tokens[:, :-1]), targets)


def _learn_task(probe: Probe, random_batch: Callable[[int], LabelledBatch]) -> Outcome:
    evaluation = random_batch(32)
    training = train(probe, lambda: random_batch(16), evaluation, LEARNED, own_weights=False)
    if not training.after > LEARNED:
        return passed(training.after, LEARNED, f"from {training.before:.3g} nats, after {training.steps} steps")
    training.probe.module.eval()
    logits = training.probe.logits(evaluation.inputs)
    losses = [
        f"{F.cross_entropy(logits[:, t].float(), evaluation.targets[:, t]).item():.2g}"
        for t in range(logits.shape[1])
        if evaluation.targets[0, t] != IGNORE_INDEX
    ]
    alphabet_entropy = math.log(ALPHABET)
    if training.after > alphabet_entropy + 0.1:
        cause, diagnosis = "nothing", "Not even the alphabet is learned: see learning.one-batch."
    elif training.after > 0.9 * alphabet_entropy:
        cause, diagnosis = (
            "does-not-read",
            "It learns the alphabet, and nothing of the order: attention does not carry tokens from other positions, "
            "or positions do not reach it.",
        )
    else:
        cause, diagnosis = (
            "learns-little",
            "It uses some of what it needs, or learns very slowly: see each position's loss.",
        )
    return failed(
        cause,
        training.after,
        LEARNED,
        case=f"from {training.before:.3g} to {training.after:.3g} nats; the alphabet alone gives "
        f"{alphabet_entropy:.3g}",
        diagnosis=diagnosis,
        notes=(f"nats at each predicted position: {', '.join(losses)}", f"{training.steps} steps"),
    )
