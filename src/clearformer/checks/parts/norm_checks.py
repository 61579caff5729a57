"""Checks of layer normalisation and RMS normalisation."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from clearformer.checks.outcome import DoesNotApply, Outcome, failed, passed
from clearformer.checks.parts.norm import Norm, centred
from clearformer.checks.parts.probe import SAME, apart, closest

OFFSET = 3000.0
CANCELLED = 1e-2
"""float32 holds 3000 plus noise to 2e-4, and kernels give 5e-4; a difference of squares is off by 0.1 and more"""
EPS = 2e-2
"""how well eps must explain the outputs at all scales: the right form fits to 1e-4, the other is off by 0.1"""
LARGE_EPS = 1e-3

LAYER: dict[str, Callable[[Tensor], Tensor]] = {
    "unbiased-variance": lambda x: centred(x) / x.std(-1, keepdim=True, unbiased=True),
    "no-root": lambda x: centred(x) / x.var(-1, keepdim=True, unbiased=False),
    "sum": lambda x: centred(x) / centred(x).norm(dim=-1, keepdim=True),
    "mean-absolute": lambda x: centred(x) / centred(x).abs().mean(-1, keepdim=True),
    "not-centred": lambda x: x / x.std(-1, keepdim=True, unbiased=False),
    "only-centred": lambda x: centred(x),
    "no-norm": lambda x: x,
}
RMS: dict[str, Callable[[Tensor], Tensor]] = {
    "no-root": lambda x: x / x.square().mean(-1, keepdim=True),
    "sum": lambda x: x / x.norm(dim=-1, keepdim=True),
    "unbiased-variance": lambda x: x / (x.square().sum(-1, keepdim=True) / (x.shape[-1] - 1)).sqrt(),
    "standard-deviation": lambda x: x / x.std(-1, keepdim=True, unbiased=False),
    "mean-absolute": lambda x: x / x.abs().mean(-1, keepdim=True),
    "no-norm": lambda x: x,
}
DIAGNOSES = {
    "unbiased-variance": "it divides by D - 1 where the formula has D; `x.var(-1)` and `x.std(-1)` do so unless told "
    "unbiased=False",
    "no-root": "it divides by the variance, or the mean square, and not by its root",
    "sum": "it divides by the vector's length, a sum, where the formula has a mean: the output is too small by sqrt(D)",
    "mean-absolute": "it divides by the mean of the absolute values and not by the root of the mean square",
    "not-centred": "x and not x - mean is divided by the standard deviation",
    "only-centred": "the mean is taken off, but nothing is divided",
    "no-norm": "the input comes back as it went in",
    "standard-deviation": "it divides by the standard deviation; RMSNorm has the root of the mean square",
    "other": "the output is neither the formula's nor that of a mistake known here; a function without parameters must "
    "have weight 1 and bias 0",
}


def axis(norm: Norm) -> Outcome:
    """Each token is normalised on its own.

    Means over the wrong axis let tokens, or whole rows of a batch, see each other: a decoder then looks into the
    future, and a text's output depends on what it is batched with.

    All other tokens of the row, and then those of another row, are exchanged, and the token must not move. Mend it
    with `dim=-1, keepdim=True`; `F.layer_norm(x, x.shape[1:])` goes over the tokens as well.
    """
    worst = max(norm.moved.values())
    if worst <= SAME:
        return passed(worst, SAME)
    causes = {
        (True, False): ("over-tokens", "the means run over the tokens of a row, not over each token's vector alone"),
        (False, True): ("over-batch", "the means run over the rows of the batch, as in batch normalisation"),
        (True, True): ("over-all", "the means run over the whole batch, all tokens of all rows"),
    }
    cause, diagnosis = causes[norm.moved["tokens"] > SAME, norm.moved["rows"] > SAME]
    case = ", ".join(f"other {name} exchanged: moved by {moved:.2g}" for name, moved in norm.moved.items())
    return failed(cause, worst, SAME, case=case, diagnosis=diagnosis)


def centre(norm: Norm) -> Outcome:
    """A number added to the whole vector changes nothing: its mean is taken off.

    LayerNorm centres each vector before it scales it. RMSNorm does not, and weights of one are wrong in the other.

    The output of x and of x + 5 is compared. If they differ, take off the mean, or check the part as rms-norm.
    """
    norm.alone()
    x = norm.draw(1, 4, norm.width)
    measured = apart(norm(x + 5.0), norm(x))
    if measured <= 10 * SAME:
        return passed(measured, 10 * SAME)
    diagnosis = "the mean is not taken off: this is RMSNorm, or x stands where x - mean should"
    return failed("no-centring", measured, 10 * SAME, case="x and x + 5 differ in their output", diagnosis=diagnosis)


def direction(norm: Norm) -> Outcome:
    """The vector keeps its direction: no mean is taken off.

    RMSNorm only changes a vector's length. If it centres as well it is LayerNorm without a bias, and weights trained
    elsewhere do not fit.

    The output is compared with the input, both at length one. If they differ, leave the mean in.
    """
    norm.alone()
    x = norm.draw(1, 4, norm.width) + 1.0
    out, expected = (nn.functional.normalize(y, dim=-1) for y in (norm(x), x.double()))
    measured = apart(out, expected)
    if measured <= SAME:
        return passed(measured, SAME)
    is_centred = apart(out, nn.functional.normalize(centred(x.double()), dim=-1)) <= SAME
    cause = "centred" if is_centred else "other"
    diagnosis = "the mean is taken off: this is LayerNorm" if is_centred else "each element is scaled by another number"
    return failed(cause, measured, SAME, case="input and output point in different directions", diagnosis=diagnosis)


def scale(norm: Norm) -> Outcome:
    """What is left has a mean square of one: the biased variance in LayerNorm, the root mean square in RMSNorm.

    A wrong divisor is a constant factor that training hides, until weights come from elsewhere: `x.std(-1)` divides by
    D - 1 (the Annotated Transformer has it), and others leave out the root or the mean.

    The output on random vectors, with eps too small to matter, is compared with the formula, and where it differs with
    the usual mistakes, by name.
    """
    norm.alone()
    x = 30.0 * norm.draw(1, 8, norm.width)
    out = norm(x)
    length, expected = out.norm(dim=-1), norm.formula(x).norm(dim=-1)
    measured = apart(length, expected)
    if measured <= SAME:
        return passed(measured, SAME)
    table = LAYER if norm.kind == "layer" else RMS
    cause = closest(out, {name: formula(x.double()) for name, formula in table.items()}, SAME)
    case = (
        f"vectors of width {norm.width} come out {float((length / expected).mean()):.4g} times as long as they should"
    )
    return failed(cause, measured, SAME, case=case, diagnosis=DIAGNOSES[cause])


def eps(norm: Norm) -> Outcome:
    """A small number under the root keeps a vector without spread finite.

    Without it a constant vector gives 0/0, and NaN spreads to every weight in one step. Outside the root, as
    std + eps, the same number does something else for small vectors, so weights trained elsewhere do not fit.

    A vector without spread must stay finite; then vectors of falling size show the form of eps and its value.
    Mend it as sqrt(variance + eps), with eps from 1e-12 to 1e-3.
    """
    norm.alone()
    flat = torch.full((1, 1, norm.width), 2.0 if norm.kind == "layer" else 0.0)
    if not norm(flat).isfinite().all():
        diagnosis = "no eps under the root: a vector without spread is divided by zero"
        return failed("no-eps", torch.inf, EPS, case=f"a vector of {flat[0, 0, 0]:g} alone gives NaN", diagnosis=diagnosis)
    sizes = 10.0 ** -torch.arange(-2, 7.1, 0.25, dtype=torch.float64)
    x = norm.formula(norm.draw(1, 1, norm.width))[0]
    shrunk = norm((sizes[:, None] * x)[None].float())[0].norm(dim=-1)
    if abs(float(shrunk[4] / shrunk[0]) - 1) > EPS:
        raise DoesNotApply("the output depends on the size of large vectors too, so it is no norm")
    ratio = (shrunk / shrunk[0]).clamp(min=1e-9)
    telling = (ratio > 0.1) & (ratio < 0.9)
    if not telling.any():
        return passed(0.0, EPS, "eps is too small to be seen")
    forms = {
        "inside": (sizes.square() * (ratio**-2 - 1))[telling],
        "outside": (sizes * (1 / ratio - 1))[telling],
        "least": (sizes / ratio).square()[telling],
    }
    off = {form: float((values / values.median() - 1).abs().max()) for form, values in forms.items()}
    form = min(off, key=lambda form: off[form])
    value = float(forms[form].median())
    if off[form] > EPS:
        diagnosis = "the divisor of small vectors is neither sqrt(variance + eps) nor the root with a least value"
        return failed("other", off[form], EPS, case="random vectors of falling size", diagnosis=diagnosis)
    if form == "outside":
        diagnosis = "eps is added to the root and not under it: std + eps where the formula has sqrt(variance + eps)"
        return failed("eps-outside", off["inside"], EPS, case=f"the divisor is std + {value:.2g}", diagnosis=diagnosis)
    return _right_eps(norm, value, off[form], "eps" if form == "inside" else "the least mean square")


def _right_eps(norm: Norm, value: float, misfit: float, name: str) -> Outcome:
    said = norm.says.get("eps", getattr(norm.target, "eps", None)) if name == "eps" else None
    off = 0.0 if said is None else abs(value / said - 1)
    if off > 10 * EPS:
        diagnosis = "the eps that the part was given is not the one it computes with"
        return failed("eps-differs", off, 10 * EPS, case=f"eps is {value:.2g}, said was {said:.2g}", diagnosis=diagnosis)
    if value > LARGE_EPS * (1 + EPS):
        diagnosis = "eps is so large that it changes vectors of ordinary size"
        return failed("eps-large", value, LARGE_EPS, case=f"{name} is {value:.2g}", diagnosis=diagnosis)
    return passed(misfit, EPS, f"{name} is {value:.2g}")


def weight(norm: Norm) -> Outcome:
    """The weight multiplies and the bias is added, after the norm and in this order.

    A weight applied before the norm is partly undone by it, and one that is not used at all never trains.

    Weights are set to random values and the output is compared with what the plain norm gives times weight plus bias.
    """
    norm.alone()
    if norm.ignored:
        shapes = ", ".join(str(list(parameter.shape)) for parameter in norm.ignored)
        case = f"weights of shape {shapes} have no effect"
        return failed("ignored", 1.0, 0.0, case=case, diagnosis="weights are declared, but not used, so they never train")
    if not norm.scales and not norm.biases:
        raise DoesNotApply("it has no weights")
    x = norm.draw(1, 4, norm.width)
    plain, times, plus = norm(x), torch.ones(norm.width), torch.zeros(norm.width)
    for parameter in norm.scales:
        parameter.copy_(norm.draw(*parameter.shape))
        times = times * (parameter.flatten() + 1.0 - norm.one)
    for parameter in norm.biases:
        parameter.copy_(norm.draw(*parameter.shape))
        plus = plus + parameter.flatten()
    out, expected = norm(x), plain * times + plus
    measured = apart(out, expected)
    if measured <= SAME:
        return passed(measured, SAME, *(["1 + weight multiplies"] if norm.scales and norm.one == 0.0 else []))
    wrong = dict(_misplaced(norm, x, plain, times, plus))
    cause = closest(out, wrong, 10 * SAME)
    return failed(cause, measured, SAME, case="with random weights", diagnosis=MISPLACED[cause])


def _misplaced(norm: Norm, x: Tensor, plain: Tensor, times: Tensor, plus: Tensor) -> Iterator[tuple[str, Tensor]]:
    yield "bias-first", (plain + plus) * times
    scales = [parameter.flatten() for parameter in norm.scales]
    if scales:
        yield "weight-before", norm.formula(x * scales[0]) + plus
    if len(scales) == 2:
        yield "weight-before", norm.formula(x * scales[0] + scales[1])


MISPLACED = {
    "bias-first": "the bias is added before the weight multiplies",
    "weight-before": "the weight multiplies the input of the norm and not its output",
    "other": "the output is not the plain norm times weight plus bias",
}


def large(norm: Norm) -> Outcome:
    """A large mean does not drown the variance.

    The variance as mean(x²) - mean(x)² is the difference of two nearly equal numbers where the mean is large: float32
    then holds little of it, and it may even be negative, whose root is NaN. Residual streams do grow such means.

    Random vectors with 3000 added are compared with the same vectors without. Take the mean off first, and square then.
    """
    if centre(norm).status != "passed":
        raise DoesNotApply("the mean is not taken off; see layer-norm.centre")
    x = norm.draw(1, 8, norm.width) + OFFSET
    measured = apart(norm(x), norm(x - OFFSET))
    if measured <= CANCELLED:
        return passed(measured, CANCELLED)
    case = f"random vectors of deviation 1 with {OFFSET:g} added"
    diagnosis = "the variance is mean(x²) - mean(x)², which cancels in float32; use mean((x - mean)²)"
    return failed("cancellation", measured, CANCELLED, case=case, diagnosis=diagnosis)
