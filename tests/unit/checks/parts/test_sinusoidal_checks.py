"""Sinusoidal positions in several styles pass, and every wrong table is caught and named."""
# ruff: noqa: N803  # T and D are the letters of clearformer/shapes.py

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from clearformer.blocks.positions import LearnedPositions, SinusoidalPositions, sinusoidal
from clearformer.checks.outcome import Outcome
from clearformer.checks.parts.probe import PartSubject

Causes = Callable[..., dict[str, str]]
Outcomes = Callable[..., dict[str, Outcome]]


def paper(T: int, D: int, base: float = 10_000.0, exponent: float = 2.0, start: int = 0) -> Tensor:
    """The paper's formula, in loops."""
    table = torch.zeros(T, D)
    for p in range(T):
        for i in range(D // 2):
            angle = (p + start) / base ** (exponent * i / D)
            table[p, 2 * i], table[p, 2 * i + 1] = math.sin(angle), math.cos(angle)
    return table


def tensor2tensor(T: int, D: int) -> Tensor:
    step = math.log(10_000) / (D // 2 - 1)
    angles = torch.arange(T)[:, None] * torch.exp(-step * torch.arange(D // 2))
    return torch.cat((angles.sin(), angles.cos()), dim=1)


def halves(T: int, D: int) -> Tensor:
    table = paper(T, D)
    return torch.cat((table[:, ::2], table[:, 1::2]), dim=1)


def own_frequencies(T: int, D: int, factor: float = 1.0) -> Tensor:
    j = torch.arange(D)
    angles = torch.arange(T)[:, None] / 10_000 ** (factor * j / D)
    return torch.where(j % 2 == 0, angles.sin(), angles.cos())


class Tutorial(nn.Module):
    """As PyTorch's tutorial has it: x is [T, B, D]."""

    def __init__(self, width: int = 32, dropout: float = 0.1) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.register_buffer("pe", paper(50, width)[:, None])

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(x + self.pe[: x.shape[0]])


class Adds(nn.Module):
    """As the Annotated Transformer has it; `combine(x, table)` is the output."""

    def __init__(self, combine: Callable[[Tensor, Tensor], Tensor] = torch.add, width: int = 24) -> None:
        super().__init__()
        self.combine = combine
        self.register_buffer("pe", paper(40, width)[None])

    def forward(self, x: Tensor) -> Tensor:
        return self.combine(x, self.pe[:, : x.shape[1]])


SOUND = {
    "clearformer formula": sinusoidal,
    "clearformer": SinusoidalPositions(60, 24),
    "by hand": paper,
    "width first": lambda d, n: paper(n, d),
    "with an axis for the batch": lambda n, d: paper(n, d)[None],
    "halves": halves,
    "tensor2tensor": tensor2tensor,
    "cosines first": lambda n, d: paper(n, d).unflatten(1, (-1, 2)).flip(-1).flatten(1),
    "tutorial": Tutorial(),
    "adds": Adds(),
    "adds to x sqrt(d)": Adds(lambda x, pe: x * 24**0.5 + pe),
    "returns the table": Adds(lambda x, pe: pe + 0 * x),
    "another base, declared": PartSubject(lambda n, d: paper(n, d, base=500.0), {"base": 500}),
}
WRONG: dict[str, tuple[object, dict[str, str]]] = {
    "base": (lambda n, d: paper(n, d, base=1000.0), {"frequencies": "base"}),
    "exponent doubled": (lambda n, d: paper(n, d, exponent=4.0), {"frequencies": "exponent-doubled"}),
    "exponent halved": (lambda n, d: paper(n, d, exponent=1.0), {"frequencies": "exponent-halved"}),
    "scaled": (lambda n, d: paper(2 * n, d)[::2], {"frequencies": "scaled"}),
    "starts at 1": (lambda n, d: paper(n, d, start=1), {"start": "starts-at-1"}),
    "starts at 2": (lambda n, d: paper(n, d, start=2), {"start": "start"}),
    "halves, starts at 1": (lambda n, d: halves(n + 1, d)[1:], {"start": "starts-at-1"}),
    "own frequencies": (own_frequencies, {"layout": "own-frequencies"}),
    "own frequencies, doubled": (lambda n, d: own_frequencies(n, d, 2.0), {"layout": "own-frequencies"}),
    "only sines": (lambda n, d: paper(n, d)[:, ::2].repeat_interleave(2, 1), {"layout": "only-sines"}),
    "only cosines": (lambda n, d: paper(n, d)[:, 1::2].repeat_interleave(2, 1), {"layout": "only-cosines"}),
    "learned": (LearnedPositions(60, 24), {"layout": "other"}),
    "from the end": (lambda n, d: paper(n, d).flip(0), {"length": "depends-on-length"}),
    "divided by the length": (
        lambda n, d: sinusoidal(torch.arange(n), d)[:1].expand(n, d) if n < 12 else paper(n, d),
        {"length": "depends-on-length"},
    ),
    "multiplied": (Adds(lambda x, pe: (1 + x) * pe), {"added": "x-changed"}),
    "in place": (Adds(lambda x, pe: x.add_(pe)), {"input": "in-place"}),
    "dropout": (Adds(lambda x, pe: nn.functional.dropout(x + pe, 0.5)), {"repeatable": "dropout"}),
    "the other layout": (PartSubject(halves, {"layout": "interleaved"}), {"layout": "layout"}),
    "the other base": (PartSubject(paper, {"base": 500}), {"frequencies": "base"}),
}


@pytest.mark.parametrize("style", SOUND)
def test_a_sound_table_passes_in_any_style(style: str, causes: Causes):
    assert causes("sinusoidal", SOUND[style]) == {}


@pytest.mark.parametrize("bug", WRONG)
def test_a_wrong_table_is_caught_and_named(bug: str, causes: Causes):
    target, expected = WRONG[bug]
    found = causes("sinusoidal", target)
    assert expected.items() <= found.items()
    if bug not in ("dropout", "from the end"):  # the first makes every number wrong, the second is also a wrong start
        assert found == expected


@pytest.mark.parametrize(
    ("style", "name", "note"),
    [
        ("tutorial", "layout", "layout: interleaved; called with x of [T, B, D]"),
        ("halves", "layout", "layout: halves; called with length, width"),
        ("tensor2tensor", "frequencies", "base 10000, exponent i/(D/2 - 1)"),
        ("adds to x sqrt(d)", "added", "x sqrt(D) is added"),
    ],
)
def test_a_passed_check_notes_the_convention(style: str, name: str, note: str, outcomes: Outcomes):
    assert outcomes("sinusoidal", SOUND[style])[name].notes == (note,)
