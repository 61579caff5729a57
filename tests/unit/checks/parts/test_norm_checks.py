"""Norms in several styles pass, and every wrong formula is caught and named."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clearformer.blocks.norm import LayerNorm, RMSNorm, layer_norm, rms_norm
from clearformer.checks.outcome import Outcome
from clearformer.checks.parts.probe import PartSubject

Causes = Callable[..., dict[str, str]]
Formula = Callable[[Tensor], Tensor]


def mean(x: Tensor) -> Tensor:
    return x.mean(-1, keepdim=True)


def variance(x: Tensor) -> Tensor:
    return mean((x - mean(x)) ** 2)


class OnePlus(nn.Module):
    """As in Gemma: the factor is 1 + weight, and the weight is initially 0."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1, 1, 24))

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(mean(x**2) + 1e-6) * (1 + self.weight)


class LengthNorm(nn.Module):
    """RMSNorm as a vector of length sqrt(D)."""

    def __init__(self) -> None:
        super().__init__()
        self.g = nn.Parameter(torch.full((20,), 3.0))

    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(x, dim=-1) * 20**0.5 * self.g


def right_layer(x: Tensor) -> Tensor:
    return (x - mean(x)) / torch.sqrt(variance(x) + 1e-5)


def right_rms(x: Tensor) -> Tensor:
    return x / torch.sqrt(mean(x**2) + 1e-5)


WEIGHTED = {
    "": lambda x, gain, shift: right_layer(x) * gain + shift,
    "weight-before": lambda x, gain, shift: right_layer(x * gain + shift),
    "bias-first": lambda x, gain, shift: (right_layer(x) + shift) * gain,
    "ignored": lambda x, *_: right_layer(x),
}
"""the first is right; of the others, the cause that is named"""


class Weighted(nn.Module):
    """A norm with a weight and a bias under uncommon names."""

    def __init__(self, form: str = "") -> None:
        super().__init__()
        self.gain, self.shift = nn.Parameter(torch.ones(16)), nn.Parameter(torch.zeros(16))
        self.form = WEIGHTED[form]

    def forward(self, x: Tensor) -> Tensor:
        return self.form(x, self.gain, self.shift)


SOUND_LAYER = {
    "clearformer": lambda: LayerNorm(24),
    "clearformer, trained": lambda: scrambled(LayerNorm(24)),
    "clearformer formula": lambda: lambda x: layer_norm(x, torch.ones(x.shape[-1]), None, 1e-5),
    "torch": lambda: nn.LayerNorm(48),
    "torch, wide": lambda: nn.LayerNorm(1024),
    "torch, BERT's eps": lambda: nn.LayerNorm(32, eps=1e-12),
    "torch, large eps": lambda: nn.LayerNorm(32, eps=1e-3),
    "torch, without bias": lambda: nn.LayerNorm(32, bias=False),
    "torch, without weights": lambda: nn.LayerNorm(32, elementwise_affine=False),
    "functional": lambda: lambda x: F.layer_norm(x, x.shape[-1:]),
    "by hand": lambda: right_layer,
    "by hand, with weights": Weighted,
}
SOUND_RMS = {
    "clearformer": lambda: RMSNorm(24),
    "clearformer, trained": lambda: scrambled(RMSNorm(24)),
    "clearformer formula": lambda: lambda x: rms_norm(x, torch.ones(x.shape[-1]), 1e-5),
    "torch": lambda: nn.RMSNorm(48),
    "by hand": lambda: right_rms,
    "one plus weight": OnePlus,
    "length sqrt(D)": LengthNorm,
    "a least length": lambda: lambda x: F.normalize(x, dim=-1, eps=1e-5) * x.shape[-1] ** 0.5,
}
WRONG_LAYER: dict[str, tuple[Formula, dict[str, str]]] = {
    "unbiased": (
        lambda x: (x - mean(x)) / torch.sqrt(x.var(-1, keepdim=True) + 1e-5),
        {"variance": "unbiased-variance"},
    ),
    "annotated": (
        lambda x: (x - mean(x)) / (x.std(-1, keepdim=True) + 1e-6),
        {"variance": "unbiased-variance", "eps": "eps-outside"},
    ),
    "eps outside": (lambda x: (x - mean(x)) / (variance(x).sqrt() + 1e-5), {"eps": "eps-outside"}),
    "no eps": (lambda x: (x - mean(x)) / variance(x).sqrt(), {"eps": "no-eps"}),
    "large eps": (lambda x: (x - mean(x)) / (variance(x) + 0.01).sqrt(), {"eps": "eps-large"}),
    "no root": (lambda x: (x - mean(x)) / (variance(x) + 1e-5), {"variance": "no-root"}),
    "sum": (
        lambda x: (x - mean(x)) / torch.sqrt(((x - mean(x)) ** 2).sum(-1, keepdim=True) + 1e-5),
        {"variance": "sum"},
    ),
    "mean absolute": (
        lambda x: (x - mean(x)) / ((x - mean(x)).abs().mean(-1, keepdim=True) + 1e-5),
        {"variance": "mean-absolute", "eps": "eps-outside"},
    ),
    "not centred": (
        lambda x: x / torch.sqrt(variance(x) + 1e-5),
        {"centre": "no-centring", "variance": "not-centred"},
    ),
    "is RMSNorm": (right_rms, {"centre": "no-centring"}),
    "over tokens too": (lambda x: F.layer_norm(x, x.shape[1:]), {"axis": "over-tokens"}),
    "over the batch": (lambda x: (x - x.mean(0)) / torch.sqrt(x.var(0, unbiased=False) + 1e-5), {"axis": "over-batch"}),
    "over everything": (lambda x: (x - x.mean()) / torch.sqrt(x.var() + 1e-5), {"axis": "over-all"}),
    "cancellation": (
        lambda x: (x - mean(x)) / torch.sqrt((mean(x**2) - mean(x) ** 2).clamp(min=0) + 1e-5),
        {"large": "cancellation"},
    ),
    "in place": (lambda x: right_layer(x.mul_(2.0)), {"input": "in-place"}),
    "dropout": (lambda x: F.dropout(right_layer(x)), {"repeatable": "dropout"}),
    "not finite": (lambda x: right_layer(x) / 0.0, {"finite": "not-finite"}),
}
WRONG_RMS: dict[str, tuple[Formula, dict[str, str]]] = {
    "is LayerNorm": (right_layer, {"direction": "centred"}),
    "no root": (lambda x: x / (mean(x**2) + 1e-5), {"scale": "no-root"}),
    "sum": (lambda x: x / torch.sqrt((x**2).sum(-1, keepdim=True) + 1e-5), {"scale": "sum"}),
    "D - 1": (
        lambda x: x / torch.sqrt((x**2).sum(-1, keepdim=True) / (x.shape[-1] - 1) + 1e-5),
        {"scale": "unbiased-variance"},
    ),
    "standard deviation": (
        lambda x: x / torch.sqrt(variance(x) + 1e-5),
        {"scale": "standard-deviation"},
    ),
    "mean absolute": (
        lambda x: x / (x.abs().mean(-1, keepdim=True) + 1e-5),
        {"scale": "mean-absolute", "eps": "eps-outside"},
    ),
    "eps outside": (lambda x: x / (mean(x**2).sqrt() + 1e-6), {"eps": "eps-outside"}),
    "no eps": (lambda x: x / mean(x**2).sqrt(), {"eps": "no-eps"}),
    "over tokens": (lambda x: x / torch.sqrt((x**2).mean(1, keepdim=True) + 1e-5), {"axis": "over-tokens"}),
    "no norm": (lambda x: x.clone(), {"scale": "no-norm"}),
}


def scrambled(module: nn.Module) -> nn.Module:
    for parameter in module.parameters():
        nn.init.normal_(parameter)
    return module


def cases(part: str, table: dict[str, Any]) -> list[Any]:
    return [pytest.param(part, case, id=f"{part}: {name}") for name, case in table.items()]


@pytest.mark.parametrize(("part", "make"), [*cases("layer-norm", SOUND_LAYER), *cases("rms-norm", SOUND_RMS)])
def test_a_sound_norm_passes_in_any_style(part: str, make: Callable[[], object], causes: Causes):
    assert causes(part, make()) == {}


@pytest.mark.parametrize(("part", "case"), [*cases("layer-norm", WRONG_LAYER), *cases("rms-norm", WRONG_RMS)])
def test_a_wrong_norm_is_caught_and_its_formula_named(part: str, case: tuple[Formula, dict[str, str]], causes: Causes):
    formula, expected = case
    found = causes(part, formula)
    assert expected.items() <= found.items()
    if not expected.keys() & {"repeatable", "finite"}:  # dropout and NaN make every number wrong
        assert found == expected


@pytest.mark.parametrize("cause", [cause for cause in WEIGHTED if cause])
@pytest.mark.parametrize("trained", [False, True])
def test_misplaced_weights_are_caught_and_named(cause: str, trained: bool, causes: Causes):
    norm = Weighted(cause)
    assert causes("layer-norm", scrambled(norm) if trained else norm)["weight"] == cause


def test_a_factor_of_one_plus_weight_is_reported(outcomes: Callable[..., dict[str, Outcome]]):
    assert outcomes("rms-norm", OnePlus())["weight"].notes == ("1 + weight multiplies",)


def test_an_eps_that_is_not_used_is_caught(causes: Causes):
    norm = Weighted()
    norm.eps = 1e-6
    assert causes("layer-norm", norm) == {"eps": "eps-differs"}
    assert causes("rms-norm", PartSubject(right_rms, {"eps": 1e-6})) == {"eps": "eps-differs"}
    assert causes("rms-norm", PartSubject(right_rms, {"eps": 1e-5})) == {}


def test_eps_is_measured(outcomes: Callable[..., dict[str, Outcome]]):
    assert outcomes("layer-norm", nn.LayerNorm(16, eps=1e-6))["eps"].notes == ("eps is 1e-06",)
