"""The checks of batches and padding pass a correct model, and name each planted bug."""

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from clearformer.checks.explain.padding import row_differences
from clearformer.checks.models.catalogue import CHECKS
from clearformer.checks.models.run import run_check
from clearformer.checks.outcome import Outcome
from clearformer.checks.subject import Kind, Subject
from clearformer.config import BERTConfig, ClassifierConfig
from clearformer.models.bert import BERT
from clearformer.models.classifier import Classifier

PAD = 0
SAME = 1e-5
"""float32, products of other shapes: at most 2e-6 standard deviations in these models; the tolerance is 1e-4"""
NAMES = [name.removeprefix("batches.") for name in CHECKS if name.startswith("batches.")]
KINDS: tuple[Kind, ...] = ("causal", "bidirectional", "classifier")


class Tiny(nn.Module):
    """Two layers of attention over tokens of which `real` are real. Bugs override methods."""

    def __init__(self, kind: Kind = "causal", width: int = 16) -> None:
        super().__init__()
        self.kind = kind
        self.embedding = nn.Embedding(23, width)
        self.positions = nn.Embedding(16, width)
        self.layers = nn.ModuleList(nn.Linear(width, 3 * width) for _ in range(2))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.output = nn.Linear(width, 23)

    def forward(self, tokens: Tensor, real: Tensor | None = None) -> Tensor:
        is_real = torch.ones_like(tokens).bool() if real is None else real
        x = self.mix(self.embed(tokens, is_real) + self.positions(self.positions_of(is_real)))
        for layer, norm in zip(self.layers, self.norms, strict=True):
            q, k, v = layer(norm(x)).view(*x.shape[:2], 3, 2, -1).permute(2, 0, 3, 1, 4)
            x = x + self.attend(q, k, v, self.mask(is_real, real is not None)[:, None]).transpose(1, 2).flatten(2)
        return self.output(self.pool(x, is_real) if self.kind == "classifier" else x)

    def embed(self, tokens: Tensor, _real: Tensor) -> Tensor:
        return self.embedding(tokens)

    def mix(self, x: Tensor) -> Tensor:
        return x

    def attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
        scores = (q @ k.transpose(-1, -2) / k.shape[-1] ** 0.5).masked_fill(~mask, -torch.inf)
        return scores.softmax(-1).nan_to_num() @ v

    def positions_of(self, real: Tensor) -> Tensor:
        return (real.long().cumsum(-1) - 1).clamp(min=0)

    def causal(self, T: int) -> Tensor:  # noqa: N803
        every = torch.ones(T, T).bool()
        return every.tril() if self.kind == "causal" else every

    def mask(self, real: Tensor, _masked: bool) -> Tensor:
        return self.causal(real.shape[1]) & real[:, None]

    def pool(self, x: Tensor, real: Tensor) -> Tensor:
        return (x * real[..., None]).sum(1) / real.sum(1, keepdim=True)


class MeanOfBatch(Tiny):
    def mix(self, x: Tensor) -> Tensor:
        return x + x.mean(0)


class BatchSecond(Tiny):
    """Attention along the batch, as nn.MultiheadAttention's without batch_first=True."""

    def attend(self, q: Tensor, k: Tensor, v: Tensor, _mask: Tensor) -> Tensor:
        q, k, v = (x.permute(2, 1, 0, 3) for x in (q, k, v))
        return super().attend(q, k, v, torch.ones(1).bool()).permute(2, 1, 0, 3)


class ByRow(Tiny):
    def mix(self, x: Tensor) -> Tensor:
        return x + torch.arange(len(x))[:, None, None] / 10


class OneRow(Tiny):
    """Attention has another scale in a batch of one row, as after a wrong squeeze."""

    def attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
        return super().attend(q * (2.0 if len(q) == 1 else 1.0), k, v, mask)


class Random(Tiny):
    def mix(self, x: Tensor) -> Tensor:
        return nn.functional.dropout(x, 0.1, training=True)


class Inverted(Tiny):
    def mask(self, real: Tensor, masked: bool) -> Tensor:
        return super().mask(~real if masked else real, masked)


class NaNSpreads(Tiny):
    """A padding token attends to nothing, and its NaN is a value in the next layer."""

    def attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
        scores = (q @ k.transpose(-1, -2) / k.shape[-1] ** 0.5).masked_fill(~mask, -torch.inf)
        return scores.softmax(-1) @ v

    def mask(self, real: Tensor, masked: bool) -> Tensor:
        return super().mask(real, masked) & real[..., None]


class PaddingForCausality(Tiny):
    def mask(self, real: Tensor, masked: bool) -> Tensor:
        return real[:, None].expand(-1, real.shape[1], -1) if masked else super().mask(real, masked)


class ScaledIfMasked(Tiny):
    def mask(self, real: Tensor, masked: bool) -> Tensor:
        self.factor = 1.3 if masked else 1.0
        return super().mask(real, masked)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
        return super().attend(q * self.factor, k, v, mask)


class Ignored(Tiny):
    def forward(self, tokens: Tensor, real: Tensor | None = None) -> Tensor:
        return super().forward(tokens, None if real is None else torch.ones_like(real))


class QueriesMasked(Tiny):
    def mask(self, real: Tensor, _masked: bool) -> Tensor:
        return self.causal(real.shape[1]) & real[..., None]


class ZerosAttended(Tiny):
    """Padding embeddings are zeroed, which does not change a softmax: they are still attended to."""

    def embed(self, tokens: Tensor, real: Tensor) -> Tensor:
        return self.embedding(tokens) * real[..., None]

    def mask(self, real: Tensor, _masked: bool) -> Tensor:
        return self.causal(real.shape[1])[None]


class PositionsCountPadding(Tiny):
    def positions_of(self, real: Tensor) -> Tensor:
        return torch.arange(real.shape[1]).expand_as(real)


class MeanOverAll(Tiny):
    def pool(self, x: Tensor, real: Tensor) -> Tensor:
        return (x * real[..., None]).sum(1) / real.shape[1]


def subject(model: nn.Module, **changes: Any) -> Subject:
    whole = Subject(
        model,
        call=lambda model, tokens: model(tokens),
        kind=model.kind,
        vocab_size=23,
        context=16,
        pad=PAD,
        reserved=(PAD,),
        padded=lambda model, tokens, real: model(tokens, real),
        sides=("right", "left"),
    )
    return dataclasses.replace(whole, **changes)


def outcome(name: str, subject: Subject, seed: int = 1) -> Outcome:
    return run_check(subject, CHECKS[f"batches.{name}"], seed)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NAMES)
def test_a_correct_model_passes(name: str, kind: Kind):
    for seed in (1, 2):
        found = outcome(name, subject(Tiny(kind)), seed)
        assert (found.status, found.cause) == ("passed", "")
        assert found.measured < SAME


@pytest.mark.parametrize("name", [name for name in NAMES if name != "left-padding"])
@pytest.mark.parametrize(("make", "config"), [(BERT, BERTConfig), (Classifier, ClassifierConfig)])
def test_this_projects_models_pass(name: str, make: Any, config: Any):
    model = make(config(vocab_size=23, context=16, d_model=16, num_heads=2, num_layers=2, d_ff=32))
    model.kind = "bidirectional" if make is BERT else "classifier"
    ours = subject(
        model,
        call=lambda model, tokens: model(tokens, torch.ones_like(tokens).bool(), torch.zeros_like(tokens)),
        padded=lambda model, tokens, real: model(tokens, real, torch.zeros_like(tokens)),
        sides=("right",),
    )
    found = outcome(name, ours)
    assert found.status == "passed", found
    assert found.measured < SAME


PLANTED: list[tuple[str, type[Tiny], Kind, str]] = [
    ("independent", MeanOfBatch, "causal", "rows-mixed"),
    ("independent", MeanOfBatch, "classifier", "rows-mixed"),
    ("independent", BatchSecond, "bidirectional", "axes-swapped"),
    ("independent", OneRow, "causal", "batch-size"),
    ("independent", Random, "causal", "not-repeatable"),
    ("permuted", ByRow, "causal", "row-number"),
    ("permuted", ByRow, "classifier", "row-number"),
    ("right-padding", Inverted, "bidirectional", "mask-inverted"),
    ("right-padding", Inverted, "causal", "mask-inverted"),
    ("right-padding", NaNSpreads, "bidirectional", "not-finite"),
    ("right-padding", PaddingForCausality, "causal", "causal-mask-lost"),
    ("right-padding", ScaledIfMasked, "bidirectional", "other-path"),
    ("right-padding", Ignored, "bidirectional", "mask-ignored"),
    ("right-padding", Ignored, "classifier", "mask-ignored"),
    ("right-padding", QueriesMasked, "bidirectional", "padding-attended"),
    ("right-padding", ZerosAttended, "bidirectional", "padding-attended"),
    ("right-padding", MeanOverAll, "classifier", "length-counts"),
    ("left-padding", PositionsCountPadding, "causal", "positions-shifted"),
    ("left-padding", PositionsCountPadding, "bidirectional", "positions-shifted"),
    ("left-padding", Ignored, "causal", "mask-ignored"),
    ("left-padding", ZerosAttended, "causal", "padding-attended"),
    ("padding-unseen", QueriesMasked, "bidirectional", "padding-attended"),
    ("padding-unseen", Ignored, "causal", "mask-ignored"),
    ("padding-unseen", Inverted, "bidirectional", "mask-inverted"),
]


@pytest.mark.parametrize(("name", "planted", "kind", "cause"), PLANTED)
def test_each_bug_is_caught_and_named(name: str, planted: type[Tiny], kind: Kind, cause: str):
    found = outcome(name, subject(planted(kind)))
    assert (found.status, found.cause) == ("failed", cause), found
    assert found.measured > found.tolerance


def test_a_failure_names_the_row_and_its_padding():
    found = outcome("left-padding", subject(PositionsCountPadding()))
    assert "tokens with" in found.case
    assert "padding tokens on the left" in found.case
    assert found.notes[0].startswith("by length 12: ")


def test_a_model_that_ignores_padding_on_the_right_is_sound_if_it_is_causal():
    assert all(
        outcome(name, subject(Ignored(), sides=("right",))).status == "passed"
        for name in ("right-padding", "padding-unseen")
    )


def test_a_model_that_recognises_padding_by_its_token_passes_and_is_not_checked_with_other_tokens():
    by_token = subject(Tiny("bidirectional"), padded=lambda model, tokens, _real: model(tokens, tokens != PAD))
    assert outcome("right-padding", by_token).status == "passed"
    assert outcome("padding-unseen", by_token).case.startswith("the model recognises padding by its token")


def test_an_unsupported_side_is_not_checked():
    found = outcome("left-padding", subject(Tiny(), sides=("right",)))
    assert found.status == "does not apply"
    assert "sides=('left', 'right')" in found.case


def test_a_row_of_equal_logits_is_measured_by_the_deviation_of_all_rows():
    # of (5, 5), whose own deviation is 0, one changes by 1; that of the eight logits (5, 5, 0, 10, ...) is 4.6
    rows = [torch.tensor([[5.0, 5.0]]), *(torch.tensor([[0.0, 10.0]]) for _ in range(3))]
    moved = [torch.tensor([[5.0, 6.0]]), *rows[1:]]
    assert row_differences(moved, rows) == pytest.approx([1 / (150 / 7) ** 0.5, 0, 0, 0], rel=0.02)


@pytest.mark.parametrize("name", NAMES)
def test_a_constant_passes_and_nan_is_reported_as_such(name: str):
    def constant(value: float) -> Subject:
        return subject(
            Tiny(),
            call=lambda _model, tokens: torch.full((*tokens.shape, 23), value),
            padded=lambda _model, tokens, _real: torch.full((*tokens.shape, 23), value),
        )

    assert outcome(name, constant(0.0)).status == "passed"
    assert outcome(name, constant(torch.nan)).cause == "not-finite"
