"""The kind of a plain model is inferred from its output, its names and what its layers see, and is said."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clearformer.checks.models.catalogue import CHECKS
from clearformer.checks.models.run import run_check
from clearformer.checks.recognise import recognise

V, D, CONTEXT = 23, 8, 14


class Layer(nn.Module):
    def __init__(self, causal: bool) -> None:
        super().__init__()
        self.value, self.hides_future = nn.Linear(D, D), causal

    def forward(self, x: Tensor) -> Tensor:
        T = x.shape[1]  # noqa: N806
        weights = torch.ones(T, T).tril() if self.hides_future else torch.ones(T, T)
        return x + weights / weights.sum(-1, keepdim=True) @ self.value(x).tanh()


class Model(nn.Module):
    """Two layers, each of which sees both sides or only the past; its name says nothing."""

    causal_layers = (False, False)

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.tokens, self.positions, self.head = nn.Embedding(V, D), nn.Embedding(CONTEXT, D), nn.Linear(D, V)
        self.layers = nn.ModuleList([Layer(causal) for causal in self.causal_layers])

    def logits(self, tokens: Tensor) -> Tensor:
        x = self.tokens(tokens) + self.positions(torch.arange(tokens.shape[1]))
        for layer in self.layers:
            x = layer(x)
        return self.head(x)

    def forward(self, tokens: Tensor) -> Any:
        return self.logits(tokens)


class Causal(Model):
    causal_layers = (True, True)


class OneLayerLeaks(Model):
    causal_layers = (True, False)


class TinyGPT(Model):
    pass


class SmallBert(Model):
    pass


class BertThatHidesTheFuture(Model):
    causal_layers = (True, True)


class BertWithALayerOfThePast(Model):
    causal_layers = (True, False)


class WithSegments(Model):
    def forward(self, tokens: Tensor, token_type_ids: Tensor | None = None) -> Tensor:
        return self.logits(tokens) + (0 if token_type_ids is None else token_type_ids[..., None])


class Writes(Model):
    def generate(self, tokens: Tensor, max_new_tokens: int) -> Tensor:
        for _ in range(max_new_tokens):
            tokens = torch.cat([tokens, self(tokens)[:, -1:].argmax(-1)], dim=1)
        return tokens


class HoldsATriangle(Model):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mask", torch.ones(CONTEXT, CONTEXT).tril())


class ShiftsItsLabels(Model):
    def loss(self, tokens: Tensor) -> Tensor:
        return F.cross_entropy(self(tokens)[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())


class LabelsByLM(Model):
    """Five labels a token; what its name says of language is about another head."""

    def __init__(self) -> None:
        super().__init__()
        self.labels = nn.Linear(V, 5)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.labels(self.logits(tokens))


class HidesToken1(Model):
    """Token 1 is padding, which nothing sees."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(V, D, padding_idx=1)

    def logits(self, tokens: Tensor) -> Tensor:
        real = (tokens != 1)[..., None].float()
        x = self.tokens(tokens) * real
        return self.head(x + (x * real).tanh().sum(1, keepdim=True) / real.sum(1, keepdim=True).clamp(min=1))


class Classifies(Model):
    def __init__(self) -> None:
        super().__init__()
        self.classes = nn.Linear(V, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.classes(self.logits(tokens).mean(1))


@pytest.mark.parametrize(
    ("family", "kind", "words"),
    [
        (Causal, "causal", ""),
        (OneLayerLeaks, "causal", ""),
        (TinyGPT, "causal", ""),
        (Writes, "causal", ""),
        (HoldsATriangle, "causal", ""),
        (ShiftsItsLabels, "causal", ""),
        (Model, "bidirectional", "run again with --kind causal"),
        (SmallBert, "bidirectional", "by its name, SmallBert"),
        (BertThatHidesTheFuture, "bidirectional", "by its name"),
        (BertWithALayerOfThePast, "bidirectional", "by its name"),
        (LabelsByLM, "bidirectional", "every layer sees both sides"),
        (HidesToken1, "bidirectional", "every layer sees both sides"),
        (WithSegments, "bidirectional", "by its argument token_type_ids"),
        (Classifies, "classifier", "it returns 3 numbers for each sequence"),
    ],
)
def test_the_kind_is_inferred_and_said_where_it_is_not_plain(family: type[Model], kind: str, words: str):
    subject = recognise(family())
    said = next((way for way in subject.ways if way.startswith("kind: ")), "")
    assert subject.kind == kind
    assert words in said
    assert bool(said) == bool(words)


def test_a_leak_through_one_layer_is_a_failure_and_no_encoder():
    assert run_check(recognise(OneLayerLeaks()), CHECKS["masks.future"], seed=1).status == "failed"


def test_an_encoder_that_hides_the_future_is_a_failure():
    assert run_check(recognise(BertThatHidesTheFuture()), CHECKS["masks.both-sides"], seed=1).status == "failed"
