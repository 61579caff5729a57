"""The checks of state pass correct models, and name lost, unseeded or changed state."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from clearformer.checks.models.catalogue import CHECKS
from clearformer.checks.models.run import run_check
from clearformer.checks.outcome import Outcome
from clearformer.checks.subject import Kind, Subject
from clearformer.config import BERTConfig, ClassifierConfig, GPTConfig, TransformerConfig
from clearformer.models.build import build

V, D, CONTEXT = 23, 16, 16
NAMES = [name for name in CHECKS if name.startswith("state.")]


class Tiny(nn.Module):
    """A model that sums over the past. A bug overrides a method, or `planted`."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.inner, self.output = nn.Embedding(V, D), nn.Linear(D, D), nn.Linear(D, V)
        self.planted()

    def planted(self) -> None: ...

    def forward(self, tokens: Tensor) -> Tensor:
        return self.output(self.change(self.inner(self.embedding(tokens).cumsum(1))).tanh())

    def change(self, x: Tensor) -> Tensor:
        return x


class Running(Tiny):
    """A running mean that training updates and evaluation uses, which is correct."""

    persistent = True

    def planted(self) -> None:
        self.register_buffer("mean", torch.zeros(D), persistent=self.persistent)
        self.register_buffer("calls", torch.tensor(0), persistent=self.persistent)

    def change(self, x: Tensor) -> Tensor:
        if self.training:
            self.update(x)
        self.calls += 1
        return x - self.mean

    def update(self, x: Tensor) -> None:
        self.mean.lerp_(x.detach().mean((0, 1)), 0.5)


class RunningNotSaved(Running):
    persistent = False


class RunningInEvaluation(Running):
    def change(self, x: Tensor) -> Tensor:
        self.update(x)
        return x - self.mean


class MeanAsANumber(Running):
    """The running mean is a Python number, which no state_dict holds."""

    number = 0.0

    def update(self, x: Tensor) -> None:
        self.number = x.mean().item()

    def change(self, x: Tensor) -> Tensor:
        return super().change(x) - self.number


class Sines(Tiny):
    """Constants that need not be saved, one of them created at the first call."""

    def planted(self) -> None:
        self.register_buffer("sines", torch.outer(torch.arange(CONTEXT), torch.arange(D) / D).sin(), persistent=False)
        self.cosines: Tensor | None = None

    def change(self, x: Tensor) -> Tensor:
        if self.cosines is None or len(self.cosines) < x.shape[1]:
            self.cosines = torch.outer(torch.arange(x.shape[1]), torch.arange(D) / D).cos()
        return x + self.sines[: x.shape[1]] * self.cosines[: x.shape[1]]


class InAList(Tiny):
    def planted(self) -> None:
        self.layers = [nn.Linear(D, D)]

    def change(self, x: Tensor) -> Tensor:
        return self.layers[0](x)


class RandomNotSaved(Tiny):
    def planted(self) -> None:
        self.register_buffer("projection", torch.randn(D, D), persistent=False)

    def change(self, x: Tensor) -> Tensor:
        return x @ self.projection


class Skipped(Tiny):
    """Loading skips one matrix."""

    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
        kept = self.inner.weight.detach().clone()
        done = super().load_state_dict(state_dict, strict, assign)
        self.inner.weight.data.copy_(kept)
        return done


class Renamed(Tiny):
    """Saved under names that loading does not know."""

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        return {f"model.{name}": value for name, value in super().state_dict(*args, **kwargs).items()}


class Unseeded(Tiny):
    def change(self, x: Tensor) -> Tensor:
        noise = np.random.default_rng().normal(size=x.shape)
        return x + torch.from_numpy(noise).to(x) if self.training else x


class Seeded(Tiny):
    def change(self, x: Tensor) -> Tensor:
        return x + torch.from_numpy(np.random.normal(size=x.shape)).to(x) if self.training else x


class Learns(Tiny):
    def change(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            self.inner.bias.add_(1e-6)
        return x


class Remembers(Tiny):
    """The mean of each call is added in the next."""

    before = 0.0

    def change(self, x: Tensor) -> Tensor:
        x = x + self.before
        self.before = x.mean().item()
        return x


def check(name: str, model: nn.Module) -> Outcome:
    subject = Subject(model, lambda model, tokens: model(tokens), vocab_size=V, context=CONTEXT)
    return run_check(subject, CHECKS[f"state.{name}"], seed=1)


BUGS: list[tuple[str, Callable[[], nn.Module], str]] = [
    ("saved", Skipped, "loaded-differs"),
    ("complete", RunningNotSaved, "buffer-not-saved"),
    ("complete", RandomNotSaved, "buffer-not-saved"),
    ("complete", InAList, "not-registered"),
    ("complete", MeanAsANumber, "not-in-a-tensor"),
    ("seeded", Unseeded, "unseeded"),
    ("unchanged", Learns, "weights-change"),
    ("unchanged", RunningInEvaluation, "statistics-change"),
    ("unchanged", Remembers, "carries-over"),
]


@pytest.mark.parametrize(("name", "model", "cause"), BUGS)
def test_each_bug_is_caught_and_named(name: str, model: Callable[[], nn.Module], cause: str):
    outcome = check(name, model())
    assert (outcome.status, outcome.cause) == ("failed", cause), outcome
    assert outcome.case
    assert outcome.diagnosis


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("model", [Tiny, Running, Sines, Seeded])
def test_a_correct_model_passes(name: str, model: Callable[[], nn.Module]):
    outcome = check(name.removeprefix("state."), model())
    assert outcome.status == "passed", outcome


def test_names_that_loading_refuses_are_a_crash_with_its_message():
    outcome = check("saved", Renamed())
    assert outcome.status == "crashed"
    assert "state_dict" in outcome.case


def test_a_counter_without_effect_is_noted():
    assert check("unchanged", Running()).notes == ("calls change, without effect",)


SIZES: dict[str, Any] = {"vocab_size": V, "context": CONTEXT, "d_model": D, "num_heads": 2, "num_layers": 2, "d_ff": 32}


def as_bert(model: nn.Module, tokens: Tensor) -> Tensor:
    return model(tokens, torch.ones_like(tokens).bool(), torch.zeros_like(tokens))


def as_pair(model: nn.Module, source: Tensor, tokens: Tensor) -> Tensor:
    return model(source, tokens, torch.ones_like(source).bool(), torch.ones_like(tokens).bool())


FAMILIES: dict[Kind, tuple[Any, Callable[..., Tensor]]] = {
    "causal": (GPTConfig(**SIZES, positions="rotary"), lambda m, t: m(t)),
    "encoder-decoder": (TransformerConfig(**SIZES), as_pair),
    "bidirectional": (BERTConfig(**SIZES), as_bert),
    "classifier": (ClassifierConfig(**SIZES), as_bert),
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", FAMILIES)
def test_this_projects_families_pass(name: str, kind: Kind):
    config, call = FAMILIES[kind]
    family = Subject(build(config, 1), call, kind, vocab_size=V, context=CONTEXT)
    assert run_check(family, CHECKS[name], seed=1).status == "passed"


def test_the_model_is_restored():
    model = Running()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for name in NAMES:
        check(name.removeprefix("state."), model)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert model.training
