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
from clearformer.checks.subject import Subject

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


def with_(**methods: Callable[..., Any]) -> type[Tiny]:
    """A subclass with these methods."""
    return type("Planted", (Tiny,), methods)


def unseeded() -> torch.Generator:
    generator = torch.Generator()
    generator.seed()
    return generator


WITHOUT_ATTENTION = with_(attend=lambda _, q, *__: 0 * q)
FIXED = with_(after_output=lambda _, logits: logits.detach() + 0 * logits)  # with a gradient of zeros
BUGS = [
    ("one-batch", "reads-one-token", WITHOUT_ATTENTION),
    ("one-batch", "bounded", with_(after_output=lambda _, logits: logits.softmax(-1))),
    ("one-batch", "bounded", with_(after_output=lambda _, logits: logits.tanh())),
    ("one-batch", "nothing", FIXED),
    ("reversing", "does-not-read", WITHOUT_ATTENTION),
    ("reversing", "nothing", FIXED),
    ("induction", "does-not-read", WITHOUT_ATTENTION),
    ("dropout", "never-on", with_(apply_dropout=lambda _, x: F.dropout(x, 0.1, training=False))),
    ("dropout", "dropout-in-evaluation", with_(apply_dropout=lambda _, x: F.dropout(x, 0.1))),
    (
        "dropout",
        "not-reached-by-eval",
        with_(make_dropout=lambda _, p: [nn.Dropout(p)], apply_dropout=lambda model, x: model.dropout[0](x)),
    ),
    (
        "dropout",
        "one-mask-for-all-rows",
        with_(apply_dropout=lambda model, x: x * model.dropout(torch.ones_like(x[:1]))),
    ),
    (
        "dropout",
        "other-in-evaluation",
        with_(apply_dropout=lambda _, x: x + torch.randn(x.shape, generator=unseeded())),
    ),
]


def check(name: str, model: nn.Module) -> Outcome:
    subject = Subject(model, lambda model, tokens: model(tokens), vocab_size=V, context=CONTEXT)
    return run_check(subject, CHECKS[f"learning.{name}"], seed=1)


@pytest.fixture
def _few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop early, since correct models took 25 to 60 steps here."""
    monkeypatch.setattr(training, "STEPS", 100)
    monkeypatch.setattr(training, "MIN_STEPS", 100)


@pytest.mark.slow
@pytest.mark.usefixtures("_few_steps")
@pytest.mark.parametrize(("name", "cause", "model"), BUGS)
def test_each_bug_is_caught_and_named(name: str, cause: str, model: type[Tiny]):
    outcome = check(name, model())
    assert (outcome.status, outcome.cause) == ("failed", cause), outcome
    assert outcome.case
    assert outcome.diagnosis


@pytest.mark.parametrize("name", [name.removeprefix("learning.") for name in CHECKS if name.startswith("learning.")])
def test_a_correct_model_passes(name: str):
    outcome = check(name, Tiny())
    assert outcome.status == "passed", outcome


def test_one_mask_for_all_rows_is_seen_beside_other_dropout():
    def drop_twice(model: Tiny, x: Tensor) -> Tensor:
        return model.dropout(x * (torch.rand(x.shape[1:]) >= 0.1)) if model.training else x

    outcome = check("dropout", with_(apply_dropout=drop_twice)())
    assert (outcome.status, outcome.cause) == ("failed", "one-mask-for-all-rows")
    assert outcome.case == f"a mask of shape [12, {D}] is drawn for 5 rows"


def test_without_dropout_the_check_does_not_apply():
    assert check("dropout", Tiny(dropout=0.0)).status == "does not apply"


@pytest.mark.usefixtures("_few_steps")
def test_a_model_too_slow_to_train_is_not_judged(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(training, "SECONDS", 0.0)
    outcome = check("one-batch", WITHOUT_ATTENTION())
    assert outcome.status == "does not apply"
    assert "too large to be trained here" in outcome.case


def test_logits_that_wait_for_a_learned_scale_are_not_judged():
    class Scaled(Tiny):
        def __init__(self) -> None:
            super().__init__()
            self.size = nn.Parameter(torch.ones(V))

        def after_output(self, logits: Tensor) -> Tensor:
            return F.normalize(logits, dim=-1) * self.size

    outcome = check("one-batch", Scaled())
    assert outcome.status == "does not apply"
    assert "until a learned scale grows" in outcome.case


@pytest.mark.usefixtures("_few_steps")
def test_a_frozen_model_below_an_adapter_is_trained_whole():
    class Adapted(Tiny):
        def __init__(self) -> None:
            super().__init__()
            self.requires_grad_(False)
            self.adapter = nn.Parameter(torch.zeros(D, D))

        def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            return super().attend(q + q @ self.adapter, k, v)

    assert check("one-batch", Adapted()).status == "passed"


def test_dropout_of_layers_that_are_left_out_in_training_is_not_missed():
    class Dropping(nn.Module):
        """The second layer is left out, as it is now and then."""

        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(nn.Sequential(nn.Linear(D, D), nn.Dropout(0.1)) for _ in range(2))
            self.embedding, self.output = nn.Embedding(V, D), nn.Linear(D, V)

        def forward(self, tokens: Tensor) -> Tensor:
            x = self.layers[0](self.embedding(tokens))
            return self.output(x if self.training else self.layers[1](x))

    assert check("dropout", Dropping()).status == "passed"
