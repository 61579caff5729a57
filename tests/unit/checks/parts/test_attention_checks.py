"""Attention in several styles passes, and every wrong formula is caught and named."""

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clearformer.blocks.attention import ScaledDotProductAttention, attention
from clearformer.blocks.multihead import MultiHeadAttention
from clearformer.blocks.norm import RMSNorm
from clearformer.blocks.rotary import RotaryPositions
from clearformer.checks.outcome import Outcome
from clearformer.checks.parts.probe import PartSubject

Causes = Callable[..., dict[str, str]]
Outcomes = Callable[..., dict[str, Outcome]]
Core = Callable[..., Tensor]


def annotated(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """As the Annotated Transformer has it: 0 hides, and the weights are returned too."""
    scores = query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])
    weights = (scores if mask is None else scores.masked_fill(mask == 0, -1e9)).softmax(-1)
    return weights @ value, weights


def einsum(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """[B, T, H, E], as flash-attention has it."""
    weights = (torch.einsum("bthe,bshe->bhts", q, k) / q.shape[-1] ** 0.5).softmax(-1)
    return torch.einsum("bhts,bshe->bthe", weights, v)


def of_three_axes(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return torch.bmm((torch.bmm(q, k.transpose(1, 2)) / q.shape[-1] ** 0.5).softmax(2), v)


def core(scale: float = 8**-0.5, dim: int = -1, diagonal: int | None = None, fill: float = -math.inf) -> Core:
    """softmax(q kᵀ scale) v, with a causal mask of its own if `diagonal` is given."""

    def run(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        scores = q @ k.transpose(-2, -1) * scale
        if diagonal is not None:
            scores = scores.where(torch.ones(scores.shape[-2:]).tril(diagonal).bool(), fill)
        return scores.softmax(dim) @ v

    return run


class SelfAttention(nn.Module):
    """Two heads of 8 around a core."""

    def __init__(self, inside: Core, after: Callable[[Tensor], Tensor] = torch.clone) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(16, 48), nn.Linear(16, 16)
        self.inside, self.after = inside, after

    def forward(self, x: Tensor) -> Tensor:
        B, T, _ = x.shape  # noqa: N806
        q, k, v = self.qkv(x).view(B, T, 3, 2, 8).permute(2, 0, 3, 1, 4)
        return self.after(self.out(self.inside(q, k, v).transpose(1, 2).reshape(B, T, 16)))


class WrongReshape(SelfAttention):
    """The rows of the batch are treated as tokens."""

    def forward(self, x: Tensor) -> Tensor:
        B, T, _ = x.shape  # noqa: N806
        return super().forward(x.reshape(1, B * T, 16)).reshape(B, T, 16)


def after_softmax(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    weights = (q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5).softmax(-1)
    return weights.tril() @ v


SOUND = {
    "clearformer formula": lambda: attention,
    "clearformer": ScaledDotProductAttention,
    "clearformer, causal": lambda: ScaledDotProductAttention(causal=True),
    "clearformer, with ALiBi": lambda: ScaledDotProductAttention(alibi_heads=3),
    "torch": lambda: F.scaled_dot_product_attention,
    "annotated": lambda: annotated,
    "einsum": lambda: einsum,
    "three axes": lambda: of_three_axes,
    "causal by hand": lambda: core(diagonal=0),
    "causal, declared": lambda: PartSubject(core(diagonal=0), {"causal": True}),
    "a scale, declared": lambda: PartSubject(core(scale=1.0), {"scale": 1.0}),
    "clearformer module": lambda: MultiHeadAttention(16, 4),
    "clearformer module, causal": lambda: MultiHeadAttention(24, 4, num_kv_heads=2, causal=True),
    "clearformer module, all there is": lambda: MultiHeadAttention(
        32, 4, causal=True, norms=(RMSNorm(8), RMSNorm(8)), positions=RotaryPositions(64, 8)
    ),
    "clearformer module, with ALiBi": lambda: MultiHeadAttention(16, 4, causal=True, positions="alibi"),
    "torch module": lambda: nn.MultiheadAttention(16, 4, batch_first=True, dropout=0.5),
    "torch module in a function": lambda: in_function(nn.MultiheadAttention(16, 4, batch_first=True).eval()),
    "module by hand": lambda: SelfAttention(core()),
    "module by hand, causal": lambda: SelfAttention(core(diagonal=0)),
}
WRONG: dict[str, tuple[Callable[[], object], dict[str, str]]] = {
    "no scale": (lambda: core(scale=1.0), {"scale": "no-scale"}),
    "1/E": (lambda: core(scale=1 / 8), {"scale": "squared"}),
    "sqrt(E)": (lambda: core(scale=8**0.5), {"scale": "inverted"}),
    "1/sqrt(D)": (lambda: core(scale=24**-0.5), {"scale": "model-width"}),
    "1/sqrt(T)": (lambda: core(scale=6**-0.5), {"scale": "length"}),
    "another scale": (lambda: core(scale=0.2), {"scale": "other"}),
    "over queries": (lambda: core(dim=-2), {"softmax": "over-queries"}),
    "over heads": (lambda: core(dim=1), {"softmax": "over-heads", "rows": "heads"}),
    "over the batch": (lambda: core(dim=0), {"softmax": "over-batch", "rows": "rows"}),
    "no softmax": (lambda: lambda q, k, v: q @ k.transpose(-2, -1) @ v, {"softmax": "no-softmax"}),
    "sees ahead": (lambda: core(diagonal=1), {"causal": "sees-ahead"}),
    "not itself": (lambda: core(diagonal=-1, fill=-1e30), {"causal": "not-itself"}),
    "no mask": (lambda: PartSubject(core(), {"causal": True}), {"causal": "no-mask"}),
    "a mask": (lambda: PartSubject(core(diagonal=0), {"causal": False}), {"causal": "other"}),
    "keys for values": (lambda: lambda q, k, _: core()(q, k, k), {"values": "values-unused", "softmax": "no-softmax"}),
    "residual": (lambda: lambda q, k, v: q + core()(q, k, v), {"values": "adds"}),
    "mask after the softmax, inside": (lambda: after_softmax, {"softmax": "no-softmax"}),
    "dropout": (
        lambda: lambda q, k, v: F.scaled_dot_product_attention(q, k, v, dropout_p=0.1),
        {"repeatable": "dropout"},
    ),
    "in place": (lambda: lambda q, k, v: core()(q.mul_(2.0), k / 2, v), {"input": "in-place"}),
    "not finite": (lambda: core(diagonal=-1), {"finite": "not-finite"}),
    "module, no scale": (lambda: SelfAttention(core(scale=1.0)), {"scale": "no-scale"}),
    "module, 1/sqrt(D)": (lambda: SelfAttention(core(scale=1 / 4)), {"scale": "model-width"}),
    "module, over queries": (lambda: SelfAttention(core(dim=-2)), {"softmax": "over-queries"}),
    "module, over heads": (lambda: SelfAttention(core(dim=1)), {"softmax": "over-heads"}),
    "module, sees ahead": (lambda: SelfAttention(core(diagonal=1)), {"causal": "sees-ahead"}),
    "module, not itself": (lambda: SelfAttention(core(diagonal=-1, fill=-1e30)), {"causal": "not-itself"}),
    "module, transposed": (
        lambda: SelfAttention(lambda q, k, v: core(diagonal=0)(q.flip(2), k.flip(2), v.flip(2)).flip(2)),
        {"causal": "transposed"},
    ),
    "module, finite": (lambda: SelfAttention(core(diagonal=0, fill=-1e4)), {"finite-mask": "finite"}),
    "module, mask after the softmax": (lambda: SelfAttention(after_softmax), {"softmax": "after-softmax"}),
    "module, rows for tokens": (lambda: WrongReshape(core()), {"rows": "rows"}),
    "module, sequence first": (lambda: nn.MultiheadAttention(16, 4), {"rows": "sequence-first", "causal": "alone"}),
    "module, dropout": (lambda: SelfAttention(core(), after=F.dropout), {"repeatable": "dropout"}),
}
NOISY = ("dropout", "module, dropout", "not finite")
"""these affect every check"""


def in_function(module: nn.Module) -> Core:
    return lambda x: module(x, x, x)


@pytest.mark.parametrize("style", SOUND)
def test_sound_attention_passes_in_any_style(style: str, causes: Causes):
    assert causes("attention", SOUND[style]()) == {}


@pytest.mark.parametrize("bug", WRONG)
def test_wrong_attention_is_caught_and_named(bug: str, causes: Causes):
    make, expected = WRONG[bug]
    found = causes("attention", make())
    assert expected.items() <= found.items()
    if bug not in NOISY:
        assert found == expected


def test_a_passed_check_notes_the_convention(outcomes: Outcomes):
    assert outcomes("attention", ScaledDotProductAttention(causal=True))["causal"].notes == ("causal",)
    assert outcomes("attention", attention)["causal"].notes == ("every token attends to every token",)
    assert outcomes("attention", MultiHeadAttention(16, 4))["scale"].notes == ("scale 0.5",)
