"""A causal mask: the function that makes it, at several sizes."""

from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from clearformer.checks.outcome import DoesNotApply, ModelCrashed, Outcome, failed, passed
from clearformer.checks.parts.probe import PartProbe
from clearformer.checks.subject import PartSubject

SIZES = (1, 2, 5, 8)
MAX_HIDDEN = -1e6
"""an added value must be at most this: scores of trained models reach thousands, but not a million"""
T, S = 3, 8


class MaskProbe(PartProbe):
    """A function T -> [T, T], perhaps with leading axes of length one; or (T, S) -> [T, S]."""

    declarable: ClassVar[dict[str, tuple[str | bool, ...]]] = {"mask": ("allow", "hide", "additive")}

    def __init__(self, subject: PartSubject, seed: int, shared: dict[str, Any]) -> None:
        super().__init__(subject, seed, shared)
        expected = "a function T -> mask [T, T] or (T, S) -> mask [T, S]"
        self.sizes = self.find_form((partial(self.try_sizes, 1), partial(self.try_sizes, 2)), expected)
        self.convention = self.find_convention()

    def try_sizes(self, sizes: int) -> int:
        self.make(*([5] * sizes))
        return sizes

    def make(self, *sizes: int) -> Tensor:
        """The part's mask [T, S], in its own convention. Raises ModelCrashed for another shape."""
        mask = self.call_raw(*sizes)
        if not isinstance(mask, Tensor):
            raise ModelCrashed(f"a tensor was expected, found {type(mask).__name__}")
        while mask.dim() > 2 and mask.shape[0] == 1:
            mask = mask[0]
        if list(mask.shape) != [sizes[0], sizes[-1]]:
            raise ModelCrashed(f"a mask [{sizes[0]}, {sizes[-1]}] was expected, found {list(mask.shape)}")
        return mask

    def square(self, size: int) -> Tensor:
        return self.make(*([size] * self.sizes))

    def find_convention(self) -> str:
        """As declared; else "additive" for negative numbers; else the meaning of True nearer to a causal mask."""
        if "mask" in self.declared:
            return str(self.declared["mask"])
        mask = self.square(8)
        if mask.is_floating_point() and bool((mask < 0).any()):
            return "additive"
        as_hiding = int((mask.bool() == causal(8, 8)).sum())
        return "hide" if as_hiding < int((~mask.bool() == causal(8, 8)).sum()) else "allow"

    def allowed(self, mask: Tensor) -> Tensor:
        """[T, S], True where a query may attend."""
        if self.convention == "additive":
            return mask == 0
        return mask.bool() if self.convention == "allow" else ~mask.bool()

    def example(self) -> tuple[Any, ...]:
        return (5,) * self.sizes


def causal(T: int, S: int, diagonal: int = 0) -> Tensor:  # noqa: N803
    return torch.ones(T, S, dtype=torch.bool).tril(diagonal)


def diagonal(probe: MaskProbe) -> Outcome:
    """Each token may attend to itself and to earlier tokens.

    One diagonal too far and each token sees its successor, which it should predict: the loss falls to nearly nothing.
    One too few and a token cannot see itself, and the first one sees nothing at all.

    Masks of 1, 2, 5 and 8 tokens are compared pair by pair. In PyTorch the mask is `torch.ones(T, T,
    dtype=torch.bool).tril()` where True means that a query may attend, and `.triu(1)` where it hides.
    """
    wrong = {size: int((probe.allowed(probe.square(size)) != causal(size, size)).sum()) for size in SIZES}
    if not any(wrong.values()):
        return passed(0, 0, MEANINGS[probe.convention])
    size = max(size for size, count in wrong.items() if count)
    cause = _name_wrong_mask(probe.allowed(probe.square(size))) if size > 2 else "short"
    case = f"{wrong[size]} pairs are wrong at a length of {size}; it was read so: {MEANINGS[probe.convention]}"
    return failed(cause, wrong[size], 0, case=case, diagnosis=DIAGNOSES[cause])


def _name_wrong_mask(allowed: Tensor) -> str:
    """The cause, by comparison with known wrong masks."""
    T = len(allowed)  # noqa: N806
    known = {
        "sees-ahead": causal(T, T, 1),
        "not-itself": causal(T, T, -1),
        "no-mask": causal(T, T, T),
        "hides-all": causal(T, T, -T),
        "transposed": causal(T, T).T,
        "inverted": ~causal(T, T),
    }
    return next((name for name, mask in known.items() if torch.equal(allowed, mask)), "other")


MEANINGS = {
    "allow": "True, or 1, means that a query may attend",
    "hide": "True, or 1, means that a key is hidden",
    "additive": "it is added to the scores",
}
DIAGNOSES = {
    "sees-ahead": "the wrong diagonal: each token sees exactly one token ahead",
    "not-itself": "the wrong diagonal: a token does not see itself, and the first sees nothing (or, if True is to mean "
    "that a query may attend, and was read as hiding, the mask is transposed)",
    "transposed": "the mask is transposed: each token sees itself and the future",
    "inverted": "the mask is inverted: only the future is seen",
    "no-mask": "nothing is hidden",
    "hides-all": "everything is hidden",
    "short": "it is wrong for inputs of 1 or 2 tokens only",
    "other": "the mask is not causal",
}


def values(probe: MaskProbe) -> Outcome:
    """Its values hide what they should in attention: booleans, or 0 and minus infinity.

    A finite number such as -1e4, added to the scores, is overcome by large weights (minGPT had it). And a mask of ones
    and zeros in floating point is added to the scores by `F.scaled_dot_product_attention` and hides nothing.

    Measured is by how much the added values are too high. Use booleans, or `float("-inf")`, or the dtype's minimum.
    """
    mask = probe.square(5)
    if probe.convention == "additive":
        hidden = mask[mask != 0].double()
        highest = float(hidden.max()) if len(hidden) else -torch.inf
        excess = max(0.0, highest - MAX_HIDDEN)
        if excess > 0.0:
            diagnosis = "a finite value: scores that differ by more than it overcome the mask"
            return failed(
                "finite", excess, 0.0, case=f"{highest:g} is added where a key is hidden", diagnosis=diagnosis
            )
        return passed(0.0, 0.0, f"{highest:g} is added where a key is hidden")
    if mask.is_floating_point() and "mask" not in probe.declared:
        diagnosis = (
            "ones and zeros in floating point: F.scaled_dot_product_attention and nn.MultiheadAttention add them to "
            "the scores, and nothing is hidden; use booleans, or, if your own code reads them, declare "
            'PartSubject(make_mask, {"mask": "allow"})'
        )
        return failed("dtype", 1.0, 0.0, case=f"the mask's type is {mask.dtype}", diagnosis=diagnosis)
    return passed(0.0, 0.0, f"the mask's type is {mask.dtype}")


def corner(probe: MaskProbe) -> Outcome:
    """With fewer queries than keys, the queries are the last ones.

    In generation with a cache, 3 new tokens attend to 8 keys, of which 5 are cached: the first query may see 6 of them.
    A mask aligned at the other corner hides nearly everything; `is_causal=True` in PyTorch is aligned so.

    The mask of 3 queries and 8 keys is compared pair by pair. In PyTorch it is `.tril(S - T)`.
    """
    try:
        mask = probe.make(T, S)
    except ModelCrashed:
        raise DoesNotApply("it makes masks of T queries and T keys only") from None
    allowed = probe.allowed(mask)
    wrong = int((allowed != causal(T, S, S - T)).sum())
    if wrong == 0:
        return passed(0, 0)
    at_left = torch.equal(allowed, causal(T, S))
    diagnosis = (
        "the mask is aligned at the upper left corner: the cached past is treated as the future"
        if at_left
        else "the queries are not aligned with the last keys"
    )
    return failed(
        "corner" if at_left else "other",
        wrong,
        0,
        case=f"of {T} queries and {S} keys {wrong} pairs are wrong",
        diagnosis=diagnosis,
    )
