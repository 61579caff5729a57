"""The checks of encoder-decoders pass a correct model, and name each planted bug."""

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from clearformer.checks.models.catalogue import CHECKS
from clearformer.checks.models.run import run_check
from clearformer.checks.outcome import Outcome
from clearformer.checks.subject import Subject
from clearformer.config import TransformerConfig
from clearformer.models.transformer import Transformer

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
    """Bugs override methods."""

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


class WithoutSource(Tiny):
    def cross_attend(self, y: Tensor, memory: Tensor, source_real: Tensor) -> Tensor:
        return self.cross(y, torch.zeros_like(memory), source_real[:, None])


class CausalCross(Tiny):
    """The encoder is causal too; otherwise it would carry what the cross-attention hides."""

    def encode(self, x: Tensor, _y: Tensor, real: Tensor) -> Tensor:
        return self.encoder(x, self.causal(real))

    def cross_attend(self, y: Tensor, memory: Tensor, source_real: Tensor) -> Tensor:
        return self.cross(y, memory, torch.ones(y.shape[1], memory.shape[1]).tril().bool() & source_real[:, None])


class SourceCut(Tiny):
    def encode(self, x: Tensor, y: Tensor, real: Tensor) -> Tensor:
        return super().encode(x, y, real & (torch.arange(x.shape[1]) < 8))

    def cross_attend(self, y: Tensor, memory: Tensor, source_real: Tensor) -> Tensor:
        return super().cross_attend(y, memory, source_real & (torch.arange(memory.shape[1]) < 8))


class FirstWithoutSource(Tiny):
    def cross_attend(self, y: Tensor, memory: Tensor, source_real: Tensor) -> Tensor:
        return torch.cat((y[:, :1], super().cross_attend(y, memory, source_real)[:, 1:]), dim=1)


class EncoderSeesPadding(Tiny):
    def encode(self, x: Tensor, y: Tensor, real: Tensor) -> Tensor:
        return super().encode(x, y, torch.ones_like(real))


class CrossSeesPadding(Tiny):
    def cross_attend(self, y: Tensor, memory: Tensor, source_real: Tensor) -> Tensor:
        return super().cross_attend(y, memory, torch.ones_like(source_real))


class PaddingIgnored(EncoderSeesPadding, CrossSeesPadding):
    pass


class EncoderReadsBoth(Tiny):
    def encode(self, x: Tensor, y: Tensor, real: Tensor) -> Tensor:
        return super().encode(x + y.mean(1, keepdim=True), y, real)


class EncoderReadsTarget(Tiny):
    def encode(self, x: Tensor, y: Tensor, real: Tensor) -> Tensor:
        return super().encode(y[:, : x.shape[1]], y, real)


class CrossReadsTarget(Tiny):
    def cross_attend(self, y: Tensor, memory: Tensor, source_real: Tensor) -> Tensor:
        return super().cross_attend(y, y[:, : memory.shape[1]], source_real)


class NoCausalMask(Tiny):
    def causal(self, real: Tensor) -> Tensor:
        return real[:, None].expand(-1, real.shape[1], -1)


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


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("positions", ["sinusoidal", "rotary", "alibi"])
def test_this_projects_transformer_passes(name: str, positions: str):
    config = TransformerConfig(
        vocab_size=23, context=16, d_model=16, num_heads=2, num_layers=2, d_ff=32, positions=positions
    )
    found = outcome(name, subject(Transformer(config)))
    assert found.status == "passed", found
    assert found.measured < SAME


PLANTED = [
    ("source", WithoutSource, "source-ignored"),
    ("source", CausalCross, "causal-cross"),
    ("source", SourceCut, "source-cut"),
    ("source", FirstWithoutSource, "some-positions"),
    ("source-padding", EncoderSeesPadding, "encoder-padding"),
    ("source-padding", CrossSeesPadding, "cross-padding"),
    ("source-padding", PaddingIgnored, "mask-ignored"),
    ("encoder", EncoderReadsBoth, "encoder-reads-target"),
    ("encoder", EncoderReadsTarget, "encoder-reads-target"),
    ("encoder", CrossReadsTarget, "target-for-source"),
]


@pytest.mark.parametrize(("name", "planted", "cause"), PLANTED)
def test_each_bug_is_caught_and_named(name: str, planted: type[Tiny], cause: str):
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


def test_without_an_encoder_module_the_missing_influence_of_the_source_reveals_the_target():
    model = EncoderReadsTarget()
    hidden = subject(None, call=lambda _, source, tokens: model(source, tokens, real_of(source), real_of(tokens)))
    assert outcome("encoder", hidden).cause == "target-for-source"


def test_a_missing_causal_mask_is_not_blamed_on_the_encoder():
    assert outcome("encoder", subject(NoCausalMask())).status == "passed"
    model = NoCausalMask()
    hidden = subject(None, call=lambda _, source, tokens: model(source, tokens, real_of(source), real_of(tokens)))
    found = outcome("encoder", hidden)
    assert found.status == "does not apply"
    assert "see masks.future" in found.case
