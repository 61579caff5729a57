"""The checks of batches and padding pass a correct model, and name each planted bug."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clearformer.checks.explain.padding import row_differences
from clearformer.checks.models.catalogue import CHECKS
from clearformer.checks.models.run import run_check
from clearformer.checks.outcome import Outcome
from clearformer.checks.subject import Kind, Subject

PAD = 0
SAME = 1e-5
"""float32, products of other shapes: at most 2e-6 standard deviations in these models; the tolerance is 1e-4"""
NAMES = [name.removeprefix("batches.") for name in CHECKS if name.startswith("batches.")]
KINDS: tuple[Kind, ...] = ("causal", "bidirectional", "classifier")


class Tiny(nn.Module):
    """Two layers of attention over tokens of which `real` are real. A bug overrides a method."""

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


def with_(**methods: Callable[..., Tensor]) -> type[Tiny]:
    """A subclass with these methods."""
    return type("Planted", (Tiny,), methods)


def batch_second(model: Tiny, q: Tensor, k: Tensor, v: Tensor, _mask: Tensor) -> Tensor:
    """Attention along the batch, as nn.MultiheadAttention's without batch_first=True."""
    q, k, v = (x.permute(2, 1, 0, 3) for x in (q, k, v))
    return Tiny.attend(model, q, k, v, torch.ones(1).bool()).permute(2, 1, 0, 3)


def one_row(model: Tiny, q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """Attention has another scale in a batch of one row, as after a wrong squeeze."""
    return Tiny.attend(model, q * (2.0 if len(q) == 1 else 1.0), k, v, mask)


def nan_kept(_: Tiny, q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    scores = (q @ k.transpose(-1, -2) / k.shape[-1] ** 0.5).masked_fill(~mask, -torch.inf)
    return scores.softmax(-1) @ v


def padding_for_causality(model: Tiny, real: Tensor, masked: bool) -> Tensor:
    return real[:, None].expand(-1, real.shape[1], -1) if masked else Tiny.mask(model, real, masked)


def other_path(model: Tiny, tokens: Tensor, real: Tensor | None = None) -> Tensor:
    return Tiny.forward(model, tokens, real) * (1.0 if real is None else 1.3)


MEAN_OF_BATCH = with_(mix=lambda _, x: x + x.mean(0))
BY_ROW = with_(mix=lambda _, x: x + torch.arange(len(x))[:, None, None] / 10)
IGNORED = with_(forward=lambda model, tokens, _real=None: Tiny.forward(model, tokens))
INVERTED = with_(mask=lambda model, real, masked: Tiny.mask(model, ~real if masked else real, masked))
QUERIES_MASKED = with_(mask=lambda model, real, _: model.causal(real.shape[1]) & real[..., None])
# a padding token attends to nothing, and its NaN is a value in the next layer
NAN_SPREADS = with_(attend=nan_kept, mask=lambda *args: Tiny.mask(*args) & args[1][..., None])
# zeroed embeddings of padding do not change a softmax: they are still attended to
ZEROS_ATTENDED = with_(
    embed=lambda model, tokens, real: model.embedding(tokens) * real[..., None],
    mask=lambda model, real, _: model.causal(real.shape[1])[None],
)
COUNTS_PADDING = with_(positions_of=lambda _, real: torch.arange(real.shape[1]).expand_as(real))
# the mask is made from the number of real tokens, and positions count all
AS_IF_ON_THE_RIGHT = with_(
    mask=lambda model, real, _: (
        model.causal(real.shape[1]) & (torch.arange(real.shape[1]) < real.sum(1, keepdim=True))[:, None]
    ),
    positions_of=lambda _, real: torch.arange(real.shape[1]).expand_as(real),
)
BUGS: list[tuple[str, str, Kind, type[Tiny]]] = [
    ("independent", "rows-mixed", "causal", MEAN_OF_BATCH),
    ("independent", "rows-mixed-in-training", "causal", with_(mix=lambda model, x: x - model.training * x.mean(0))),
    ("independent", "rows-mixed", "classifier", MEAN_OF_BATCH),
    ("independent", "axes-swapped", "bidirectional", with_(attend=batch_second)),
    ("independent", "batch-size", "causal", with_(attend=one_row)),
    ("independent", "not-repeatable", "causal", with_(mix=lambda _, x: F.dropout(x, 0.1))),
    ("permuted", "row-number", "causal", BY_ROW),
    ("permuted", "row-number", "classifier", BY_ROW),
    ("right-padding", "mask-inverted", "bidirectional", INVERTED),
    ("right-padding", "mask-inverted", "causal", INVERTED),
    ("right-padding", "not-finite", "bidirectional", NAN_SPREADS),
    ("right-padding", "causal-mask-lost", "causal", with_(mask=padding_for_causality)),
    ("right-padding", "other-path", "bidirectional", with_(forward=other_path)),
    ("right-padding", "mask-ignored", "bidirectional", IGNORED),
    ("right-padding", "mask-ignored", "classifier", IGNORED),
    ("right-padding", "padding-attended", "bidirectional", QUERIES_MASKED),
    ("right-padding", "padding-attended", "bidirectional", ZEROS_ATTENDED),
    ("right-padding", "length-counts", "classifier", with_(pool=lambda _, x, real: (x * real[..., None]).mean(1))),
    ("left-padding", "side-ignored", "causal", AS_IF_ON_THE_RIGHT),
    ("padding-unseen", "side-ignored", "bidirectional", AS_IF_ON_THE_RIGHT),
    ("left-padding", "positions-shifted", "causal", COUNTS_PADDING),
    ("left-padding", "positions-shifted", "bidirectional", COUNTS_PADDING),
    ("left-padding", "mask-ignored", "causal", IGNORED),
    ("left-padding", "padding-attended", "causal", ZEROS_ATTENDED),
    ("padding-unseen", "padding-attended", "bidirectional", QUERIES_MASKED),
    ("padding-unseen", "mask-ignored", "causal", IGNORED),
    ("padding-unseen", "mask-inverted", "bidirectional", INVERTED),
]


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


@pytest.mark.parametrize(("name", "cause", "kind", "planted"), BUGS)
def test_each_bug_is_caught_and_named(name: str, cause: str, kind: Kind, planted: type[Tiny]):
    found = outcome(name, subject(planted(kind)))
    assert (found.status, found.cause) == ("failed", cause), found
    assert found.measured > found.tolerance


def test_a_failure_names_the_row_and_its_padding():
    found = outcome("left-padding", subject(COUNTS_PADDING()))
    assert "tokens with" in found.case
    assert "padding tokens on the left" in found.case
    assert found.notes[0].startswith("by length 12: ")


def test_a_model_that_ignores_padding_on_the_right_is_sound_if_it_is_causal():
    assert all(
        outcome(name, subject(IGNORED(), sides=("right",))).status == "passed"
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
    assert outcome(name, constant(torch.nan)).cause == "logits-not-finite"
