"""Models that require more than tokens, return logits in another shape, or take source and target in one argument."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from clearformer.checks.recognise import recognise
from clearformer.errors import CheckError

V, D, CONTEXT = 11, 8, 12
EXACT = 1e-5
"""float32 sums in another order differ by less than 1e-6 here"""


class Base(nn.Module):
    """Each position has the mean of all up to it."""

    def __init__(self, rows: int = V) -> None:
        super().__init__()
        self.tokens, self.places, self.head = nn.Embedding(rows, D), nn.Embedding(CONTEXT, D), nn.Linear(D, V)

    def logits(self, tokens: Tensor, places: Tensor, seen: Tensor | None = None) -> Tensor:
        T = tokens.shape[-1]  # noqa: N806
        seen = torch.ones(T, T, dtype=torch.bool).tril() if seen is None else seen
        weights = seen / seen.sum(-1, keepdim=True)
        return self.head(weights @ torch.tanh(self.tokens(tokens) + self.places(places)))

    def plain(self, tokens: Tensor) -> Tensor:
        return self.logits(tokens, torch.arange(tokens.shape[-1]))


class Positions(Base):
    def forward(self, idx: Tensor, input_pos: Tensor) -> Tensor:
        return self.logits(idx, input_pos)


class Offset(Base):
    def forward(self, idx: Tensor, start_pos: int) -> Tensor:
        return self.logits(idx, torch.arange(start_pos, start_pos + idx.shape[1]))


class Megatron(Base):
    """True hides."""

    def forward(self, input_ids: Tensor, position_ids: Tensor, attention_mask: Tensor) -> Tensor:
        assert position_ids.shape == input_ids.shape
        return self.logits(input_ids, position_ids, ~attention_mask[0, 0])


class Flat(Base):
    def forward(self, idx: Tensor) -> Tensor:
        return self.plain(idx).view(-1, V)


class OneHead(Base):
    def forward(self, idx: Tensor) -> Tensor:
        return self.plain(idx)[:, :, None]


class OneRow(Base):
    def forward(self, inputs: Tensor) -> Tensor:
        assert inputs.dim() == 1
        return self.plain(inputs)


@pytest.mark.parametrize("family", [Positions, Offset, Megatron, Flat, OneHead, OneRow])
def test_the_call_gives_the_logits_of_each_token(family: type[Base]):
    torch.manual_seed(0)
    model = family()
    tokens = torch.randint(V, (3, 6))
    out = recognise(model).call(model, tokens)
    out = out if out.dim() == 3 else out[:, :, 0]
    torch.testing.assert_close(out, model.plain(tokens), atol=EXACT, rtol=0)


def test_tokens_without_a_logit_are_not_drawn_though_the_embedding_has_rows_for_them():
    class Padded(Base):
        def forward(self, idx: Tensor) -> Tensor:
            return self.plain(idx)

    assert recognise(Padded(rows=16)).vocab_size == V


class Pair(Base):
    def of(self, source: Tensor, target: Tensor) -> Tensor:
        return self.plain(target) + self.head(self.tokens(source)).mean(1, keepdim=True)


class InATuple(Pair):
    def forward(self, inputs: Any) -> Tensor:
        source, target = inputs
        return self.of(source, target)


class InADictionary(Pair):
    def forward(self, features: Any) -> Tensor:
        return self.of(features["inputs"], features["targets"])


class BeginsItself(Pair):
    """Its own first token, 0, stands in front of the targets, whose last one is not read."""

    def forward(self, features: Any) -> Tensor:
        targets = features["targets"]
        return self.of(features["inputs"], torch.cat([torch.zeros_like(targets[:, :1]), targets[:, :-1]], dim=1))


@pytest.mark.parametrize("family", [InATuple, InADictionary, BeginsItself])
def test_a_source_and_a_target_in_one_argument_are_an_encoder_decoder(family: type[Pair]):
    torch.manual_seed(0)
    model = family()
    source, target = torch.randint(V, (2, 7)), torch.randint(V, (2, 5))
    subject = recognise(model)
    expected = model.of(source, target)
    if family is BeginsItself:
        expected = model.of(source, torch.cat([torch.zeros_like(target[:, :1]), target], dim=1))[:, 1:]
    assert subject.kind == "encoder-decoder"
    torch.testing.assert_close(subject.call(model, source, target), expected, atol=EXACT, rtol=0)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_a_compiled_graph_is_refused_with_what_to_return_instead():
    with pytest.raises(CheckError, match=r"before torch\.jit\.script"):
        recognise(torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2)))
