"""Which token may see which."""

import bisect
import dataclasses
import itertools
import math
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from clearformer.checks.explain.leaks import FINITE_MASK, explain_leak, is_masked_by_a_number
from clearformer.checks.explain.padding import PaddedBatch
from clearformer.checks.outcome import DoesNotApply, Outcome, failed, passed
from clearformer.checks.probe.attention import record_attention
from clearformer.checks.probe.influence import (
    MIN_INFLUENCE,
    TOLERANCE,
    distinct_tokens,
    embedding_gradients,
    future_influence,
    influence,
    self_attentions,
)
from clearformer.checks.probe.operations import first_to_give_nan
from clearformer.checks.probe.probe import LENGTH, Inputs, Probe, difference
from clearformer.checks.probe.uses import weight_uses
from clearformer.checks.weights import enlarge_matrices, preserve_state, randomise_weights

MAX_GRADIENT = 1e-6
"""relative to the largest gradient; without any influence it is 0.0"""
MAX_SCORE = 65_504.0
"""the largest in float16; -10,000 hides nothing from such scores, and -1e9 all"""
FACTORS = [2 ** (exponent / 4) for exponent in range(49)]
"""on matrices; scores grow with the square"""
NUM_WEIGHTS, SHORT_ROWS = 2, 12
"""what is hidden is seen where all scores of what is not are below the mask's number: in few rows, and short ones"""
NUM_REPLACED = 8
"""tokens replaced at the full context, where replacing each would take minutes"""


def future(probe: Probe) -> Outcome:
    """No future token influences a past logit.

    A decoder is trained on all positions at once, and each may use only the tokens before it. If it can look ahead, its
    training loss is wonderful and what it writes is nonsense, since in generation the future is not there. RoFormer and
    BigBird shipped so as causal models; so did a T5, in which a test on one token passed.

    Each token in turn is replaced by another, and earlier logits must not change, at lengths of 1, 2, 12 and the full
    context. Fix the causal mask: query t may attend to keys s <= t, in every layer, on every code path. Where a prefix
    sees itself whole, no token behind it may be seen earlier.
    """
    found: dict[int, float] = {}
    for T in sorted({1, probe.length(2), probe.length(), probe.max_length}):  # noqa: N806
        positions = (
            None if T <= LENGTH else sorted({1, T - 1, *torch.linspace(2, T - 2, NUM_REPLACED - 2).int().tolist()})
        )
        found[T] = future_influence(influence(probe, probe.inputs(1, T), positions), positions)
    worst = max(found.values())
    if worst <= TOLERANCE:
        return _seen_by_a_prefix(probe) or passed(worst, TOLERANCE)
    T = min(length for length, change in found.items() if change > TOLERANCE)  # noqa: N806
    case = f"at a length of {T}, replacing one token changes earlier logits by {found[T]:.2g} standard deviations"
    if min(found[probe.length()], found[probe.max_length]) <= TOLERANCE:
        lengths = ", ".join(f"{length}: {change:.1g}" for length, change in found.items())
        diagnosis = (
            "The mask is missing at some lengths only: look for a code path or a stored mask "
            "that depends on the length."
        )
        return failed("some-lengths", worst, TOLERANCE, case=case, diagnosis=diagnosis, notes=(f"by length {lengths}",))
    inputs = probe.inputs(1)
    cause, diagnosis, notes = explain_leak(influence(probe, inputs), self_attentions(probe, inputs))
    return failed(cause, worst, TOLERANCE, case=case, diagnosis=diagnosis, notes=notes)


def _seen_by_a_prefix(probe: Probe) -> Outcome | None:
    """A failure where a token behind a prefix, which sees itself whole, is seen earlier."""
    prefixed, inputs = probe.subject.prefixed, probe.inputs(1)
    if prefixed is None:
        return None
    length = inputs.tokens.shape[1] // 2

    def call(model: Any, tokens: Tensor) -> Any:
        return prefixed(model, tokens, torch.full((len(tokens),), length))

    changes = influence(Probe(dataclasses.replace(probe.subject, call=call), probe.seed), inputs)
    worst = float(changes[:, length:].triu(1 - length).max())
    if worst <= TOLERANCE:
        return None
    case = f"behind a prefix of {length} tokens, one changes earlier logits by {worst:.2g} standard deviations"
    diagnosis = "The prefix takes in what is to be written: key s is in it where s < its length."
    return failed("prefix", worst, TOLERANCE, case=case, diagnosis=diagnosis)


def gradient(probe: Probe) -> Outcome:
    """No gradient leads from a past logit to a future token.

    The same claim as masks.future, tested in another way: one backward pass finds every token that a logit depends on,
    even where replacing it changes little, and in training mode too, where dropout would hide the change. In a sequence
    without repeated tokens, only those up to t may get a gradient in their rows of the embedding.
    """
    inputs = distinct_tokens(probe)
    T, worst, where, by_mode = inputs.tokens.shape[1], 0.0, "", {False: 0.0, True: 0.0}  # noqa: N806
    for training, t in itertools.product((False, True), sorted({0, T // 2, T - 2})):
        if isinstance(probe.model, nn.Module):
            probe.model.train(training)
        found = embedding_gradients(probe, inputs, t)
        share = float(found[t + 1 :].max() / found.max().clamp(min=1e-30))
        by_mode[training] = max(by_mode[training], share)
        if share > worst:
            s = t + 1 + int(found[t + 1 :].argmax())
            mode = "training" if training else "evaluation"
            worst, where = share, f"in {mode} the logits at {t} have a gradient at the token at {s}, of {T} tokens"
    if worst <= MAX_GRADIENT:
        return passed(worst, MAX_GRADIENT)
    if by_mode[False] <= MAX_GRADIENT:
        diagnosis = "In training alone a past logit depends on a future token: look for a code path that asks for "
        return failed("in-training", worst, MAX_GRADIENT, case=where, diagnosis=diagnosis + "`self.training`.")
    if isinstance(probe.model, nn.Module):
        probe.model.eval()
    if any(is_masked_by_a_number(attention) for attention in self_attentions(probe, inputs)):
        return failed("finite-mask", worst, MAX_GRADIENT, case=where, diagnosis=FINITE_MASK)
    diagnosis = "A past logit depends on a future token, by a way that may be too weak for masks.future to see."
    return failed("leak", worst, MAX_GRADIENT, case=where, diagnosis=diagnosis)


def scaled(probe: Probe) -> Outcome:
    """Large scores do not overcome a mask.

    A mask that adds a number, such as -10,000, hides nothing from a score that is larger, and training makes scores
    grow: minGPT had it, and so did GPT-2 in transformers. The matrices are multiplied until the products of queries and
    keys, scaled, reach 65,504, or as far as the model's norms let them; embeddings are not. Still no future token may
    influence a past logit, and no padding a real one, in the source neither. Fix it with -inf, the dtype's smallest
    number, or a boolean mask.
    """
    inputs = probe.inputs(1)
    hidden = {name: measure for name, measure in _hidden(probe, inputs).items() if measure() <= TOLERANCE}
    if not hidden:
        raise DoesNotApply(
            "nothing is hidden with ordinary weights: there is no causal mask, or how to pass padding is not known"
        )
    largest, changes, factors = 0.0, dict.fromkeys(hidden, 0.0), FACTORS
    for seed in range(probe.seed, probe.seed + NUM_WEIGHTS):
        with preserve_state(probe.model), torch.no_grad():
            factor, score = _enlarge_scores(probe, inputs, seed, factors)
            changes = {name: max(changes[name], measure()) for name, measure in hidden.items()}
        largest, factors = max(largest, score), [factor / 2, factor]
    name = max(changes, key=lambda hidden: changes[hidden])
    reached = f"with scores of up to {largest:,.0f}"
    if changes[name] <= TOLERANCE:
        return passed(changes[name], TOLERANCE, f"{reached} {' and '.join(changes)} stay hidden")
    return failed(
        "finite-mask",
        changes[name],
        TOLERANCE,
        case=f"{reached} {name} changes logits that must not see it by {changes[name]:.2g} standard deviations",
        diagnosis=FINITE_MASK,
    )


def _hidden(probe: Probe, inputs: Inputs) -> dict[str, Callable[[], float]]:
    """What masks are to hide, and the influence of each."""
    measures: dict[str, Callable[[], float]] = {}
    if probe.kind in ("causal", "encoder-decoder"):
        rows = probe.inputs(SHORT_ROWS)
        later = torch.cat([rows.tokens[:, :1], probe.replacements(rows.tokens)[:, 1:]], dim=1)
        first = [rows, rows.replace(tokens=later)]  # its one past token has a score below the mask's in some of them
        measures["a future token"] = lambda: max(
            future_influence(influence(probe, inputs)),
            float(difference(*(probe.logits(one)[:, :1] for one in first)).max()),
        )
    if probe.subject.padded is not None:
        side = probe.subject.sides[0]
        fields: tuple[Literal["tokens", "source"], ...] = ("tokens",) if inputs.source is None else ("tokens", "source")
        for field in fields:
            short = [getattr(inputs, field).shape[1]] + [1] * SHORT_ROWS
            name = "padding" if field == "tokens" else "padding of the source"
            measures[name] = PaddedBatch(probe, side, field, short).padding_influence
    return measures


def _enlarge_scores(probe: Probe, inputs: Inputs, seed: int, factors: list[float]) -> tuple[float, float]:
    """Multiply random matrices by the largest factor with which scores stay below MAX_SCORE; that and the score."""
    randomise_weights(probe.model, seed)
    uses = weight_uses(probe, inputs)
    tables = {*uses.looked_up, *uses.indexed}
    scales = [one.scale or one.queries.shape[-1] ** -0.5 for one in record_attention(probe, inputs)]
    if not scales:
        raise DoesNotApply("no attention was recorded, so that it is not known how large its scores are")

    def largest(factor: float) -> float:
        enlarge_matrices(probe.model, seed, factor, tables)
        products = [float(one.products.abs().max()) for one in record_attention(probe, inputs)]
        size = max(product * abs(scale) for product, scale in zip(products, scales, strict=True))
        return size if probe.logits(inputs).isfinite().all() else math.inf

    factor = factors[max(bisect.bisect_right(factors, MAX_SCORE, key=largest) - 1, 0)]
    return factor, largest(factor)


def past(probe: Probe) -> Outcome:
    """Every earlier token is used.

    A mask that hides too much raises no error, and the model learns less than it could. Each earlier token is replaced
    in turn, and every later logit must change, however little. A sliding window is recognised: the same number of
    tokens everywhere, at least two.
    """
    inputs = probe.inputs(1)
    changes = influence(probe, inputs)
    T = len(changes)  # noqa: N806
    unused = (changes <= MIN_INFLUENCE).tril()
    self_hidden = next(
        (a for a in self_attentions(probe, inputs) if not a.applied.diagonal(dim1=-2, dim2=-1).any()), None
    )
    if self_hidden is not None:
        return failed(
            "self-unseen",
            T,
            0,
            case="no token attends to itself in one attention",
            diagnosis="The mask hides the diagonal: tril(-1) instead of tril(0). The first token then sees nothing.",
        )
    if not unused.any():
        return passed(0, 0)
    distances = torch.arange(T)[:, None] - torch.arange(T)
    window = int(distances[unused].min())
    if window > 1 and torch.equal(unused, distances >= window):
        return passed(0, 0, f"a sliding window of {window} tokens, including the current one")
    t, s = (int(index) for index in unused.nonzero()[-1])
    cause = "past-unused"
    if int(unused.sum()) == math.comb(T, 2) and (attentions := self_attentions(probe, inputs)):
        cause = "not-added" if any(one.applied.tril(-1).any() for one in attentions) else "only-itself"
    return failed(
        cause,
        int(unused.sum()),
        0,
        case=f"replacing token {s} of {T} does not change the logits at {t}; there are {int(unused.sum())} such pairs",
        diagnosis=PAST_DIAGNOSES[cause],
    )


PAST_DIAGNOSES = {
    "past-unused": "Some earlier tokens are hidden: the mask hides more than the future, or attention does not reach "
    "the output.",
    "only-itself": "Each token attends to itself alone: the mask hides the past with the future, as where positions "
    "are compared by == instead of <=.",
    "not-added": "Attention gives weight to earlier tokens, and its result does not reach the logits: it is not added "
    "to the residual stream, or not returned.",
}


def empty_row(probe: Probe) -> Outcome:
    """A sequence that is all padding stays finite, and so do the gradients of the others.

    Where every key is hidden, a softmax over -inf alone is 0/0. The NaN stays in its row of the output, but the
    backward pass spreads it to every weight, even if the loss ignores the row. Attention of a query that may attend to
    nothing should be zero, or anything finite. So should a mean over no tokens.
    """
    inputs = probe.inputs(2)
    real = torch.ones(2, inputs.tokens.shape[1], dtype=torch.bool)
    real[0] = False
    padding = {"real": real} if inputs.source is None else {"source_real": torch.ones(inputs.source.shape[:2]).bool()}
    if inputs.source is not None:
        padding["source_real"][0] = False
    with torch.enable_grad():
        logits = probe.logits(inputs.replace(**padding))
        bad = int((~logits.isfinite()).sum())
        if not bad and isinstance(probe.model, nn.Module) and logits.requires_grad:
            logits[1].square().mean().backward()
            gradients = [weight.grad for weight in probe.module.parameters() if weight.grad is not None]
            bad = sum(int((~gradient.isfinite()).sum()) for gradient in gradients)
            if bad:
                return failed(
                    "gradient-not-finite",
                    bad,
                    0,
                    case=f"the other row's loss gives {bad:,} gradients that are not finite",
                    diagnosis="A NaN in the row that is all padding returns as 0 · NaN. Do not replace it after the "
                    "softmax: avoid a softmax over -inf alone.",
                )
    if not bad:
        return passed(0, 0)
    by_none = first_to_give_nan(probe, inputs.replace(**padding)) == "div"
    return failed(
        "divided-by-none" if by_none else "not-finite",
        bad,
        0,
        case=f"of two rows the first is all padding: {bad:,} logits are not finite",
        diagnosis="A row's sum is divided by its number of real tokens, which is 0: divide by that or 1, the larger."
        if by_none
        else "A softmax over -inf alone gives NaN. Give such a query zeros, or let it see one key.",
    )


def both_sides(probe: Probe) -> Outcome:
    """A bidirectional model sees both sides of each token.

    A causal mask left in an encoder halves what it can see, and nothing fails. Each token is replaced in turn, and the
    logits on both sides of it must change. A window is recognised: the same number of tokens on both sides of each.
    """
    changes = influence(probe, probe.inputs(1))
    unused = changes <= MIN_INFLUENCE
    before, after = int(unused.tril(-1).sum()), int(unused.triu(1).sum())
    if not before + after:
        return passed(0, 0)
    distances = (torch.arange(len(changes))[:, None] - torch.arange(len(changes))).abs()
    window = int(distances[unused].min())
    if window > 1 and torch.equal(unused, distances >= window):
        return passed(0, 0, f"a window of {window - 1} tokens on both sides of each")
    pairs = math.comb(len(changes), 2)
    diagnosis = "Some tokens are hidden from each other: look at the mask, or for a window narrower than the sequence."
    cause = "unused"
    if after == pairs and before < pairs:
        cause, diagnosis = (
            "one-side",
            "No token sees what follows: there is a causal mask. An encoder's mask hides only padding.",
        )
    elif before == pairs and after < pairs:
        cause, diagnosis = "one-side", "No token sees what came before: the mask is a causal one, transposed."
    elif before == after == pairs:
        cause, diagnosis = (
            "unused",
            "No token sees another: attention does not reach the output, or the mask is inverted.",
        )
    case = f"of {pairs} pairs of tokens, {before} lack influence forwards and {after} backwards"
    return failed(cause, before + after, 0, case=case, diagnosis=diagnosis)
