"""Is the arithmetic right?"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from clearformer.checks.outcome import DoesNotApply, Outcome, failed, passed
from clearformer.checks.probe.attention import Attention, half_precision, record_attention
from clearformer.checks.probe.probe import Inputs, Probe, difference
from clearformer.checks.weights import randomise_weights

ROUNDED = 1e-3
"""a share of the logits' spread: float32 and float64 differ by 1e-6 to 1e-4 in all models tried, bfloat16 by 1e-2"""
LARGE = 30.0
"""a factor on the weights: scores reach 900, and exp(89) is more than float32 holds"""
EXACT = 1e-3
"""relative; scales, sums and norms are right to 1e-6, and the wrong ones off by a third or more"""
NORM = 1e-4
"""relative; for a width of 384 the unbiased variance is off by 1.3e-3"""


def finite(probe: Probe) -> Outcome:
    """The logits are finite, and depend on the tokens.

    Run on the weights as they are, at lengths from 1 to the full context. Everything else rests on it: a model that
    gives NaN, or the same logits for whatever it reads, would pass many a comparison.
    """
    for T in sorted({1, 2, probe.length(), probe.max_length}):  # noqa: N806
        logits = probe.logits(probe.inputs(2, T))
        bad = int((~logits.isfinite()).sum())
        if bad:
            return failed(
                "not-finite",
                bad,
                0,
                case=f"at a length of {T}, {bad:,} of {logits.numel():,} logits are NaN or infinite",
                diagnosis="Look for a division by zero, a root of what is negative, a softmax over nothing.",
            )
    randomise_weights(probe.model, probe.seed)
    inputs = probe.inputs(1)
    other = inputs.replace(tokens=probe.other(inputs.tokens))
    if torch.equal(probe.logits(inputs), probe.logits(other)):
        return failed(
            "constant",
            1,
            0,
            case="two texts without a common token give the same logits",
            diagnosis="The output does not depend on the input: does the model read its argument, and return what it made?",
        )
    return passed(0, 0)


def float64(probe: Probe) -> Outcome:
    """float32 agrees with float64.

    The same weights and tokens in twice the precision, and no operation in half of it. What differs by more than
    rounding loses digits somewhere: a difference of large numbers, an angle of a far position, a softmax in bfloat16.
    """
    inputs = probe.inputs(2)
    single = probe.logits(inputs)
    if single.dtype == torch.float32 and (narrow := half_precision(probe, inputs)):
        return failed(
            "half-precision",
            len(narrow),
            0,
            case=f"{len(narrow)} operations give float16 or bfloat16, first {narrow[0]}",
            diagnosis="Some of a float32 model is computed in fewer digits: look for .half(), .bfloat16() or autocast.",
        )
    clone = probe.clone(torch.float64)
    wide = inputs.map(lambda tensor: tensor.double() if tensor.is_floating_point() else tensor)
    try:
        double = clone.logits(wide)
    except Exception as error:
        raise DoesNotApply(f"the model does not run in float64: {error}") from error
    worst = float(difference(single, double).max())
    if worst <= ROUNDED:
        return passed(worst, ROUNDED)
    return failed(
        "rounded",
        worst,
        ROUNDED,
        case=f"the same weights in float64 give logits that differ by {worst:.2g} of their spread",
        diagnosis="Digits of float32 are lost: look for a difference of large numbers, or a large number in sin and cos.",
    )


def large(probe: Probe) -> Outcome:
    """Large activations do not overflow.

    With weights 30 times as large, scores reach some hundreds, and a softmax that takes exp of them without subtracting
    the largest gives infinity over infinity. Training reaches such scores.
    """
    randomise_weights(probe.model, probe.seed, LARGE)
    logits = probe.logits(probe.inputs(2))
    bad = int((~logits.isfinite()).sum())
    if not bad:
        return passed(0, 0)
    return failed(
        "overflow",
        bad,
        0,
        case=f"with weights {LARGE:g} times as large, {bad:,} of {logits.numel():,} logits are not finite",
        diagnosis="exp or a square overflows: subtract the largest score before exp, as torch.softmax does.",
    )


def attentions(probe: Probe, inputs: Inputs) -> list[Attention]:
    """All that were seen; raises DoesNotApply where there is none."""
    found = record_attention(probe, inputs)
    if not found:
        raise DoesNotApply("no attention was seen: no product of activations goes into a softmax of torch's")
    return found


def scale(probe: Probe) -> Outcome:
    """Attention's scores are scaled by 1/sqrt(d_head), or as declared.

    Products of longer vectors are larger, by the root of their length, and a softmax of large scores has hardly a
    gradient (arXiv:1706.03762, section 3.2.1). Measured is what went into each softmax, over the products of queries
    and keys; a model that means another scale declares it: Subject(..., scale=1.0).
    """
    measured = []
    for number, attention in enumerate(attentions(probe, probe.inputs(3))):
        if attention.scale is None:
            continue
        E = attention.queries.shape[-1]  # noqa: N806
        wanted = probe.subject.scale or 1 / math.sqrt(E)
        off = abs(attention.scale / wanted - 1)
        measured.append(off)
        if off > EXACT:
            H = attention.scores.shape[-3] if attention.scores.dim() > 3 else 1  # noqa: N806
            cause, what = scale_found(attention.scale, E, H)
            return failed(
                cause,
                off,
                EXACT,
                case=f"attention {number} multiplies by {attention.scale:.4g}; {wanted:.4g} was expected, E being {E}",
                diagnosis=f"{what} If that is meant, declare it: Subject(..., scale={attention.scale:.4g}).",
            )
    if not measured:
        raise DoesNotApply("in no attention are the scores a multiple of the products")
    return passed(max(measured), EXACT)


def scale_found(found: float, E: int, H: int) -> tuple[str, str]:  # noqa: N803
    """The name of a wrong scale, and what it means."""
    known = {
        "no-scale": (1.0, "The scores are not scaled."),
        "by-model-width": (
            1 / math.sqrt(E * H),
            "The scores are divided by sqrt(d_model) where sqrt(d_head) is meant.",
        ),
        "twice": (1 / E, "The scores are divided by d_head, or by its root twice."),
        "inverse": (math.sqrt(E), "The scores are multiplied by the root of d_head where they should be divided."),
    }
    for cause, (value, diagnosis) in known.items():
        if abs(found / value - 1) <= EXACT:
            return cause, diagnosis
    return "other-scale", "The scores are scaled by something else."


def softmax(probe: Probe) -> Outcome:
    """Each query's attention weights, over the keys, are positive and sum to one.

    A softmax along the wrong axis shares each key among the queries, or each place among the heads. Shapes are the
    same, and so is the sum of everything.
    """
    worst = 0.0
    for number, attention in enumerate(attentions(probe, probe.inputs(3, source_length=probe.length(7)))):
        over_keys = attention.weights.sum(-1)
        off = float((over_keys - 1).abs().max())
        worst = max(worst, off)
        if off > EXACT:
            axis = {-2: "queries", -3: "heads"}.get(attention.dim, "batch")
            least, most = float(over_keys.min()), float(over_keys.max())
            return failed(
                f"over-{axis}",
                off,
                EXACT,
                case=f"in attention {number} a query's weights sum to between {least:.3g} and {most:.3g}",
                diagnosis=f"The softmax runs over the {axis}: use dim=-1 where scores are [.., T, S].",
            )
    return passed(worst, EXACT)


def norm_variance(probe: Probe) -> Outcome:
    """LayerNorm divides by the biased variance.

    torch.var and torch.std divide by D - 1 unless told otherwise; LayerNorm divides by D (arXiv:1607.06450). The
    Annotated Transformer had it the other way. Every module with one weight of size D whose output is its input centred
    and scaled is compared with both.
    """
    worst, norms = 0.0, 0
    for name, module in norm_modules(probe.module).items():
        weight, *bias = module.parameters()
        x = torch.randn(2, 5, len(weight), generator=probe.generator).to(weight)
        try:
            out = module(x)
        except (RuntimeError, TypeError, ValueError):
            continue  # it reads something else than vectors, so it is no norm
        errors = {unbiased: _off(weight, bias, x, out, unbiased) for unbiased in (False, True)}
        if min(errors.values()) > NORM:
            continue  # an RMSNorm, say
        norms += 1
        worst = max(worst, errors[False])
        if errors[False] > NORM:
            return failed(
                "unbiased",
                errors[False],
                NORM,
                case=f"{name} is off by {errors[False]:.2g}, and by {errors[True]:.2g} with D - 1 for D",
                diagnosis="The variance divides by D - 1: write var(-1, unbiased=False).",
            )
    if not norms:
        raise DoesNotApply("no module was found that computes a LayerNorm")
    return passed(worst, NORM, f"{norms} norms")


def norm_modules(model: nn.Module) -> dict[str, nn.Module]:
    """Modules that have a weight [D], perhaps a bias [D], and nothing else."""
    found = {}
    for name, module in model.named_modules():
        weights = list(module.parameters())
        if 1 <= len(weights) <= 2 and all(weight.dim() == 1 and len(weight) > 1 for weight in weights):
            found[name or "the model"] = module
    return found


def _off(weight: Tensor, bias: Sequence[Tensor], x: Tensor, out: Tensor, unbiased: bool) -> float:
    """How far `out` is from LayerNorm's formula, with the weight or with one more than it, whichever is nearer."""
    normal = (x - x.mean(-1, keepdim=True)) / x.std(-1, keepdim=True, unbiased=unbiased)
    wanted = [normal * factor + (bias[0] if bias else 0) for factor in (weight, 1 + weight)]
    if out.shape != x.shape:
        return math.inf
    return min(float((out - one).abs().max() / one.abs().max()) for one in wanted)


def norm_order(probe: Probe) -> Outcome:
    """Norms stand before each sub-layer, or after it, as declared.

    The paper's text says after the sum, its code does otherwise, and copies differ from what they say of themselves.
    With every matrix but the embeddings zero, sub-layers add nothing: a norm inside a sub-layer then has no influence,
    and one on the way from layer to layer still does. Declare it by Subject(..., norm_order="pre") or "post".
    """
    V = probe.subject.vocab_size  # noqa: N806
    norms = [next(module.parameters()) for module in norm_modules(probe.module).values()]
    for weight in probe.module.parameters():
        if V not in weight.shape and not any(weight is norm for norm in norms):
            weight.zero_()
    inputs = probe.inputs(1)
    before = probe.logits(inputs)
    moving = 0
    for weight in norms:
        kept = weight.clone()
        weight.mul_(1 + 0.5 * torch.rand(weight.shape, generator=probe.generator).to(weight))
        moving += int(float(difference(probe.logits(inputs), before).max()) > EXACT)
        weight.copy_(kept)
    other = probe.logits(inputs.replace(tokens=probe.other(inputs.tokens)))
    if float(difference(other, before).max()) <= EXACT:
        raise DoesNotApply("with all matrices zero nothing reaches the logits, so it cannot be seen")
    # a pre-norm model has at most two on the way: behind its embeddings and before its output
    found = "post" if moving > 2 or moving == len(norms) > 1 else "pre"
    seen = f"{moving} of {len(norms)} norms stand between layers, as in {found}-norm"
    declared = probe.subject.norm_order
    if declared is None or declared == found:
        return passed(0, 0, seen if declared else f"{seen}; Subject(..., norm_order=...) would hold it to that")
    return failed(
        "other-order",
        1,
        0,
        case=seen,
        diagnosis=f"{declared}-norm is declared, and {found}-norm is what runs: "
        "post is norm(x + f(x)), pre is x + f(norm(x)) and one more norm at the end.",
    )
