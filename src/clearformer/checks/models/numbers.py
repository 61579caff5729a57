"""Is the arithmetic right?"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from clearformer.checks.explain.padding import PaddedBatch
from clearformer.checks.outcome import DoesNotApply, ModelCrashed, Outcome, failed, passed
from clearformer.checks.probe.attention import Attention, record_attention
from clearformer.checks.probe.operations import half_precision_operations
from clearformer.checks.probe.probe import Inputs, Probe, difference
from clearformer.checks.probe.uses import weight_uses
from clearformer.checks.recognise import signature
from clearformer.checks.recognise.outputs import are_probabilities
from clearformer.checks.weights import enlarge_matrices, preserve_state, randomise_weights

ROUNDING = 1e-3
"""standard deviations of the logits: float32 differed from float64 by 1e-6 to 1e-4, bfloat16 by 1e-2"""
HALF = 0.5
"""standard deviations of the logits: right models differ by a hundredth in float16"""
HALVES = {torch.float16, torch.bfloat16}
DRAWS = 4
"""of tokens: one in four had a choice of experts that float16 turned, in a model of four experts and two layers"""
WEIGHT_FACTOR = 30.0
"""scores reach 900, and exp(89) overflows float32"""
SCALE_TOLERANCE = 1e-3
"""relative; scales and sums were right to 1e-6, and wrong ones are off by a third or more"""
SUMMED = (2, 3)
"""products of queries and keys in one score, as in TUPE and DeBERTa"""
MULTIPLIERS = ("multiplier", "mup", "mult", "logits_scaling", "base_width", "width_scale")
"""in names of settings: those of a model whose settings carry over from a narrower one, μP"""
FOLDED = 0.2
"""relative: initial queries and keys of 12 tokens vary in size by some per cent, and a missing scale by a third"""


def finite(probe: Probe) -> Outcome:
    """The logits are finite, depend on the tokens, and are no probabilities.

    Measured with the model's own weights, at lengths from 1 to the full context. All other checks depend on it: a model
    that gives NaN, or the same logits for every input, would pass many a comparison.
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
                diagnosis="Look for a division by zero, a root of a negative number, a softmax over -inf alone.",
            )
    if are_probabilities(logits):
        return failed(
            "probabilities",
            1,
            0,
            case="all that the model returns is positive, and each row sums to one",
            diagnosis="The model returns probabilities. Cross-entropy takes another softmax of them, and learning is "
            "slow and ends early: return the logits.",
        )
    randomise_weights(probe.model, probe.seed)
    inputs = probe.inputs(1)
    other = inputs.replace(tokens=probe.replacements(inputs.tokens))
    if torch.equal(probe.logits(inputs), probe.logits(other)):
        return failed(
            "constant",
            1,
            0,
            case="two sequences that differ at every position give the same logits",
            diagnosis="The output does not depend on the input: does the model use its argument, and "
            "return its result?",
        )
    return passed(0, 0)


def float64(probe: Probe) -> Outcome:
    """float32 agrees with float64.

    The same weights and tokens are computed in double precision, and no operation may run in half precision. A
    difference beyond rounding means that precision is lost somewhere: in a difference of large numbers, the angle of a
    distant position, a softmax in bfloat16.
    """
    inputs = probe.inputs(2)
    single = probe.logits(inputs)
    weights = {weight.dtype for weight in probe.module.parameters()}
    if weights and weights <= HALVES:
        raise DoesNotApply("all weights are in half precision, which rounds what float64 does not")
    if torch.float32 in (single.dtype, *weights) and (operations := half_precision_operations(probe, inputs)):
        return failed(
            "half-precision",
            len(operations),
            0,
            case=f"{len(operations)} operations give float16 or bfloat16, first {operations[0]}",
            diagnosis="Part of a float32 model is computed in half precision: look for .half(), "
            ".bfloat16() or autocast.",
        )
    clone = probe.clone(torch.float64)
    wide = inputs.map(lambda tensor: tensor.double() if tensor.is_floating_point() else tensor)
    try:
        # PyTorch's fused kernel misreads a mask of float32 beside float64 (2.13, on a CPU)
        with sdpa_kernel(SDPBackend.MATH):
            double = clone.logits(wide)
    except Exception as error:
        raise DoesNotApply(f"the model does not run in float64: {error}") from error
    worst = float(difference(single, double).max())
    if worst <= ROUNDING:
        return passed(worst, ROUNDING)
    return failed(
        "rounded",
        worst,
        ROUNDING,
        case=f"the same weights in float64 give logits that differ by {worst:.2g} standard deviations",
        diagnosis="Precision is lost: look for a difference of large numbers, or a large argument of sin and cos.",
    )


def large(probe: Probe) -> Outcome:
    """Large activations do not overflow.

    With weights 30 times as large, scores reach some hundreds, and a softmax that takes exp of them without subtracting
    the maximum gives infinity over infinity. Training reaches such scores.
    """
    randomise_weights(probe.model, probe.seed, WEIGHT_FACTOR)
    logits = probe.logits(probe.inputs(2))
    bad = int((~logits.isfinite()).sum())
    if not bad:
        return passed(0, 0)
    return failed(
        "overflow",
        bad,
        0,
        case=f"with weights {WEIGHT_FACTOR:g} times as large, {bad:,} of {logits.numel():,} logits are not finite",
        diagnosis="exp or a square overflows: subtract the largest score before exp, as torch.softmax does.",
    )


def half(probe: Probe) -> Outcome:
    """Nothing is lost in half precision that single precision holds.

    float16 ends at 65,504, and a sum or a square reaches it that is harmless in float32: an exp without its maximum, a
    mask of -1e9 that is multiplied, a norm's sum of squares. Models are trained and served in it.

    A copy in float16 is given the same tokens, with padding where that is known; its logits must be finite, and nearly
    the same. Between two experts that are almost equal a router may choose the other one, so what is lost must be lost
    for other tokens too. Where a constant does not fit into float16, or PyTorch lacks an operation for it on this
    machine, the check does not apply, and says so.
    """
    clone = probe.clone(torch.float16)
    for _ in range(DRAWS):
        outcome = _half(probe, clone)
        if outcome.status == "passed" or outcome.cause == "overflow":
            break
    return outcome


def _half(probe: Probe, clone: Probe) -> Outcome:
    inputs = probe.inputs(2)
    trials: dict[str, Callable[[Probe], list[Tensor]]] = {
        "": lambda one: [one.logits(_to_half(inputs) if one is clone else inputs)]
    }
    if probe.subject.padded is not None and probe.subject.vocab_size is not None:
        padding = PaddedBatch(probe, probe.subject.sides[0])
        trials["with padding, "] = lambda one: padding.of(one).logits()
    worst = 0.0
    for where, logits in trials.items():
        wide = torch.cat([one.flatten(0, -2) for one in logits(probe)])
        if not wide.isfinite().all():
            continue  # another check says so
        try:
            narrow = torch.cat([one.flatten(0, -2) for one in logits(clone)])
        except ModelCrashed as error:
            raise DoesNotApply(f"the model does not run in float16 here: {error}") from error
        bad = int((~narrow.isfinite()).sum())
        worst = max(worst, float(difference(wide, narrow).max()))
        if worst > HALF:
            observed = (
                f"{bad:,} of {narrow.numel():,} logits are NaN or infinite"
                if bad
                else (f"the logits differ by {worst:.2g} standard deviations")
            )
            return failed(
                "overflow" if bad else "lost",
                worst,
                HALF,
                case=f"{where}in float16 {observed}, in float32 all are finite",
                diagnosis="Something passes 65,504: look for exp, squares and large constants, and compute them in "
                "float32, or take a mask of torch.finfo(dtype).min.",
            )
    return passed(worst, HALF)


def _to_half(inputs: Inputs) -> Inputs:
    return inputs.map(lambda tensor: tensor.half() if tensor.is_floating_point() else tensor)


def recorded_attentions(probe: Probe, inputs: Inputs) -> list[Attention]:
    """All attention of one forward pass. Raises DoesNotApply where none is recorded."""
    found = record_attention(probe, inputs)
    if not found:
        raise DoesNotApply("no attention was recorded: no product of activations goes into a torch softmax")
    return found


def scale(probe: Probe) -> Outcome:
    """Attention's scores are scaled by 1/sqrt(d_head), or as declared.

    Products of longer vectors are larger, by the root of their length, and a softmax of large scores has almost no
    gradient (arXiv:1706.03762, section 3.2.1). The scale is measured as the ratio of the scores in each softmax to the
    products of queries and keys; another one can be declared: Subject(..., scale=1.0).

    Four designs have another scale and are recognised: initial values that make queries smaller than keys by the
    factor that is missing, as T5 has them; queries and keys that are normalised, so that their scale is a temperature;
    sums of two or three products, of tokens and of positions, all divided by the root of their number too; and
    1/d_head where the model's settings speak of multipliers, as μP has it (arXiv:2203.03466).
    """
    inputs, measured = probe.inputs(3), []
    initial = recorded_attentions(probe, inputs)
    randomise_weights(probe.model, probe.seed)
    for number, attention in enumerate(recorded_attentions(probe, inputs)):
        if attention.scale is None:
            continue
        parts = (attention.queries.shape[-1], attention.added_width)
        E = sum(parts)  # noqa: N806
        expected = probe.subject.scale or 1 / math.sqrt(E)
        H = attention.scores.shape[-3] if attention.scores.dim() > 3 else 1  # noqa: N806
        error = abs(attention.scale / expected - 1)
        if probe.subject.scale is None and attention.added_width:
            error = min(error, *(abs(attention.scale * math.sqrt(part) - 1) for part in parts))
        if probe.subject.scale is None and attention.has_added_term:
            error = min(error, *(abs(attention.scale / expected * math.sqrt(n) - 1) for n in SUMMED if n != H))
        if probe.subject.scale is None and signature.names_a_setting(probe.model, MULTIPLIERS):
            error = min(error, abs(attention.scale * E - 1))
        if error <= SCALE_TOLERANCE or _is_in_initial_values(initial[number], expected / attention.scale):
            measured.append(min(error, SCALE_TOLERANCE))
            continue
        cause, diagnosis = _explain_scale(attention.scale, E, H)
        if cause not in ("by-model-width", "twice") and _is_normalised(probe, inputs, number, attention):
            continue
        return failed(
            cause,
            error,
            SCALE_TOLERANCE,
            case=f"attention {number} multiplies by {attention.scale:.4g}; {expected:.4g} was expected for E = {E}",
            diagnosis=f"{diagnosis} If that is intended, declare it: Subject(..., scale={attention.scale:.4g}).",
        )
    if not measured:
        raise DoesNotApply("in no attention are the scores a multiple of queries times keys, or they are normalised")
    return passed(max(measured), SCALE_TOLERANCE)


def _is_in_initial_values(initial: Attention, missing: float) -> bool:
    """Whether queries begin smaller than keys by the factor that the scores lack."""
    ratio = float(initial.queries.norm() / initial.keys.norm().clamp(min=1e-30))
    return missing < 1 and abs(ratio / missing - 1) < FOLDED


def _is_normalised(probe: Probe, inputs: Inputs, number: int, attention: Attention) -> bool:
    """Whether products of queries and keys hardly grow with matrices of twice the size, which make others fourfold."""
    with preserve_state(probe.model), torch.no_grad():
        uses = weight_uses(probe, inputs)
        kept = (
            {name for name, _ in probe.module.named_parameters() if name not in uses.multiplied}
            if uses.multiplied
            else ()
        )
        enlarge_matrices(probe.model, probe.seed, 2.0, kept)
        larger = record_attention(probe, inputs)[number]
    return float(larger.products.norm() / attention.products.norm()) < 2.0


def _explain_scale(found: float, E: int, H: int) -> tuple[str, str]:  # noqa: N803
    """The cause of a wrong scale, and its diagnosis."""
    known = {
        "no-scale": (1.0, "The scores are not scaled."),
        "by-model-width": (
            1 / math.sqrt(E * H),
            "The scores are divided by sqrt(d_model) instead of sqrt(d_head).",
        ),
        "twice": (1 / E, "The scores are divided by d_head, or twice by its root."),
        "inverse": (math.sqrt(E), "The scores are multiplied by sqrt(d_head) instead of divided."),
    }
    for cause, (value, diagnosis) in known.items():
        if abs(found / value - 1) <= SCALE_TOLERANCE:
            return cause, diagnosis
    return "other-scale", "The scores are scaled by another factor."


def softmax(probe: Probe) -> Outcome:
    """Each query's attention weights, over the keys, are positive and sum to one.

    A softmax along the wrong axis divides each key among the queries, or each position among the heads. Shapes are the
    same, and so is the sum of everything.
    """
    worst = 0.0
    for number, attention in enumerate(recorded_attentions(probe, probe.inputs(3, source_length=probe.length(7)))):
        over_keys = attention.weights.sum(-1)
        error = float((over_keys - 1).abs().max())
        worst = max(worst, error)
        if error > SCALE_TOLERANCE:
            axis = {-1: "", -2: "queries", -3: "heads"}.get(attention.dim, "batch")
            axis = "batch" if attention.dim == -attention.scores.dim() else axis
            least, most = float(over_keys.min()), float(over_keys.max())
            return failed(
                f"over-{axis}" if axis else "rounded",
                error,
                SCALE_TOLERANCE,
                case=f"in attention {number} a query's weights sum to between {least:.3g} and {most:.3g}",
                diagnosis=f"The softmax runs over the {axis}: use dim=-1 where scores are [.., T, S]."
                if axis
                else "The softmax runs over the keys, as it should, but its numbers are rounded: see numbers.float64.",
            )
    return passed(worst, SCALE_TOLERANCE)
