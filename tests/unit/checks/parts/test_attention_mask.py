"""Masks of every convention are recognised, and every misuse is caught and named."""

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from clearformer.blocks.attention import ScaledDotProductAttention, attention
from clearformer.checks.outcome import Outcome
from clearformer.checks.parts.probe import PartSubject

Causes = Callable[..., dict[str, str]]
Outcomes = Callable[..., dict[str, Outcome]]
Core = Callable[..., Tensor]
LOWEST = torch.finfo(torch.float32).min


def masked(change: Callable[[Tensor, Tensor], Tensor]) -> Core:
    """Attention in which `change(scores, mask)` applies the mask."""

    def run(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
        scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
        return (scores if mask is None else change(scores, mask)).softmax(-1) @ v

    return run


def filled(value: float) -> Core:
    """A mask that is True where a query may attend puts `value` in the other scores."""
    return masked(lambda scores, mask: scores.masked_fill(~mask, value))


def after(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    weights = (q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])).softmax(-1)
    return (weights if mask is None else weights * mask) @ v


def nan_replaced(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """The output is finite, and its gradient is not."""
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    if mask is not None:
        scores = scores + torch.zeros(mask.shape).masked_fill(~mask, -math.inf)
    return scores.softmax(-1).nan_to_num() @ v


def by_keyword(q: Tensor, k: Tensor, v: Tensor, *, attn_mask: Tensor | None = None) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v, attn_mask)


def of_two_axes(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    assert mask is None or mask.dim() == 2
    return F.scaled_dot_product_attention(q, k, v, mask)


def of_three_axes(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    assert mask is None or mask.shape[0] == q.shape[0]
    return F.scaled_dot_product_attention(q, k, v, None if mask is None else mask[:, None])


ALLOW = filled(LOWEST)
HIDE = masked(lambda scores, mask: scores.masked_fill(mask, LOWEST))
SOUND = {
    "clearformer formula": (attention, "True means that a query may attend; it is passed as the fourth argument"),
    "clearformer": (ScaledDotProductAttention(), "True means that a query may attend; it is passed as the fourth arg"),
    "allow": (ALLOW, "True means that a query may attend; it is passed as the fourth argument, [1, 1, T, S]"),
    "hide": (HIDE, "True means that a key is hidden; it is passed as the fourth argument, [1, 1, T, S]"),
    "numbers": (
        masked(lambda scores, mask: scores + (1.0 - mask) * LOWEST),
        "1 means that a query may attend, 0 that a key is hidden",
    ),
    "numbers, 1 hides": (
        masked(lambda scores, mask: scores + (1.0 - mask - 1.0) * 1e9),
        "1 means that a key is hidden, 0 that a query may attend",
    ),
    "additive": (masked(torch.add), "the mask is added to the scores"),
    "minus a billion": (
        masked(lambda scores, mask: scores.masked_fill(mask == 0, -1e9)),
        "True means that a query may",
    ),
    "keyword": (by_keyword, "True means that a query may attend; it is passed as attn_mask, [1, 1, T, S]"),
    "two axes": (of_two_axes, "True means that a query may attend; it is passed as the fourth argument, [T, S]"),
    "three axes": (of_three_axes, "True means that a query may attend; it is passed as the fourth argument, [B, T, S]"),
    "allow, declared": (PartSubject(ALLOW, {"mask": "allow"}), "True means that a query may attend"),
}
WRONG: dict[str, tuple[object, dict[str, str]]] = {
    "after the softmax": (after, {"mask": "after-softmax"}),
    "ignored": (masked(lambda scores, _: scores), {"mask": "ignored"}),
    "multiplied": (masked(torch.mul), {"mask": "other"}),
    "a small number": (filled(-3.0), {"mask": "other"}),
    "inverted": (PartSubject(HIDE, {"mask": "allow"}), {"mask": "inverted"}),
    "inverted, the other way": (PartSubject(ALLOW, {"mask": "hide"}), {"mask": "inverted"}),
    "-1e4": (filled(-1e4), {"finite-mask": "finite"}),
    "-100": (filled(-100.0), {"finite-mask": "finite"}),
    "-1e4, by numbers": (masked(lambda scores, mask: scores + (1.0 - mask) * -1e4), {"finite-mask": "finite"}),
    "an empty row": (filled(-math.inf), {"empty-row": "nan"}),
    "an empty row, NaN replaced": (nan_replaced, {"empty-row": "nan-gradient"}),
}


@pytest.mark.parametrize("style", SOUND)
def test_a_sound_mask_passes_and_its_convention_is_reported(style: str, causes: Causes, outcomes: Outcomes):
    target, message = SOUND[style]
    assert causes("attention", target) == {}
    assert outcomes("attention", target)["mask"].notes[0].startswith(message)


@pytest.mark.parametrize("bug", WRONG)
def test_a_misused_mask_is_caught_and_named(bug: str, causes: Causes):
    target, expected = WRONG[bug]
    assert causes("attention", target) == expected


def test_mask_checks_do_not_apply_to_attention_without_a_mask(outcomes: Outcomes):
    found = outcomes("attention", lambda q, k, v: attention(q, k, v))
    assert found["mask"].status == "does not apply"
    assert "takes no mask" in found["mask"].case


def test_the_output_of_an_empty_row_is_reported(outcomes: Outcomes):
    assert outcomes("attention", attention)["empty-row"].notes == ("it gets zeros",)
    assert outcomes("attention", ALLOW)["empty-row"].notes == ("it gets a mean of values, including hidden ones",)
