"""Rotary positions in both layouts and several styles pass, and every wrong rotation is caught and named."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from clearformer.blocks.rotary import RotaryPositions, rotary
from clearformer.checks.outcome import Outcome
from clearformer.checks.parts.probe import PartSubject

Causes = Callable[..., dict[str, str]]
Outcomes = Callable[..., dict[str, Outcome]]


def angles(x: Tensor, offset: float = 0, base: float = 10_000.0, exponent: float = 2.0) -> Tensor:
    """[T, E/2], of x [..., T, E]."""
    length, width = x.shape[-2:]
    return (torch.arange(length) + offset)[:, None] * base ** (-exponent * torch.arange(width // 2) / width)


def interleaved(x: Tensor, turn: Tensor, sign: float = 1.0) -> Tensor:
    """The paper's layout: neighbours are a pair."""
    a, b = x[..., ::2], x[..., 1::2]
    cos, sin = turn.cos(), turn.sin()
    return torch.stack((a * cos - sign * b * sin, b * cos + a * sin), dim=-1).flatten(-2)


def half_split(x: Tensor, turn: Tensor, sign: float = 1.0) -> Tensor:
    a, b = x.chunk(2, dim=-1)
    cos, sin = turn.cos(), turn.sin()
    return torch.cat((a * cos - sign * b * sin, b * cos + a * sin), dim=-1)


def plain(turned: Callable[..., Tensor], start: int = 0, sign: float = 1.0, **changes: float) -> Callable[..., Tensor]:
    """(x, offset) -> x."""
    return lambda x, offset=0: turned(x, angles(x, offset + start, **changes), sign)


halves = plain(half_split)


def llama(q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
    """Meta's: [B, T, H, E], as complex numbers."""
    turns = torch.polar(torch.ones(()), angles(q.transpose(1, 2), base=500_000.0))[:, None]

    def turned(x: Tensor) -> Tensor:
        pairs = torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2).contiguous())
        return torch.view_as_real(pairs * turns).flatten(-2)

    return turned(q), turned(k)


class HuggingFace(nn.Module):
    """Queries and keys, half-split, with positions [B, T]."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.register_buffer("inv_freq", 10_000.0 ** (-torch.arange(0, width, 2) / width))

    def forward(self, q: Tensor, k: Tensor, position_ids: Tensor) -> tuple[Tensor, Tensor]:
        turn = (position_ids[:, None, :, None] * self.inv_freq).repeat(1, 1, 1, 2)

        def rotated(x: Tensor) -> Tensor:
            return torch.cat((-x[..., x.shape[-1] // 2 :], x[..., : x.shape[-1] // 2]), dim=-1)

        return tuple(x * turn.cos() + rotated(x) * turn.sin() for x in (q, k))  # type: ignore[return-value]


def partly(x: Tensor, offset: int = 0) -> Tensor:
    """GPT-NeoX's: only a quarter of the elements is rotated."""
    rotated, rest = x.tensor_split([x.shape[-1] // 4], dim=-1)
    return torch.cat((halves(rotated, offset), rest), dim=-1)


def mixed(x: Tensor, offset: int = 0) -> Tensor:
    """Pairs are halves, and angles are laid out for neighbours."""
    turn = angles(x, offset).repeat_interleave(2, -1)
    a, b = x.chunk(2, dim=-1)
    return x * turn.cos() + torch.cat((-b, a), dim=-1) * turn.sin()


SOUND = {
    "clearformer formula": rotary,
    "clearformer": RotaryPositions(64, 24),
    "interleaved": plain(interleaved),
    "half-split": halves,
    "without offset": lambda x: halves(x),
    "three axes": lambda x, offset: halves(x.reshape(x.shape[0], *x.shape[-2:]), offset),
    "llama": llama,
    "hugging face": HuggingFace(),
    "partly": partly,
    "the other way": lambda x, offset=0: half_split(x, -angles(x, offset)),
    "a small base, declared": PartSubject(plain(half_split, base=100.0), {"base": 100}),
    "a layout, declared": PartSubject(plain(interleaved), {"layout": "interleaved"}),
}
WRONG: dict[str, tuple[object, dict[str, str]]] = {
    "sign": (plain(half_split, sign=-1.0), {"norm": "sign", "relative": "absolute"}),
    "sign, interleaved": (plain(interleaved, sign=-1.0), {"norm": "sign", "relative": "absolute"}),
    "mixed layouts": (mixed, {"norm": "mixed-layouts", "relative": "absolute"}),
    "longer": (lambda x, offset=0: 2 * halves(x, offset), {"norm": "scaled"}),
    "no sine": (
        lambda x, offset=0: x * angles(x, offset).cos().repeat(1, 2),
        {"layout": "no-sine", "relative": "absolute"},
    ),
    "nothing": (lambda x: x.clone(), {"layout": "unturned", "relative": "positions-ignored"}),
    "starts at 1": (plain(half_split, start=1), {"start": "starts-at-1"}),
    "starts at 5": (plain(interleaved, start=5), {"start": "start"}),
    "base": (plain(half_split, base=1000.0), {"frequencies": "base"}),
    "exponent doubled": (plain(half_split, exponent=4.0), {"frequencies": "exponent-doubled"}),
    "exponent halved": (plain(half_split, exponent=1.0), {"frequencies": "exponent-halved"}),
    "scaled": (lambda x, offset=0: half_split(x, angles(x, offset) / 2), {"frequencies": "scaled"}),
    "offset ignored": (lambda x, offset: halves(x, 0 * offset), {"offset": "offset-ignored"}),
    "offset one too few": (lambda x, offset=0: halves(x, max(offset - 1, 0)), {"offset": "off-by-one"}),
    "offset doubled": (lambda x, offset=0: halves(x, 2 * offset), {"offset": "other"}),
    "positions ignored": (lambda x, positions: halves(x, 0 * len(positions)), {"offset": "offset-ignored"}),
    "only queries": (lambda q, k, offset=0: (halves(q, offset), k), {"both": "only-queries", "relative": "absolute"}),
    "only keys": (lambda q, k, offset=0: (q, halves(k, offset)), {"both": "only-keys"}),
    "keys one further": (lambda q, k, offset=0: (halves(q, offset), halves(k, offset + 1)), {"both": "differ"}),
    "the other layout": (PartSubject(halves, {"layout": "interleaved"}), {"layout": "layout"}),
    "the other base": (PartSubject(halves, {"base": 500_000}), {"frequencies": "base"}),
    "in place": (lambda x, offset=0: halves(x.mul_(1.5), offset) / 1.5, {"input": "in-place"}),
}


@pytest.mark.parametrize("style", SOUND)
def test_a_sound_rotation_passes_in_any_style(style: str, causes: Causes):
    assert causes("rotary", SOUND[style]) == {}


@pytest.mark.parametrize("bug", WRONG)
def test_a_wrong_rotation_is_caught_and_named(bug: str, causes: Causes):
    target, expected = WRONG[bug]
    found = causes("rotary", target)
    assert expected.items() <= found.items()
    if bug != "only keys":  # the checks measure the queries' rotations, and there are none
        assert found == expected


def test_the_layout_is_reported(outcomes: Outcomes):
    for style, note in {
        "llama": "interleaved; called with q, k as [B, T, H, E]",
        "hugging face": "half-split; called with q, k, positions [B, T] as [B, H, T, E]",
        "partly": "half-split; called with x, offset as [B, H, T, E]; only the first 4 of 16 elements are rotated",
    }.items():
        assert outcomes("rotary", SOUND[style])["layout"].notes[0] == note
    assert outcomes("rotary", llama)["frequencies"].notes == ("base 5e+05",)


def test_the_formula_used_here_is_that_of_complex_numbers():
    x = torch.tensor([[[[0.0, 0.0], [3.0, 4.0]]]])
    turned = (3 + 4j) * complex(math.cos(1), math.sin(1))
    for layout in (interleaved, half_split):
        assert plain(layout)(x)[0, 0, 1].tolist() == pytest.approx([turned.real, turned.imag], abs=1e-6)
