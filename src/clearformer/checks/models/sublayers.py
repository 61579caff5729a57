"""Norms, and what stands between the two matrices of a feed-forward network."""

import math
import statistics
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from clearformer.checks.models.numbers import SCALE_TOLERANCE
from clearformer.checks.outcome import DoesNotApply, Outcome, failed, passed
from clearformer.checks.probe.probe import Probe, difference
from clearformer.checks.probe.uses import weight_uses

NORM_TOLERANCE = 1e-4
"""relative; for a width of 384 the unbiased variance is off by 1.3e-3"""
SQUARE = 0.01
"""relative; a norm is off by 1"""
MAX_MISSING = 0.3
"""of a norm's size: an epsilon as large as the variance takes 0.29"""
SHAPES = ("View", "UnsafeView", "Reshape", "Transpose", "Permute", "Clone", "Squeeze", "Unsqueeze", "Split", "Unbind")
PRODUCTS = ("Addmm", "Mm", "Bmm", "Linear")
"""how the names of autograd's nodes begin"""
NOT_OF_A_VECTOR = (AttributeError, RuntimeError, TypeError, ValueError)
"""what a module raises that takes no vector, or more than one, such as a norm with a gate"""


def norm_variance(probe: Probe) -> Outcome:
    """LayerNorm divides by the root of the biased variance.

    torch.var and torch.std divide by D - 1 by default; LayerNorm divides by D (arXiv:1607.06450). The Annotated
    Transformer had D - 1. Every module with one weight of size D whose output is its input centred and scaled is
    compared with both. One that gives half for twice the input divides by the square.
    """
    worst, norms = 0.0, 0
    for name, module in norm_modules(probe.module).items():
        weight, *bias = module.parameters()
        x = torch.randn(2, 5, len(weight), generator=probe.generator).to(weight)
        try:
            out = module(x)
        except NOT_OF_A_VECTOR:
            continue
        errors = {unbiased: _norm_error(weight, bias, x, out, unbiased) for unbiased in (False, True)}
        if min(errors.values()) > NORM_TOLERANCE:
            if _divides_by_the_square(module, x):
                return failed(
                    "by-the-square",
                    1,
                    0,
                    case=f"{name} gives half as much for twice the input",
                    diagnosis="The norm divides by the mean square and not by its root: use sqrt, or rsqrt.",
                )
            continue  # an RMSNorm, say
        norms += 1
        worst = max(worst, errors[False])
        if errors[False] > NORM_TOLERANCE:
            return failed(
                "unbiased",
                errors[False],
                NORM_TOLERANCE,
                case=f"{name} differs by {errors[False]:.2g} from the formula with D, and by "
                f"{errors[True]:.2g} with D - 1",
                diagnosis="The variance divides by D - 1: write var(-1, unbiased=False).",
            )
    if not norms:
        raise DoesNotApply("no module was found that computes a LayerNorm")
    return passed(worst, NORM_TOLERANCE, f"{norms} norms")


def _divides_by_the_square(norm: nn.Module, x: Tensor) -> bool:
    """Whether norm(2x) is norm(x) / 2, the bias left out."""
    zero, once, twice = (norm(x * factor) for factor in (0.0, 1.0, 2.0))
    return once.shape == x.shape and float((2 * (twice - zero) - (once - zero)).norm() / (once - zero).norm()) < SQUARE


def norm_modules(model: nn.Module) -> dict[str, nn.Module]:
    """Modules whose parameters are a weight [D] and perhaps a bias [D]."""
    found = {}
    for name, module in model.named_modules():
        weights = list(module.parameters())
        if 1 <= len(weights) <= 2 and all(weight.dim() == 1 and len(weight) > 1 for weight in weights):
            found[name or "the model"] = module
    return found


def _norm_error(weight: Tensor, bias: Sequence[Tensor], x: Tensor, out: Tensor, unbiased: bool) -> float:
    """The relative error of `out` against LayerNorm with the factor `weight` or `1 + weight`, whichever is nearer."""
    normal = (x - x.mean(-1, keepdim=True)) / x.std(-1, keepdim=True, unbiased=unbiased)
    expected = [normal * factor + (bias[0] if bias else 0) for factor in (weight, 1 + weight)]
    if out.shape != x.shape:
        return math.inf
    return min(float((out - formula).abs().max() / formula.abs().max()) for formula in expected)


def norm_order(probe: Probe) -> Outcome:
    """Norms are before each sub-layer, or after it, as declared.

    The paper's text has them after the sum, its code has not, and copies differ from their own descriptions. With every
    weight zero but those that are looked up and the last matrix, sub-layers add nothing: a norm inside a sub-layer then
    has no influence, and one in the residual stream still does. Declare the order by Subject(..., norm_order="pre") or
    "post".
    """
    inputs = probe.inputs(1)
    uses = weight_uses(probe, inputs)
    kept = {*uses.looked_up, *uses.indexed, uses.last}
    norms = [next(module.parameters()) for module in norm_modules(probe.module).values()]
    if not norms:
        raise DoesNotApply("no module was found that may be a norm")
    for name, weight in probe.module.named_parameters():
        if name not in kept and not any(weight is norm for norm in norms):
            weight.zero_()
    before = probe.logits(inputs)
    influential = 0
    for weight in norms:
        original = weight.clone()
        weight.mul_(1 + 0.5 * torch.rand(weight.shape, generator=probe.generator).to(weight))
        influential += int(float(difference(probe.logits(inputs), before).max()) > SCALE_TOLERANCE)
        weight.copy_(original)
    other = probe.logits(inputs.replace(tokens=probe.replacements(inputs.tokens)))
    if float(difference(other, before).max()) <= SCALE_TOLERANCE:
        raise DoesNotApply("with all matrices zero nothing reaches the logits, so the order cannot be measured")
    # a pre-norm model has at most two in the residual stream: after its embeddings and before its output
    found = "post" if influential > 2 or influential == len(norms) > 1 else "pre"
    observed = f"{influential} of {len(norms)} norms are in the residual stream, as in {found}-norm"
    declared = probe.subject.norm_order
    if declared is None or declared == found:
        return passed(0, 0, observed if declared else f"{observed}; declare it by Subject(..., norm_order=...)")
    return failed(
        "other-order",
        1,
        0,
        case=observed,
        diagnosis=f"{declared}-norm is declared, and {found}-norm is computed: post is norm(x + f(x)), pre is x + "
        "f(norm(x)) and one more norm at the end.",
    )


def epsilon(probe: Probe) -> Outcome:
    """A norm's epsilon is small beside the variance to which it is added.

    The epsilon is there for a variance of zero. Where it is larger than the variance, the norm no longer normalises:
    what is small stays small. An epsilon of 1e-5 is large for embeddings of deviation 0.001.

    With its own initial values the model reads a sequence. For each module that is a norm, what it was given is also
    given to it a thousand times as large: the size of the result must be at least 0.7 of that, in half of the norms. A
    norm of a matrix product, as of queries or after a sub-layer, may begin with less and is left out.
    """
    norms = norm_modules(probe.module)
    given = _inputs_of(probe, norms)
    measured = {path: _normalised_share(norms[path], x) for path, x in given.items()}
    shares = {path: share for path, share in measured.items() if share is not None}
    if not shares:
        raise DoesNotApply("no module was found that normalises what it is given")
    missing = max(1 - statistics.median_high(shares.values()), 0.0)
    if missing <= MAX_MISSING:
        return passed(missing, MAX_MISSING, f"{len(shares)} norms")
    least = min(shares, key=lambda path: shares[path])
    return failed(
        "epsilon-too-large",
        missing,
        MAX_MISSING,
        case=f"{least} gives {shares[least]:.0%} of the size that it gives to a thousand times the same",
        diagnosis="The epsilon is larger than the variance of what is normalised: make it smaller, such as 1e-5, or "
        "the input's initial values larger.",
    )


def _inputs_of(probe: Probe, modules: dict[str, nn.Module]) -> dict[str, Tensor]:
    """The first input of each module that is called, in one forward pass, unless a matrix product gave it."""
    given: dict[str, Tensor] = {}

    def remember(path: str) -> Callable[..., None]:
        def hook(_module: nn.Module, args: Any) -> None:
            if args and path not in given and not _is_product(args[0]):
                x = args[0].detach().clone()
                given[path] = x.to_padded_tensor(0.0) if x.is_nested else x  # as torch's encoders pack padded rows

        return hook

    handles = [module.register_forward_pre_hook(remember(path)) for path, module in modules.items()]
    try:
        with torch.enable_grad():  # the graph tells where an input comes from
            probe.logits(probe.inputs(2))
    finally:
        for handle in handles:
            handle.remove()
    return given


def _is_product(x: Tensor) -> bool:
    """Whether a matrix product gave x, but for its shape."""
    node = x.grad_fn
    while node is not None and node.name().startswith(SHAPES):
        node = node.next_functions[0][0]
    return node is not None and node.name().startswith(PRODUCTS)


def _normalised_share(norm: nn.Module, x: Tensor) -> float | None:
    """The size of norm(x) relative to that of norm(1000 x), without the bias; None where the module is no norm."""
    try:
        x = x[x.abs().amax(-1) > 0]  # a RuntimeError inside `torch.vmap`, which x has left
        if not len(x):
            return None
        zero, small, large, larger = (norm(x * factor) for factor in (0.0, 1.0, 1e3, 1e5))
    except NOT_OF_A_VECTOR:
        return None
    sizes = [float((out - zero).norm()) for out in (small, large, larger)]
    is_norm = large.shape == x.shape and sizes[2] > 0 and abs(sizes[1] / sizes[2] - 1) < NORM_TOLERANCE * 100
    return sizes[0] / sizes[1] if is_norm else None


def activation(probe: Probe) -> Outcome:
    """Between the two matrices of a feed-forward network there is something that is not linear.

    Two matrices in a row are one matrix: without its activation function, a feed-forward network four times as wide
    does no more than a single small layer.

    The products of one forward pass are followed from one to the next. Where one matrix widens and the next one
    narrows, with nothing between them but a bias or a reshape, the activation is missing.
    """
    uses = weight_uses(probe, probe.inputs(2))
    if not uses.multiplied:
        raise DoesNotApply("no product with a weight was recorded")
    if not uses.in_a_row:
        return passed(0, 0)
    first, second = uses.in_a_row[0]
    return failed(
        "linear",
        len(uses.in_a_row),
        0,
        case=f"{second} multiplies what {first} gives, with nothing between the two",
        diagnosis="The activation function of the feed-forward network is missing, or its result is not used.",
    )
