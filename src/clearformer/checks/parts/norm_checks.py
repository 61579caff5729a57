"""Checks of layer normalisation and RMS normalisation."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from clearformer.checks.outcome import DoesNotApply, Outcome, failed, passed
from clearformer.checks.parts.norm import NormProbe, centred
from clearformer.checks.parts.probe import TOLERANCE, closest, relative_error

OFFSET = 3000.0
CANCELLATION = 1e-2
"""float32 holds 3000 plus noise to 2e-4, and kernels give 5e-4; a difference of squares is off by 0.1 and more"""
EPS_TOLERANCE = 2e-2
"""relative variation of the fitted eps over all scales: the right form fits to 1e-4, the wrong one to 0.1"""
MAX_EPS = 1e-3

LAYER_MISTAKES: dict[str, Callable[[Tensor], Tensor]] = {
    "unbiased-variance": lambda x: centred(x) / x.std(-1, keepdim=True, unbiased=True),
    "no-root": lambda x: centred(x) / x.var(-1, keepdim=True, unbiased=False),
    "sum": lambda x: centred(x) / centred(x).norm(dim=-1, keepdim=True),
    "mean-absolute": lambda x: centred(x) / centred(x).abs().mean(-1, keepdim=True),
    "not-centred": lambda x: x / x.std(-1, keepdim=True, unbiased=False),
    "only-centred": lambda x: centred(x),
    "no-norm": lambda x: x,
}
RMS_MISTAKES: dict[str, Callable[[Tensor], Tensor]] = {
    "no-root": lambda x: x / x.square().mean(-1, keepdim=True),
    "sum": lambda x: x / x.norm(dim=-1, keepdim=True),
    "unbiased-variance": lambda x: x / (x.square().sum(-1, keepdim=True) / (x.shape[-1] - 1)).sqrt(),
    "standard-deviation": lambda x: x / x.std(-1, keepdim=True, unbiased=False),
    "mean-absolute": lambda x: x / x.abs().mean(-1, keepdim=True),
    "no-norm": lambda x: x,
}
DIAGNOSES = {
    "unbiased-variance": "it divides by D - 1 instead of D; `x.var(-1)` and `x.std(-1)` do so without unbiased=False",
    "no-root": "it divides by the variance, or the mean square, instead of its root",
    "sum": "it divides by the vector's length, a sum instead of a mean: the output is too small by a factor of sqrt(D)",
    "mean-absolute": "it divides by the mean of the absolute values instead of the root of the mean square",
    "not-centred": "x instead of x - mean is divided by the standard deviation",
    "only-centred": "the mean is subtracted, but nothing is divided",
    "no-norm": "the output is the input",
    "standard-deviation": "it divides by the standard deviation; RMSNorm has the root of the mean square",
    "other": "the output matches neither the formula nor a known mistake; a function without parameters must have "
    "weight 1 and bias 0",
}


def axis(probe: NormProbe) -> Outcome:
    """Each token is normalised on its own.

    Means over the wrong axis let tokens, or whole rows of a batch, influence each other: a decoder then sees the
    future, and a sequence's output depends on the rest of its batch.

    All other tokens of the row, and then those of another row, are replaced, and the token's output must not change.
    Fix it with `dim=-1, keepdim=True`; `F.layer_norm(x, x.shape[1:])` averages over the tokens as well.
    """
    worst = max(probe.changes.values())
    if worst <= TOLERANCE:
        return passed(worst, TOLERANCE)
    causes = {
        (True, False): ("over-tokens", "the means run over the tokens of a row, not over each token's vector"),
        (False, True): ("over-batch", "the means run over the rows of the batch, as in batch normalisation"),
        (True, True): ("over-all", "the means run over the whole batch, all tokens of all rows"),
    }
    cause, diagnosis = causes[probe.changes["tokens"] > TOLERANCE, probe.changes["rows"] > TOLERANCE]
    case = ", ".join(f"other {name} replaced: changed by {change:.2g}" for name, change in probe.changes.items())
    return failed(cause, worst, TOLERANCE, case=case, diagnosis=diagnosis)


def centre(probe: NormProbe) -> Outcome:
    """A constant added to the whole vector changes nothing: its mean is subtracted.

    LayerNorm centres each vector before it scales it. RMSNorm does not, and weights of one do not fit the other.

    The outputs of x and of x + 5 are compared. If they differ, subtract the mean, or check the part as rms-norm.
    """
    probe.require_per_token()
    x = probe.draw(1, 4, probe.width)
    measured = relative_error(probe(x + 5.0), probe(x))
    if measured <= 10 * TOLERANCE:
        return passed(measured, 10 * TOLERANCE)
    diagnosis = "the mean is not subtracted: this is RMSNorm, or x is used instead of x - mean"
    return failed(
        "no-centring", measured, 10 * TOLERANCE, case="x and x + 5 differ in their output", diagnosis=diagnosis
    )


def direction(probe: NormProbe) -> Outcome:
    """The vector keeps its direction: no mean is subtracted.

    RMSNorm only changes a vector's length. If it centres as well it is LayerNorm without a bias, and weights trained
    elsewhere do not fit.

    The output is compared with the input, both scaled to length one. If they differ, do not subtract the mean.
    """
    probe.require_per_token()
    x = probe.draw(1, 4, probe.width) + 1.0
    out, expected = (nn.functional.normalize(y, dim=-1) for y in (probe(x), x.double()))
    measured = relative_error(out, expected)
    if measured <= TOLERANCE:
        return passed(measured, TOLERANCE)
    is_centred = relative_error(out, nn.functional.normalize(centred(x.double()), dim=-1)) <= TOLERANCE
    cause = "centred" if is_centred else "other"
    diagnosis = (
        "the mean is subtracted: this is LayerNorm" if is_centred else "each element is scaled by a different factor"
    )
    return failed(
        cause, measured, TOLERANCE, case="input and output point in different directions", diagnosis=diagnosis
    )


def scale(probe: NormProbe) -> Outcome:
    """The output has a mean square of one: by the biased variance in LayerNorm, by the root mean square in RMSNorm.

    A wrong divisor is a constant factor that training hides, until weights come from elsewhere: `x.std(-1)` divides by
    D - 1 (the Annotated Transformer has it), and others omit the root or the mean.

    The output on random vectors, with eps too small to matter, is compared with the formula, and where it differs with
    the usual mistakes.
    """
    probe.require_per_token()
    x = 30.0 * probe.draw(1, 8, probe.width)
    out = probe(x)
    length, expected = out.norm(dim=-1), probe.formula(x).norm(dim=-1)
    measured = relative_error(length, expected)
    if measured <= TOLERANCE:
        return passed(measured, TOLERANCE)
    table = LAYER_MISTAKES if probe.kind == "layer" else RMS_MISTAKES
    cause = closest(out, {name: formula(x.double()) for name, formula in table.items()}, TOLERANCE)
    case = (
        f"vectors of width {probe.width} come out {float((length / expected).mean()):.4g} times as long as they should"
    )
    return failed(cause, measured, TOLERANCE, case=case, diagnosis=DIAGNOSES[cause])


def eps(probe: NormProbe) -> Outcome:
    """A small number under the root keeps the output for a constant vector finite.

    Without it a constant vector gives 0/0, and NaN spreads to every weight in one step. Outside the root, as std + eps,
    the same number has another effect on small vectors, so weights trained elsewhere do not fit.

    A constant vector must give a finite output; then vectors of decreasing size show the form of eps and its value. Fix
    it as sqrt(variance + eps), with eps from 1e-12 to 1e-3.
    """
    probe.require_per_token()
    flat = torch.full((1, 1, probe.width), 2.0 if probe.kind == "layer" else 0.0)
    if not probe(flat).isfinite().all():
        diagnosis = "no eps under the root: a constant vector is divided by zero"
        return failed(
            "no-eps",
            torch.inf,
            EPS_TOLERANCE,
            case=f"a vector of {flat[0, 0, 0]:g} alone gives NaN",
            diagnosis=diagnosis,
        )
    sizes = 10.0 ** -torch.arange(-2, 7.1, 0.25, dtype=torch.float64)
    x = probe.formula(probe.draw(1, 1, probe.width))[0]
    shrunk = probe((sizes[:, None] * x)[None].float())[0].norm(dim=-1)
    if abs(float(shrunk[4] / shrunk[0]) - 1) > EPS_TOLERANCE:
        raise DoesNotApply("the output depends on the size of large vectors, so it is no norm")
    ratio = (shrunk / shrunk[0]).clamp(min=1e-9)
    informative = (ratio > 0.1) & (ratio < 0.9)
    if not informative.any():
        return passed(0.0, EPS_TOLERANCE, "eps is too small to be measured")
    forms = {
        "inside": (sizes.square() * (ratio**-2 - 1))[informative],
        "outside": (sizes * (1 / ratio - 1))[informative],
        "minimum": (sizes / ratio).square()[informative],
    }
    errors = {form: float((values / values.median() - 1).abs().max()) for form, values in forms.items()}
    form = min(errors, key=lambda form: errors[form])
    value = float(forms[form].median())
    if errors[form] > EPS_TOLERANCE:
        diagnosis = "the divisor of small vectors is neither sqrt(variance + eps) nor the root with a minimum"
        return failed("other", errors[form], EPS_TOLERANCE, case="random vectors of falling size", diagnosis=diagnosis)
    if form == "outside":
        diagnosis = "eps is added outside the root: std + eps instead of sqrt(variance + eps)"
        return failed(
            "eps-outside",
            errors["inside"],
            EPS_TOLERANCE,
            case=f"the divisor is std + {value:.2g}",
            diagnosis=diagnosis,
        )
    return _check_eps_value(probe, value, errors[form], "eps" if form == "inside" else "the minimum of the mean square")


def _check_eps_value(probe: NormProbe, value: float, variation: float, name: str) -> Outcome:
    declared_eps = probe.declared.get("eps", getattr(probe.part, "eps", None)) if name == "eps" else None
    error = 0.0 if declared_eps is None else abs(value / declared_eps - 1)
    if error > 10 * EPS_TOLERANCE:
        diagnosis = "the eps of the part is not the one it computes with"
        return failed(
            "eps-differs",
            error,
            10 * EPS_TOLERANCE,
            case=f"eps is {value:.2g}, {declared_eps:.2g} is declared",
            diagnosis=diagnosis,
        )
    if value > MAX_EPS * (1 + EPS_TOLERANCE):
        diagnosis = "eps is so large that it changes vectors of ordinary size"
        return failed("eps-large", value, MAX_EPS, case=f"{name} is {value:.2g}", diagnosis=diagnosis)
    return passed(variation, EPS_TOLERANCE, f"{name} is {value:.2g}")


def weight(probe: NormProbe) -> Outcome:
    """The weight multiplies and the bias is added, after the norm and in this order.

    A weight applied before the norm is partly undone by it, and one that is not used never trains.

    Weights are set to random values and the output is compared with the unweighted norm times weight plus bias.
    """
    probe.require_per_token()
    if probe.ignored:
        shapes = ", ".join(str(list(parameter.shape)) for parameter in probe.ignored)
        case = f"weights of shape {shapes} have no effect"
        return failed(
            "ignored", 1.0, 0.0, case=case, diagnosis="weights are declared, but not used, so they never train"
        )
    if not probe.scales and not probe.biases:
        raise DoesNotApply("it has no weights")
    x = probe.draw(1, 4, probe.width)
    neutral_output, factor, bias = probe(x), torch.ones(probe.width), torch.zeros(probe.width)
    for parameter in probe.scales:
        parameter.copy_(probe.draw(*parameter.shape))
        factor = factor * (parameter.flatten() + 1.0 - probe.neutral_weight)
    for parameter in probe.biases:
        parameter.copy_(probe.draw(*parameter.shape))
        bias = bias + parameter.flatten()
    out, expected = probe(x), neutral_output * factor + bias
    measured = relative_error(out, expected)
    if measured <= TOLERANCE:
        return passed(
            measured, TOLERANCE, *(["1 + weight multiplies"] if probe.scales and probe.neutral_weight == 0.0 else [])
        )
    wrong = dict(_misplaced_weights(probe, x, neutral_output, factor, bias))
    cause = closest(out, wrong, 10 * TOLERANCE)
    return failed(cause, measured, TOLERANCE, case="with random weights", diagnosis=WEIGHT_DIAGNOSES[cause])


def _misplaced_weights(
    probe: NormProbe, x: Tensor, neutral_output: Tensor, factor: Tensor, bias: Tensor
) -> Iterator[tuple[str, Tensor]]:
    yield "bias-first", (neutral_output + bias) * factor
    scales = [parameter.flatten() for parameter in probe.scales]
    if scales:
        yield "weight-before", probe.formula(x * scales[0]) + bias
    if len(scales) == 2:
        yield "weight-before", probe.formula(x * scales[0] + scales[1])


WEIGHT_DIAGNOSES = {
    "bias-first": "the bias is added before the weight multiplies",
    "weight-before": "the weight multiplies the input of the norm instead of its output",
    "other": "the output is not the plain norm times weight plus bias",
}


def large(probe: NormProbe) -> Outcome:
    """A large mean does not drown the variance.

    The variance as mean(x²) - mean(x)² is the difference of two nearly equal numbers where the mean is large: float32
    then holds few of its digits, and it may even be negative, whose root is NaN. Residual streams do grow such means.

    Random vectors with 3000 added are compared with the same vectors without. Subtract the mean first, then square.
    """
    if centre(probe).status != "passed":
        raise DoesNotApply("the mean is not subtracted; see layer-norm.centre")
    x = probe.draw(1, 8, probe.width) + OFFSET
    measured = relative_error(probe(x), probe(x - OFFSET))
    if measured <= CANCELLATION:
        return passed(measured, CANCELLATION)
    case = f"random vectors of standard deviation 1 with {OFFSET:g} added"
    diagnosis = "the variance is mean(x²) - mean(x)², which cancels in float32; use mean((x - mean)²)"
    return failed("cancellation", measured, CANCELLATION, case=case, diagnosis=diagnosis)
