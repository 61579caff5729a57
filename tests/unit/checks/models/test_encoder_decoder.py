"""The checks of encoder-decoders pass a correct model, and name each planted bug."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from clearformer.checks.models.catalogue import CHECKS
from clearformer.checks.models.run import run_check
from clearformer.checks.outcome import Outcome
from clearformer.checks.subject import Subject

SAME = 1e-5
"""float32, products of other shapes: at most 2e-6 standard deviations in these models; the tolerance is 1e-4"""
NAMES = [name.removeprefix("encoder-decoder.") for name in CHECKS if name.startswith("encoder-decoder.")]


class Attention(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.q, self.kv = nn.Linear(width, width), nn.Linear(width, 2 * width)

    def forward(self, x: Tensor, memory: Tensor, mask: Tensor) -> Tensor:
        k, v = self.kv(memory).chunk(2, dim=-1)
        scores = self.q(x) @ k.transpose(-1, -2) / k.shape[-1] ** 0.5
        return x + scores.masked_fill(~mask, -1e9).softmax(-1) @ v


class Encoder(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Attention(width) for _ in range(2))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x, x, mask)
        return x


class Tiny(nn.Module):
    """A bug overrides a method."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.embedding, self.positions = nn.Embedding(23, width), nn.Embedding(16, width)
        self.encoder = Encoder(width)
        self.attention, self.cross = Attention(width), Attention(width)
        self.output = nn.Linear(width, 23)

    def forward(self, source: Tensor, tokens: Tensor, source_real: Tensor, real: Tensor) -> Tensor:
        x, y = self.embed(source), self.embed(tokens)
        memory = self.encode(x, y, source_real)
        y = self.attention(y, y, self.causal(real))
        return self.output(self.cross_attend(y, memory, source_real))

    def embed(self, tokens: Tensor) -> Tensor:
        return self.embedding(tokens) + self.positions(torch.arange(tokens.shape[1]))

    def causal(self, real: Tensor) -> Tensor:
        return torch.ones(real.shape[1], real.shape[1]).tril().bool() & real[:, None]

    def encode(self, x: Tensor, _y: Tensor, real: Tensor) -> Tensor:
        return self.encoder(x, real[:, None])

    def cross_attend(self, y: Tensor, memory: Tensor, source_real: Tensor) -> Tensor:
        return self.cross(y, memory, source_real[:, None])


def with_(**methods: Callable[..., Tensor]) -> type[Tiny]:
    """A subclass with these methods."""
    return type("Planted", (Tiny,), methods)


def causal_cross(model: Tiny, y: Tensor, memory: Tensor, source_real: Tensor) -> Tensor:
    return model.cross(y, memory, torch.ones(y.shape[1], memory.shape[1]).tril().bool() & source_real[:, None])


def first_without_source(model: Tiny, y: Tensor, memory: Tensor, source_real: Tensor) -> Tensor:
    return torch.cat((y[:, :1], Tiny.cross_attend(model, y, memory, source_real)[:, 1:]), dim=1)


def first_8(real: Tensor) -> Tensor:
    return real & (torch.arange(real.shape[1]) < 8)


WITHOUT_SOURCE = with_(cross_attend=lambda model, y, memory, real: Tiny.cross_attend(model, y, 0 * memory, real))
# the encoder is causal too; otherwise it would carry what the cross-attention hides
CAUSAL_CROSS = with_(cross_attend=causal_cross, encode=lambda model, x, _, real: model.encoder(x, model.causal(real)))
SOURCE_CUT = with_(
    encode=lambda model, x, y, real: Tiny.encode(model, x, y, first_8(real)),
    cross_attend=lambda model, y, memory, real: Tiny.cross_attend(model, y, memory, first_8(real)),
)
ENCODER_SEES_PADDING = {"encode": lambda model, x, y, real: Tiny.encode(model, x, y, torch.ones_like(real))}
CROSS_SEES_PADDING = {
    "cross_attend": lambda model, y, memory, real: Tiny.cross_attend(model, y, memory, torch.ones_like(real))
}
ENCODER_READS_BOTH = with_(encode=lambda model, x, y, real: Tiny.encode(model, x + y.mean(1, keepdim=True), y, real))
ENCODER_READS_TARGET = with_(encode=lambda model, x, y, real: Tiny.encode(model, y[:, : x.shape[1]], y, real))
CROSS_READS_TARGET = with_(
    cross_attend=lambda model, y, memory, real: Tiny.cross_attend(model, y, y[:, : memory.shape[1]], real)
)
NO_CAUSAL_MASK = with_(causal=lambda _, real: real[:, None].expand(-1, real.shape[1], -1))
BUGS = [
    ("source", "source-ignored", WITHOUT_SOURCE),
    ("source", "causal-cross", CAUSAL_CROSS),
    ("source", "source-cut", SOURCE_CUT),
    ("source", "some-positions", with_(cross_attend=first_without_source)),
    ("source-padding", "encoder-padding", with_(**ENCODER_SEES_PADDING)),
    ("source-padding", "cross-padding", with_(**CROSS_SEES_PADDING)),
    ("source-padding", "mask-ignored", with_(**ENCODER_SEES_PADDING, **CROSS_SEES_PADDING)),
    ("encoder", "encoder-reads-target", ENCODER_READS_BOTH),
    ("encoder", "encoder-reads-target", ENCODER_READS_TARGET),
    ("encoder", "target-for-source", CROSS_READS_TARGET),
]


def real_of(tokens: Tensor) -> Tensor:
    return torch.ones_like(tokens).bool()


def subject(model: nn.Module, **changes: Any) -> Subject:
    base = Subject(
        model,
        call=lambda model, source, tokens: model(source, tokens, real_of(source), real_of(tokens)),
        kind="encoder-decoder",
        vocab_size=23,
        context=16,
        padded=lambda model, source, tokens, source_real, real: model(source, tokens, source_real, real),
    )
    return dataclasses.replace(base, **changes)


def outcome(name: str, subject: Subject, seed: int = 1) -> Outcome:
    return run_check(subject, CHECKS[f"encoder-decoder.{name}"], seed)


@pytest.mark.parametrize("name", NAMES)
def test_a_correct_model_passes(name: str):
    for seed in (1, 2, 3):
        found = outcome(name, subject(Tiny()), seed)
        assert (found.status, found.cause) == ("passed", "")
        assert found.measured < SAME


@pytest.mark.parametrize(("name", "cause", "planted"), BUGS)
def test_each_bug_is_caught_and_named(name: str, cause: str, planted: type[Tiny]):
    found = outcome(name, subject(planted()))
    assert (found.status, found.cause) == ("failed", cause), found
    assert found.measured > found.tolerance


def test_a_model_that_recognises_padding_by_its_token_passes():
    by_token = subject(
        Tiny(),
        reserved=(0,),
        padded=lambda model, source, tokens, _source_real, real: model(source, tokens, source != 0, real),
    )
    assert outcome("source-padding", by_token).status == "passed"


def as_function(model: Tiny) -> Subject:
    """A subject in which the encoder is no module that the check could watch."""
    return subject(None, call=lambda _, source, tokens: model(source, tokens, real_of(source), real_of(tokens)))


def test_without_an_encoder_module_the_missing_influence_of_the_source_reveals_the_target():
    assert outcome("encoder", as_function(ENCODER_READS_TARGET())).cause == "target-for-source"


def test_a_missing_causal_mask_is_not_blamed_on_the_encoder():
    assert outcome("encoder", subject(NO_CAUSAL_MASK())).status == "passed"
    found = outcome("encoder", as_function(NO_CAUSAL_MASK()))
    assert found.status == "does not apply"
    assert "see masks.future" in found.case
