"""Models that require more than tokens, return logits in another shape, or take source and target in one argument."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clearformer.checks.models.catalogue import CHECKS
from clearformer.checks.models.run import run_check
from clearformer.checks.recognise import recognise
from clearformer.checks.recognise.outputs import extract_logits
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


class ByName(Base):
    def forward(self, *, input_ids: Tensor) -> Tensor:
        return self.plain(input_ids)


class ByAnyName(Base):
    def forward(self, **batch: Tensor) -> Tensor:
        return self.plain(batch["input_ids"])


class LossFirst(Base):
    def forward(self, x: Tensor, y: Tensor | None = None) -> tuple[Tensor | None, Tensor]:
        logits = self.plain(x)
        return None if y is None else F.cross_entropy(logits.flatten(0, 1), y.flatten()), logits


ODD_FORMS = [Positions, Offset, Megatron, Flat, OneHead, OneRow, ByName, ByAnyName, LossFirst]


@pytest.mark.parametrize("family", ODD_FORMS)
def test_the_call_gives_the_logits_of_each_token(family: type[Base]):
    torch.manual_seed(0)
    model = family()
    tokens = torch.randint(V, (3, 6))
    out = extract_logits(recognise(model).call(model, tokens))
    torch.testing.assert_close(out, model.plain(tokens), atol=EXACT, rtol=0)


class StartAndEnd(Base):
    """Two numbers for each token, in tensors of their own, which its mask of padding reaches."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> dict[str, Tensor]:
        T = input_ids.shape[1]  # noqa: N806
        seen = torch.ones(1, T, T) if attention_mask is None else attention_mask[:, None].expand(-1, T, T).float()
        start, end = self.logits(input_ids, torch.arange(T), seen)[..., :2].unbind(-1)
        return {"start_logits": start, "end_logits": end}


def test_numbers_for_each_token_are_put_side_by_side():
    model = StartAndEnd()
    subject = recognise(model)
    tokens = torch.randint(V, (3, 6))
    expected = torch.stack([*model(tokens).values()], dim=-1)
    assert subject.kind == "bidirectional"
    assert torch.equal(subject.call(model, tokens), expected)
    assert subject.padded is not None
    assert subject.padded(model, tokens, torch.ones(3, 6, dtype=torch.bool)).shape == (3, 6, 2)


def test_one_number_for_each_text_is_a_classifier_of_one_class():
    class Rating(Base):
        def forward(self, input_ids: Tensor) -> Tensor:
            return self.plain(input_ids)[:, -1, 0]

    model, tokens = Rating(), torch.randint(V, (3, 6))
    subject = recognise(model)
    assert subject.kind == "classifier"
    assert torch.equal(subject.call(model, tokens), model(tokens)[:, None])


def test_a_subclass_of_a_layer_with_a_forward_of_its_own_is_called_by_it():
    class Named(nn.TransformerEncoder):
        def __init__(self) -> None:
            super().__init__(nn.TransformerEncoderLayer(D, 2, 16, batch_first=True), 1, enable_nested_tensor=False)
            self.tokens = nn.Embedding(V, D)

        def forward(self, src: Tensor) -> Tensor:
            return super().forward(self.tokens(src))

    subject = recognise(Named())
    assert (subject.vocab_size, subject.kind) == (V, "bidirectional")


def test_tokens_without_a_logit_are_not_drawn_though_the_embedding_has_rows_for_them():
    class Padded(Base):
        def forward(self, idx: Tensor) -> Tensor:
            return self.plain(idx)

    assert recognise(Padded(rows=16)).vocab_size == V


def test_a_token_that_begins_a_new_text_is_not_drawn():
    class Packed(Base):
        """What follows a 2 does not see what came before it."""

        def forward(self, idx: Tensor) -> Tensor:
            text = (idx == 2).cumsum(1)
            seen = (text[:, :, None] == text[:, None]) & torch.ones(idx.shape[1], idx.shape[1], dtype=torch.bool).tril()
            return self.logits(idx, torch.arange(idx.shape[1]), seen)

    subject = recognise(Packed())
    assert subject.reserved == (2,)
    assert subject.ways[0] == "token 2: begins a new text, which does not see what came before"


def test_a_time_of_each_row_is_given_where_a_model_requires_one():
    class Noised(Base):
        def forward(self, x: Tensor, timesteps: Tensor) -> Tensor:
            assert timesteps.shape == x.shape[:1]
            seen = torch.ones(x.shape[1], x.shape[1])
            return self.logits(x, torch.arange(x.shape[1]), seen) * (1 + timesteps[:, None, None])

    subject = recognise(Noised())
    assert (subject.name, subject.kind) == ("Noised, called as model(tokens, timesteps=0.5 [B])", "bidirectional")


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


class WithAPrefix(Base):
    """The first tokens of a row see one another."""

    too_many = 0

    def forward(self, tokens: Tensor, prefix_lengths: Tensor | None = None) -> Tensor:
        T = tokens.shape[1]  # noqa: N806
        lengths = torch.zeros(len(tokens)) if prefix_lengths is None else prefix_lengths + self.too_many
        in_prefix = torch.arange(T) < lengths[:, None, None]
        return self.logits(tokens, torch.arange(T), torch.ones(T, T, dtype=torch.bool).tril() | in_prefix)


class PrefixTooLong(WithAPrefix):
    too_many = 1


@pytest.mark.parametrize(("family", "status"), [(WithAPrefix, "passed"), (PrefixTooLong, "failed")])
def test_a_prefix_is_no_padding_and_sees_nothing_behind_it(family: type[Base], status: str):
    subject = recognise(family())
    statuses = [run_check(subject, CHECKS[name], seed=1).status for name in ("masks.future", "batches.right-padding")]
    assert statuses == [status, "passed"]


class ComparesTexts(Base):
    """Two texts are read, each by a method that gives a vector."""

    def encode(self, tokens: Tensor) -> Tensor:
        return self.plain(tokens).mean(1)

    def forward(self, queries: Tensor, passages: Tensor) -> Tensor:
        return self.encode(queries) @ self.encode(passages).T


def test_a_model_that_compares_texts_is_called_by_what_reads_one():
    subject = recognise(ComparesTexts())
    assert (subject.kind, subject.name) == ("classifier", "ComparesTexts, called as model.encode(tokens)")
