"""The checks of state pass correct models, and name lost, unseeded or changed state."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from clearformer.checks.models.catalogue import CHECKS
from clearformer.checks.models.run import run_check
from clearformer.checks.outcome import Outcome
from clearformer.checks.subject import Subject

V, D, CONTEXT = 23, 16, 16


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


class MeanAsANumber(Tiny):
    """A running mean that is a Python number, which no state_dict holds."""

    number = 0.0

    def change(self, x: Tensor) -> Tensor:
        if self.training:
            self.number = x.mean().item()
        return x - self.number


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


class OneMatrixNotLoaded(Tiny):
    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
        return super().load_state_dict(state_dict | {"inner.weight": self.inner.weight}, strict, assign)


class Renamed(Tiny):
    """Saved under names that loading does not know."""

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        return {f"model.{name}": value for name, value in super().state_dict(*args, **kwargs).items()}


class Noisy(Tiny):
    """Noise in training, from NumPy's seeded generator."""

    def noise(self, x: Tensor) -> Any:
        return np.random.normal(size=x.shape)

    def change(self, x: Tensor) -> Tensor:
        return x + torch.from_numpy(self.noise(x)).to(x) if self.training else x


class NoisyWithoutSeed(Noisy):
    def noise(self, x: Tensor) -> Any:
        return np.random.default_rng().normal(size=x.shape)


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
    return run_check(subject, CHECKS[name], seed=1)


@pytest.mark.parametrize(
    ("name", "model", "cause"),
    [
        ("state.saved", OneMatrixNotLoaded, "loaded-differs"),
        ("state.complete", RunningNotSaved, "buffer-not-saved"),
        ("state.complete", RandomNotSaved, "buffer-not-saved"),
        ("state.complete", InAList, "not-registered"),
        ("state.complete", MeanAsANumber, "not-in-a-tensor"),
        ("state.seeded", NoisyWithoutSeed, "unseeded"),
        ("state.unchanged", Learns, "weights-change"),
        ("state.unchanged", RunningInEvaluation, "statistics-change"),
        ("state.unchanged", Remembers, "carries-over"),
    ],
)
def test_each_bug_is_caught_and_named(name: str, model: type[Tiny], cause: str):
    outcome = check(name, model())
    assert (outcome.status, outcome.cause) == ("failed", cause), outcome
    assert outcome.case
    assert outcome.diagnosis


@pytest.mark.parametrize("name", [name for name in CHECKS if name.startswith("state.")])
@pytest.mark.parametrize("model", [Tiny, Running, Sines, Noisy])
def test_a_correct_model_passes(name: str, model: type[Tiny]):
    outcome = check(name, model())
    assert outcome.status == "passed", outcome


def test_names_that_loading_refuses_are_a_crash_with_its_message():
    outcome = check("state.saved", Renamed())
    assert outcome.status == "crashed"
    assert "state_dict" in outcome.case


def test_a_counter_without_effect_is_noted():
    assert check("state.unchanged", Running()).notes == ("calls change, without effect",)
