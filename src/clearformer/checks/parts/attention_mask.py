"""The mask that attention is given: what True means, where it is applied, and what is left when all is hidden."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from clearformer.checks.outcome import DoesNotApply, ModelCrashed, Outcome, failed, passed
from clearformer.checks.parts.attention import AttentionProbe, B, H, T
from clearformer.checks.parts.attention_checks import HIDDEN, NEAR, causal, softmax
from clearformer.checks.parts.probe import apart, first_working

LOWEST = float(torch.finfo(torch.float32).min)
MATCH = 1e-2
"""a mask of -5 leaves 1e-2 of a weight; whatever leaves less is looked for with large scores"""
LOUD = 1e3
"""queries and keys times this give scores up to 1e6, which overcome -1e4 and not -1e9"""

SHAPES: dict[str, Callable[[Tensor], Tensor]] = {
    "[1, 1, T, S]": lambda mask: mask[None, None],
    "[T, S]": lambda mask: mask,
    "[B, 1, T, S]": lambda mask: mask.expand(B, 1, T, T),
    "[B, T, S]": lambda mask: mask.expand(B, T, T),
    "[B H, T, S]": lambda mask: mask.expand(B * H, T, T),
}
KINDS: dict[str, Callable[[Tensor], Tensor]] = {
    "allow": lambda may: may,
    "hide": lambda may: ~may,
    "allow as a number": lambda may: may.float(),
    "hide as a number": lambda may: (~may).float(),
    "additive": lambda may: torch.zeros(may.shape).masked_fill(~may, LOWEST),
}
SAYS = {
    "allow": "True means that a query may attend",
    "hide": "True means that a key is hidden",
    "allow as a number": "1 means that a query may attend, 0 that a key is hidden",
    "hide as a number": "1 means that a key is hidden, 0 that a query may attend",
    "additive": "the mask is added to the scores",
}


@dataclass(frozen=True)
class Way:
    """How a mask is handed over."""

    keyword: str
    shape: str
    kind: str

    def weights(self, part: AttentionProbe, q: Tensor, k: Tensor, may: Tensor) -> Tensor:
        """[B, H, T, S], where `may` [T, S] is True where a query may attend."""
        return part.weights(q, k, self.mask(may), keyword=self.keyword)

    def mask(self, may: Tensor) -> Tensor:
        return SHAPES[self.shape](KINDS[self.kind](may)).clone()


def ways(part: AttentionProbe) -> Iterator[Way]:
    """For each kind of mask the first way that does not crash."""
    q, k, _ = part.qkv()
    crashes = 0
    for kind in KINDS:
        try:
            yield first_working(_attempts(part, q, k, kind))
        except ModelCrashed:
            crashes += 1
    if crashes == len(KINDS):
        raise DoesNotApply("it takes no mask, as (q, k, v, mask), mask= or attn_mask=")


def _attempts(part: AttentionProbe, q: Tensor, k: Tensor, kind: str) -> Iterator[Callable[[], Way]]:
    for keyword in ("", "mask", "attn_mask"):
        for shape in SHAPES:
            yield partial(_tried, part, q, k, Way(keyword, shape, kind))


def _tried(part: AttentionProbe, q: Tensor, k: Tensor, way: Way) -> Way:
    way.weights(part, q, k, torch.ones(T, T, dtype=torch.bool).tril())
    return way


def some() -> Tensor:
    """[T, T], half of it True, and in each row and column something of both."""
    may = torch.ones(T, T, dtype=torch.bool)
    for t in range(T):
        may[t, (torch.tensor([1, 3, 4]) + t) % T] = False
    return may


def half_hidden(part: AttentionProbe) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Queries, keys, which pairs may attend, the weights without a mask, and those that they should be with it."""
    part.core()
    if softmax(part).status != "passed":
        raise DoesNotApply("the weights are no softmax over the keys; see attention.softmax")
    q, k, _ = part.qkv()
    may, plain = some(), part.weights(q, k)
    wanted = plain * may / (plain * may).sum(-1, keepdim=True)
    return q, k, may, plain, wanted


def convention(part: AttentionProbe) -> Way:
    """How this part wants its mask. Raises DoesNotApply where that cannot be told."""
    q, k, may, _, wanted = half_hidden(part)
    for way in ways(part):
        if apart(way.weights(part, q, k, may), wanted) <= MATCH:
            return way
    raise DoesNotApply("what its mask means cannot be told; see attention.mask")


def mask(part: AttentionProbe) -> Outcome:
    """A key that is hidden has weight zero, and the others share its weight.

    A mask belongs before the softmax, as minus infinity. After it, hidden keys still take part in the sum, and the
    weights no longer sum to one; a product with the scores gives a hidden key the score 0, which is not low at all.

    What True means is found out by trying, and said: `F.scaled_dot_product_attention` lets a query attend where it is
    True, `nn.MultiheadAttention` hides. Say which is meant with `Meant(part, {"mask": "allow"})`, "hide" or "additive".
    """
    said = part.says.get("mask")
    try:
        way = convention(part)
    except DoesNotApply:
        return _mistake(part)
    found = way.kind.removesuffix(" as a number")
    if said is not None and said != found:
        diagnosis = f"{SAYS[way.kind]}, and the other was meant: callers hide what should be seen"
        return failed("inverted", 1.0, NEAR, case=f'"{found}" was found, "{said}" was said', diagnosis=diagnosis)
    by = way.keyword or "the fourth argument"
    return passed(0.0, NEAR, f"{SAYS[way.kind]}; it is handed over as {by}, {way.shape}")


def _mistake(part: AttentionProbe) -> Outcome:
    """The name of what happens with a mask instead. Raises DoesNotApply where there is no mask."""
    q, k, may, plain, wanted = half_hidden(part)
    logs = plain.clamp(min=1e-30).log()
    least, cause = torch.inf, "other"
    for way in ways(part):
        found = way.weights(part, q, k, may)
        known = {"ignored": plain, "after-softmax": plain * may}
        if way.kind != "additive":
            known["added"] = (logs + KINDS[way.kind](may)).softmax(-1)
        names = [name for name, weights in known.items() if apart(found, weights) <= NEAR]
        least = min(least, apart(found, wanted))
        if names and cause in ("other", "ignored"):
            cause = names[0]
    return failed(cause, least, MATCH, case="a mask that hides half of the keys", diagnosis=MISTAKES[cause])


MISTAKES = {
    "ignored": "the mask has no effect",
    "after-softmax": "the mask is applied after the softmax: hidden keys still take their share of the sum",
    "added": "a mask of booleans is added to the scores as a number, which hides nothing",
    "other": "hidden keys keep weight, or the others do not share it: the mask is multiplied with the scores, or too "
    "small a number is added. If the mask is of another kind, return a function (q, k, v, mask) with a boolean one",
}


def finite(part: AttentionProbe) -> Outcome:
    """Large scores do not overcome the mask.

    A mask of -1e4 in place of minus infinity is a score like any other, and weights can learn to exceed it: minGPT and
    early BERTs had it.

    Queries and keys are multiplied by 1000 each, and hidden keys must still have weight zero. In self-attention it is x
    that is multiplied, and no future token may have influence. Use `float("-inf")` or the dtype's minimum.
    """
    if not part.is_core:
        return _finite_future(part)
    way = convention(part)
    if way.kind == "additive":
        raise DoesNotApply("the mask is added to the scores, so its values are the caller's; check them with --as mask")
    q, k, _ = part.qkv()
    may = some()
    measured = float((way.weights(part, LOUD * q, LOUD * k, may) * ~may).abs().nan_to_num(nan=torch.inf).max())
    if measured <= NEAR:
        return passed(measured, NEAR)
    return failed(
        "finite", measured, NEAR, case="the weight of a hidden key, with scores up to a million", diagnosis=FINITE
    )


def _finite_future(part: AttentionProbe) -> Outcome:
    if causal(part).status != "passed" or float(part.influence().triu(1).max()) > HIDDEN:
        raise DoesNotApply("it has no causal mask built in that works on small scores")
    measured = max(float(part.influence(LOUD).triu(1).max()) for _ in range(4))
    if measured <= HIDDEN:
        return passed(measured, HIDDEN)
    return failed("finite", measured, HIDDEN, case="future tokens have influence where scores are large", diagnosis=FINITE)


FINITE = "the mask is a finite number such as -1e4 or -100, and scores that differ by more than it overcome it"


def empty_row(part: AttentionProbe) -> Outcome:
    """A query that may attend to nothing gets finite numbers, and so do gradients.

    A softmax over minus infinity alone is 0/0. Padding makes such rows, and one NaN in a gradient ends the training of
    every weight. Replacing the NaN afterwards mends the output, and not the gradient.

    One row is hidden entirely, and the output and the gradient of queries, keys and values must be finite. Use the
    dtype's minimum in place of minus infinity, and set the row to zero after the softmax.
    """
    way = convention(part)
    may = some()
    may[2] = False
    q, k, v = (tensor.requires_grad_() for tensor in part.qkv())
    with torch.enable_grad():
        out = part.attend(q, k, v, way.mask(may), keyword=way.keyword)
        out.square().sum().backward()
    bad = int((~out.isfinite()).sum())
    gradients = [tensor.grad for tensor in (q, k, v) if tensor.grad is not None]
    bad_gradients = sum(int((~gradient.isfinite()).sum()) for gradient in gradients)
    if bad + bad_gradients == 0:
        row = float(out[:, :, 2].abs().max())
        return passed(0, 0, "it gets zeros" if row == 0.0 else "it gets a mean of values, hidden ones among them")
    cause = "nan" if bad else "nan-gradient"
    diagnosis = "a softmax over minus infinity alone" + "; NaN is replaced, but not in the gradient" * (not bad)
    case = f"{bad} outputs and {bad_gradients} gradients are not finite"
    return failed(cause, bad + bad_gradients, 0, case=case, diagnosis=diagnosis)
