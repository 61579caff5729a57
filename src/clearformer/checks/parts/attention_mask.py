"""The mask passed to attention: the meaning of True, where it is applied, and a query whose keys are all hidden."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from clearformer.checks.outcome import DoesNotApply, ModelCrashed, Outcome, failed, passed
from clearformer.checks.parts.attention import AttentionProbe, B, H, T
from clearformer.checks.parts.attention_checks import MIN_INFLUENCE, TOLERANCE, causal, softmax
from clearformer.checks.parts.probe import first_working, relative_error

LOWEST = float(torch.finfo(torch.float32).min)
MATCH = 1e-2
"""relative error: a mask of -5 leaves 1e-2 of a weight; larger finite masks are found with large scores"""
LARGE_FACTOR = 1e3
"""on queries and keys, for scores up to 1e6, which overcome -1e4 and not -1e9"""

SHAPES: dict[str, Callable[[Tensor], Tensor]] = {
    "[1, 1, T, S]": lambda mask: mask[None, None],
    "[T, S]": lambda mask: mask,
    "[B, 1, T, S]": lambda mask: mask.expand(B, 1, T, T),
    "[B, T, S]": lambda mask: mask.expand(B, T, T),
    "[B H, T, S]": lambda mask: mask.expand(B * H, T, T),
}
KINDS: dict[str, Callable[[Tensor], Tensor]] = {
    "allow": lambda allowed: allowed,
    "hide": lambda allowed: ~allowed,
    "allow as a number": lambda allowed: allowed.float(),
    "hide as a number": lambda allowed: (~allowed).float(),
    "additive": lambda allowed: torch.zeros(allowed.shape).masked_fill(~allowed, LOWEST),
}
MEANINGS = {
    "allow": "True means that a query may attend",
    "hide": "True means that a key is hidden",
    "allow as a number": "1 means that a query may attend, 0 that a key is hidden",
    "hide as a number": "1 means that a key is hidden, 0 that a query may attend",
    "additive": "the mask is added to the scores",
}


@dataclass(frozen=True)
class MaskForm:
    """The form in which a mask is passed."""

    keyword: str
    shape: str
    kind: str

    def weights(self, probe: AttentionProbe, q: Tensor, k: Tensor, allowed: Tensor) -> Tensor:
        """[B, H, T, S], where `allowed` [T, S] is True where a query may attend."""
        return probe.weights(q, k, self.mask(allowed), keyword=self.keyword)

    def mask(self, allowed: Tensor) -> Tensor:
        return SHAPES[self.shape](KINDS[self.kind](allowed)).clone()


def mask_forms(probe: AttentionProbe) -> Iterator[MaskForm]:
    """For each kind of mask the first form that does not crash. Raises DoesNotApply where all crash."""
    q, k, _ = probe.qkv()
    crashes = 0
    for kind in KINDS:
        try:
            yield first_working(_attempts(probe, q, k, kind))
        except ModelCrashed:
            crashes += 1
    if crashes == len(KINDS):
        raise DoesNotApply("it takes no mask, as (q, k, v, mask), mask= or attn_mask=")


def _attempts(probe: AttentionProbe, q: Tensor, k: Tensor, kind: str) -> Iterator[Callable[[], MaskForm]]:
    for keyword in ("", "mask", "attn_mask"):
        for shape in SHAPES:
            yield partial(_try_form, probe, q, k, MaskForm(keyword, shape, kind))


def _try_form(probe: AttentionProbe, q: Tensor, k: Tensor, mask_form: MaskForm) -> MaskForm:
    mask_form.weights(probe, q, k, torch.ones(T, T, dtype=torch.bool).tril())
    return mask_form


def half_mask() -> Tensor:
    """[T, T], half of it True, with True and False in each row and column."""
    allowed = torch.ones(T, T, dtype=torch.bool)
    for t in range(T):
        allowed[t, (torch.tensor([1, 3, 4]) + t) % T] = False
    return allowed


def half_masked(probe: AttentionProbe) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Queries, keys, the allowed pairs, the weights without a mask, and the expected weights with it."""
    probe.require_core()
    if softmax(probe).status != "passed":
        raise DoesNotApply("the weights are not a softmax over the keys; see attention.softmax")
    q, k, _ = probe.qkv()
    allowed, unmasked = half_mask(), probe.weights(q, k)
    expected = unmasked * allowed / (unmasked * allowed).sum(-1, keepdim=True)
    return q, k, allowed, unmasked, expected


def find_mask_form(probe: AttentionProbe) -> MaskForm:
    """The form in which the part understands its mask. Raises DoesNotApply where there is none."""
    q, k, allowed, _, expected = half_masked(probe)
    for mask_form in mask_forms(probe):
        if relative_error(mask_form.weights(probe, q, k, allowed), expected) <= MATCH:
            return mask_form
    raise DoesNotApply("the meaning of its mask is not known; see attention.mask")


def mask(probe: AttentionProbe) -> Outcome:
    """A key that is hidden has weight zero, and the others share its weight.

    A mask is applied before the softmax, as minus infinity. After it, hidden keys still take part in the sum, and the
    weights no longer sum to one; a product with the scores gives a hidden key the score 0, which is not low.

    The meaning of True is found by trying, and reported: `F.scaled_dot_product_attention` lets a query attend where it
    is True, `nn.MultiheadAttention` hides. Declare one with `PartSubject(part, {"mask": "allow"})`, "hide" or
    "additive".
    """
    declared = probe.declared.get("mask")
    try:
        mask_form = find_mask_form(probe)
    except DoesNotApply:
        return _explain_mask(probe)
    found = mask_form.kind.removesuffix(" as a number")
    if declared is not None and declared != found:
        diagnosis = f"{MEANINGS[mask_form.kind]}, and the opposite is declared: callers hide what should be seen"
        return failed(
            "inverted", 1.0, TOLERANCE, case=f'"{found}" was found, "{declared}" is declared', diagnosis=diagnosis
        )
    argument = mask_form.keyword or "the fourth argument"
    return passed(0.0, TOLERANCE, f"{MEANINGS[mask_form.kind]}; it is passed as {argument}, {mask_form.shape}")


def _explain_mask(probe: AttentionProbe) -> Outcome:
    """What happens with a mask instead. Raises DoesNotApply where none is accepted."""
    q, k, allowed, unmasked, expected = half_masked(probe)
    logs = unmasked.clamp(min=1e-30).log()
    smallest, cause = torch.inf, "other"
    for mask_form in mask_forms(probe):
        found = mask_form.weights(probe, q, k, allowed)
        mistakes = {"ignored": unmasked, "after-softmax": unmasked * allowed}
        if mask_form.kind != "additive":
            mistakes["added"] = (logs + KINDS[mask_form.kind](allowed)).softmax(-1)
        names = [name for name, weights in mistakes.items() if relative_error(found, weights) <= TOLERANCE]
        smallest = min(smallest, relative_error(found, expected))
        if names and cause in ("other", "ignored"):
            cause = names[0]
    return failed(cause, smallest, MATCH, case="a mask that hides half of the keys", diagnosis=DIAGNOSES[cause])


DIAGNOSES = {
    "ignored": "the mask has no effect",
    "after-softmax": "the mask is applied after the softmax: hidden keys still take their share of the sum",
    "added": "a mask of booleans is added to the scores as a number, which hides nothing",
    "other": "hidden keys keep weight, or the others do not share it: the mask is multiplied with the scores, or too "
    "small a number is added. If the mask is of another kind, return a function (q, k, v, mask) with a boolean one",
}


def finite(probe: AttentionProbe) -> Outcome:
    """Large scores do not overcome the mask.

    A mask of -1e4 instead of minus infinity is a score like any other, and weights can learn to exceed it: minGPT and
    early BERTs had it.

    Queries and keys are multiplied by 1000 each, and hidden keys must still have weight zero. In self-attention x is
    multiplied, and no future token may have influence. Use `float("-inf")` or the dtype's minimum.
    """
    if not probe.is_core:
        return _finite_causal_mask(probe)
    mask_form = find_mask_form(probe)
    if mask_form.kind == "additive":
        raise DoesNotApply("the mask is added to the scores, so its values are the caller's; check them with --as mask")
    q, k, _ = probe.qkv()
    allowed = half_mask()
    measured = float(
        (mask_form.weights(probe, LARGE_FACTOR * q, LARGE_FACTOR * k, allowed) * ~allowed)
        .abs()
        .nan_to_num(nan=torch.inf)
        .max()
    )
    if measured <= TOLERANCE:
        return passed(measured, TOLERANCE)
    return failed(
        "finite",
        measured,
        TOLERANCE,
        case="the weight of a hidden key, with scores up to a million",
        diagnosis=FINITE_DIAGNOSIS,
    )


def _finite_causal_mask(probe: AttentionProbe) -> Outcome:
    if causal(probe).status != "passed" or float(probe.influence().triu(1).max()) > MIN_INFLUENCE:
        raise DoesNotApply("it has no built-in causal mask that works for small scores")
    measured = max(float(probe.influence(LARGE_FACTOR).triu(1).max()) for _ in range(4))
    if measured <= MIN_INFLUENCE:
        return passed(measured, MIN_INFLUENCE)
    return failed(
        "finite",
        measured,
        MIN_INFLUENCE,
        case="future tokens have influence where scores are large",
        diagnosis=FINITE_DIAGNOSIS,
    )


FINITE_DIAGNOSIS = (
    "the mask is a finite number such as -1e4 or -100, and scores that differ by more than it overcome it"
)


def empty_row(probe: AttentionProbe) -> Outcome:
    """A query that may attend to nothing gets finite numbers, and so do gradients.

    A softmax over minus infinity alone is 0/0. Padding makes such rows, and one NaN in a gradient ends the training of
    every weight. Replacing the NaN afterwards fixes the output, and not the gradient.

    One row is hidden entirely, and the output and the gradient of queries, keys and values must be finite. Use the
    dtype's minimum instead of minus infinity, and set the row to zero after the softmax.
    """
    mask_form = find_mask_form(probe)
    allowed = half_mask()
    allowed[2] = False
    q, k, v = (tensor.requires_grad_() for tensor in probe.qkv())
    with torch.enable_grad():
        out = probe.attend(q, k, v, mask_form.mask(allowed), keyword=mask_form.keyword)
        out.square().sum().backward()
    bad = int((~out.isfinite()).sum())
    gradients = [tensor.grad for tensor in (q, k, v) if tensor.grad is not None]
    bad_gradients = sum(int((~gradient.isfinite()).sum()) for gradient in gradients)
    if bad + bad_gradients == 0:
        row = float(out[:, :, 2].abs().max())
        return passed(0, 0, "it gets zeros" if row == 0.0 else "it gets a mean of values, including hidden ones")
    cause = "nan" if bad else "nan-gradient"
    diagnosis = "a softmax over minus infinity alone" + "; NaN is replaced, but not in the gradient" * (not bad)
    case = f"{bad} outputs and {bad_gradients} gradients are not finite"
    return failed(cause, bad + bad_gradients, 0, case=case, diagnosis=diagnosis)
