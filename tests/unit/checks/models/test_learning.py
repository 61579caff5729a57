"""The checks of learning pass correct models, and name the cause where a model cannot learn."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clearformer.checks.models.catalogue import CHECKS
from clearformer.checks.models.run import run_check
from clearformer.checks.outcome import Outcome
from clearformer.checks.probe import training
from clearformer.checks.subject import Kind, Subject
from clearformer.config import BERTConfig, ClassifierConfig, GPTConfig, TransformerConfig
from clearformer.models.build import build

V, D, CONTEXT = 23, 32, 16


class Tiny(nn.Module):
    """Two layers of causal attention. A bug overrides a method."""

    def __init__(self, dropout: float = 0.1) -> None:
        super().__init__()
        self.embedding, self.positions = nn.Embedding(V, D), nn.Embedding(CONTEXT, D)
        self.layers = nn.ModuleList(nn.Linear(D, 3 * D) for _ in range(2))
        self.norms = nn.ModuleList(nn.LayerNorm(D) for _ in range(2))
        self.wide, self.narrow, self.output = nn.Linear(D, 4 * D), nn.Linear(4 * D, D), nn.Linear(D, V)
        self.dropout = self.make_dropout(dropout)

    def make_dropout(self, p: float) -> Any:
        return nn.Dropout(p)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.apply_dropout(self.embedding(tokens) + self.positions.weight[: tokens.shape[1]])
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = x + self.attend(*layer(norm(x)).chunk(3, -1))
        return self.after_output(self.output(x + self.narrow(self.wide(x).relu())))

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        future = torch.ones(q.shape[1], q.shape[1]).triu(1).bool()
        return (q @ k.transpose(-1, -2) / math.sqrt(D)).masked_fill(future, -torch.inf).softmax(-1) @ v

    def apply_dropout(self, x: Tensor) -> Tensor:
        return self.dropout(x)

    def after_output(self, logits: Tensor) -> Tensor:
        return logits


class WithoutAttention(Tiny):
    """Attention adds nothing."""

    def attend(self, q: Tensor, _k: Tensor, _v: Tensor) -> Tensor:
        return 0 * q


class Probabilities(Tiny):
    def after_output(self, logits: Tensor) -> Tensor:
        return logits.softmax(-1)


class Fixed(Tiny):
    """It has a gradient, but nothing that can change the logits."""

    def after_output(self, logits: Tensor) -> Tensor:
        return logits.detach() + 0 * logits


class NeverOn(Tiny):
    def apply_dropout(self, x: Tensor) -> Tensor:
        return F.dropout(x, 0.1, training=False)


class OnInEvaluation(Tiny):
    def apply_dropout(self, x: Tensor) -> Tensor:
        return F.dropout(x, 0.1)


class DropoutInAList(Tiny):
    def make_dropout(self, p: float) -> Any:
        return [nn.Dropout(p)]

    def apply_dropout(self, x: Tensor) -> Tensor:
        return self.dropout[0](x)


class OneMaskForAllRows(Tiny):
    """One dropout mask, broadcast over all rows."""

    def apply_dropout(self, x: Tensor) -> Tensor:
        return x * self.dropout(torch.ones_like(x[:1]))


class Unseeded(Tiny):
    """Noise from an unseeded generator."""

    def apply_dropout(self, x: Tensor) -> Tensor:
        return x + torch.randn(x.shape, generator=self.source())

    def source(self) -> torch.Generator:
        generator = torch.Generator()
        generator.seed()
        return generator


def subject(model: nn.Module) -> Subject:
    return Subject(model, lambda model, tokens: model(tokens), vocab_size=V, context=CONTEXT)


def check(name: str, model: nn.Module) -> Outcome:
    return run_check(subject(model), CHECKS[f"learning.{name}"], seed=1)


@pytest.fixture
def _few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop early, since correct models took 25 to 60 steps here."""
    monkeypatch.setattr(training, "STEPS", 100)
    monkeypatch.setattr(training, "MIN_STEPS", 100)


BUGS: list[tuple[str, Callable[[], nn.Module], str]] = [
    ("one-batch", WithoutAttention, "reads-one-token"),
    ("one-batch", Probabilities, "probabilities"),
    ("one-batch", Fixed, "nothing"),
    ("reversing", WithoutAttention, "does-not-read"),
    ("reversing", Fixed, "nothing"),
    ("induction", WithoutAttention, "does-not-read"),
    ("dropout", NeverOn, "never-on"),
    ("dropout", OnInEvaluation, "dropout-in-evaluation"),
    ("dropout", DropoutInAList, "not-reached-by-eval"),
    ("dropout", OneMaskForAllRows, "one-mask-for-all-rows"),
    ("dropout", Unseeded, "other-in-evaluation"),
]


@pytest.mark.slow
@pytest.mark.usefixtures("_few_steps")
@pytest.mark.parametrize(("name", "model", "cause"), BUGS)
def test_each_bug_is_caught_and_named(name: str, model: Callable[[], nn.Module], cause: str):
    outcome = check(name, model())
    assert (outcome.status, outcome.cause) == ("failed", cause), outcome
    assert outcome.case
    assert outcome.diagnosis


@pytest.mark.parametrize("name", ["one-batch", "reversing", "induction", "dropout"])
def test_a_correct_model_passes(name: str):
    outcome = check(name, Tiny())
    assert outcome.status == "passed", outcome


SIZES: dict[str, Any] = {"vocab_size": V, "context": CONTEXT, "d_model": D, "num_heads": 2, "num_layers": 2, "d_ff": 64}


def as_bert(model: nn.Module, tokens: Tensor) -> Tensor:
    return model(tokens, torch.ones_like(tokens).bool(), torch.zeros_like(tokens))


def as_pair(model: nn.Module, source: Tensor, tokens: Tensor) -> Tensor:
    return model(source, tokens, torch.ones_like(source).bool(), torch.ones_like(tokens).bool())


FAMILIES: dict[Kind, tuple[Any, Callable[..., Tensor], list[str]]] = {
    "causal": (
        GPTConfig(**SIZES, positions="rotary"),
        lambda m, t: m(t),
        ["one-batch", "reversing", "induction", "dropout"],
    ),
    "encoder-decoder": (TransformerConfig(**SIZES), as_pair, ["one-batch", "reversing", "dropout"]),
    "bidirectional": (BERTConfig(**SIZES), as_bert, ["one-batch", "dropout"]),
    "classifier": (ClassifierConfig(**SIZES), as_bert, ["one-batch", "dropout"]),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", FAMILIES)
def test_this_projects_families_pass(kind: Kind):
    config, call, names = FAMILIES[kind]
    family = Subject(build(config, 1), call, kind, vocab_size=V, context=CONTEXT)
    outcomes = {name: run_check(family, CHECKS[f"learning.{name}"], seed=1) for name in names}
    assert {name: outcome.status for name, outcome in outcomes.items()} == dict.fromkeys(names, "passed"), outcomes


def test_without_dropout_the_check_does_not_apply():
    assert check("dropout", Tiny(dropout=0.0)).status == "does not apply"


@pytest.mark.usefixtures("_few_steps")
def test_a_model_too_slow_to_train_is_not_judged(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(training, "SECONDS", 0.0)
    outcome = check("one-batch", WithoutAttention())
    assert outcome.status == "does not apply"
    assert "too large to be trained here" in outcome.case


def test_the_model_is_restored():
    model = Tiny()
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    for name in ("one-batch", "dropout"):
        check(name, model)
    assert all(torch.equal(before[name], weight) for name, weight in model.state_dict().items())
    assert model.training
    assert all(weight.grad is None for weight in model.parameters())
