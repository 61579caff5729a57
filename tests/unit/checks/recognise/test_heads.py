"""Logits that `forward` alone does not give: of a head beside it, of a part of it, or with time as the first axis."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clearformer.checks.recognise import recognise
from clearformer.checks.recognise.outputs import extract_logits

V, D, CONTEXT = 19, 8, 12


class Body(nn.Module):
    """Vectors [B, T, D] of tokens that see their past; `time_first`: [T, B] to [T, B, D]."""

    def __init__(self, time_first: bool = False) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(V, D), nn.Embedding(CONTEXT, D)
        self.time_first = time_first

    def forward(self, x: Tensor) -> Tensor:
        x = x.T if self.time_first else x
        y = self.tokens(x) + self.positions(torch.arange(x.shape[1]))
        hidden = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
        y = y + F.softmax((y @ y.transpose(1, 2)).masked_fill(hidden, -torch.inf), dim=-1) @ y
        return y.transpose(0, 1) if self.time_first else y


class WithGenerator(Body):
    """The caller applies `generator`."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = nn.Linear(D, V)


class WithLogits(Body):
    def __init__(self, time_first: bool = False) -> None:
        super().__init__(time_first)
        self.head = nn.Linear(D, V)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(super().forward(x))


class LossOfNet(nn.Module):
    """`forward` is the loss of tokens that it shifts itself."""

    def __init__(self) -> None:
        super().__init__()
        self.net = WithLogits()

    def forward(self, seq: Tensor) -> Tensor:
        return F.cross_entropy(self.net(seq[:, :-1]).transpose(1, 2), seq[:, 1:])


class PositionsByColumn(WithLogits):
    """Attention runs along the rows of the batch, and positions along the columns."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.tokens(x) + self.positions(torch.arange(x.shape[1]))
        y = y.transpose(0, 1)
        return self.head((y + F.softmax(y @ y.transpose(1, 2), dim=-1) @ y).transpose(0, 1))


def logits_of(model: nn.Module) -> tuple[Any, Tensor]:
    """The subject, and the logits that its call gives of random tokens, in the model's own state."""
    subject = recognise(model)
    tokens = torch.randint(V, (2, 5), generator=torch.Generator().manual_seed(0))
    return tokens, subject.call(model, tokens)


def test_head_that_the_caller_applies_is_applied():
    model = WithGenerator()
    tokens, logits = logits_of(model)
    assert torch.equal(logits, model.generator(model(tokens)))
    assert "model.generator(model(tokens))" in recognise(model).name


def test_model_that_gives_its_loss_is_called_by_its_part():
    model = LossOfNet()
    tokens, logits = logits_of(model)
    assert torch.equal(logits, model.net(tokens))
    subject = recognise(model)
    assert subject.loss is not None
    labels = torch.randint(V, (2, 5), generator=torch.Generator().manual_seed(1))
    assert torch.isclose(subject.loss(model, labels, labels), model(labels))


def test_tokens_with_time_as_the_first_axis_are_turned():
    model = WithLogits(time_first=True)
    tokens, logits = logits_of(model)
    assert torch.equal(logits, model(tokens.T).transpose(0, 1))
    assert "[T, B]" in recognise(model).name


def test_axes_that_are_confused_in_one_place_are_left_as_they_are():
    assert "[T, B]" not in recognise(PositionsByColumn()).name


class NamedOutputs(WithLogits):
    def forward(self, x: Tensor) -> Any:
        return {"features": Body.forward(self, x), "lm_logits": super().forward(x)}


class OneBatch(WithLogits):
    def forward(self, batch: Any) -> Tensor:
        return super().forward(batch["input_ids"])


class TwoSentences(WithLogits):
    """Which sentence a token is of has to be said, and is no label."""

    def __init__(self) -> None:
        super().__init__()
        self.segments = nn.Embedding(2, V)

    def forward(self, x: Tensor, segment_label: Tensor) -> Tensor:
        return super().forward(x) + self.segments(segment_label)


@pytest.mark.parametrize("family", [NamedOutputs, OneBatch, TwoSentences])
def test_logits_under_another_name_or_of_a_batch_or_with_segments_are_found(family: type[WithLogits]):
    model = family()
    tokens, logits = logits_of(model)
    expected = WithLogits.forward(model, tokens)
    assert torch.equal(extract_logits(logits), expected + (model.segments.weight[0] if family is TwoSentences else 0))
