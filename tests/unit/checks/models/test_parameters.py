"""The checks of parameters pass correct models, and name each planted bug."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from clearformer.checks.models.catalogue import CHECKS
from clearformer.checks.models.run import run_check
from clearformer.checks.outcome import Outcome
from clearformer.checks.probe.embeddings import find_vocabulary_matrices
from clearformer.checks.probe.probe import Probe
from clearformer.checks.subject import Subject

V, D, H, E, CONTEXT = 41, 16, 2, 8, 16
HALF_A_NAT = 0.55
"""logits of deviation 1 cost 1/2 nat: the expectation of exp(x) is exp(1/2); 0.49 measured with 10,000 tokens"""


class Head(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(D, 3 * E)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, -1)
        future = torch.ones(x.shape[1], x.shape[1]).triu(1).bool()
        return (q @ k.transpose(-1, -2) / math.sqrt(E)).masked_fill(future, -torch.inf).softmax(-1) @ v


class Tiny(nn.Module):
    """One layer of attention with a module per head. A bug overrides a method, or `planted`."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(V, D)
        self.embedding.weight.data.mul_(0.02)
        self.positions = nn.Embedding(CONTEXT, D)
        self.heads = self.make_heads()
        self.norm, self.output = nn.LayerNorm(D), nn.Linear(D, V)
        self.planted()

    def planted(self) -> None: ...

    def make_heads(self) -> Any:
        return nn.ModuleList(Head() for _ in range(H))

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens) + self.positions.weight[: tokens.shape[1]]
        return self.output(self.before_output(x + torch.cat([head(x) for head in self.heads], -1)))

    def before_output(self, x: Tensor) -> Tensor:
        return self.norm(x)


class Tied(Tiny):
    def planted(self) -> None:
        self.output.weight = self.embedding.weight


class TiedLarge(Tied):
    """An output tied to an embedding of deviation 1: logits deviate by sqrt(16)."""

    def planted(self) -> None:
        super().planted()
        nn.init.normal_(self.embedding.weight)


class Unused(Tiny):
    def planted(self) -> None:
        self.forgotten = nn.Linear(D, D)


class Detached(Tiny):
    def forward(self, tokens: Tensor) -> Tensor:
        with torch.no_grad():
            return super().forward(tokens)


class PlainTensors(Tiny):
    """A mask, a table of sines and a scale may be plain tensors."""

    def planted(self) -> None:
        angles = torch.arange(CONTEXT)[:, None] / 100 ** (torch.arange(D) / D)
        self.sines, self.mask = angles.sin(), torch.full((CONTEXT, CONTEXT), -1e9).triu(1)
        self.scale = torch.tensor(0.5)

    def before_output(self, x: Tensor) -> Tensor:
        length = x.shape[1]
        return self.norm(self.mask[:length, :length].softmax(-1) @ x + self.scale * self.sines[:length])


class TableOfDistances(Tiny):
    """A matrix with a row for each distance, of which a sequence reads as many as it is long."""

    def planted(self) -> None:
        self.distances = nn.Parameter(torch.randn(64, D))

    def before_output(self, x: Tensor) -> Tensor:
        read = self.distances[: x.shape[1]]
        return self.norm(x + (x @ read.T).tril().softmax(-1) @ x)


class WithOptimizers(Tiny):
    """`configure_optimizers` as Lightning or minGPT calls it, with all weights in two groups."""

    def configure_optimizers(self, train_config: Any) -> dict[str, Any]:
        matrices = [weight for weight in self.parameters() if weight.dim() > 1]
        groups = [{"params": matrices}, {"params": self.chosen_vectors(), "weight_decay": 0.0}]
        return {"optimizer": torch.optim.AdamW(groups, lr=train_config.learning_rate), "lr_scheduler": None}

    def chosen_vectors(self) -> list[nn.Parameter]:
        return [weight for weight in self.parameters() if weight.dim() <= 1]


class VectorsLeftOut(WithOptimizers):
    def chosen_vectors(self) -> list[nn.Parameter]:
        return [self.output.bias]


class EqualHeads(Tiny):
    def planted(self) -> None:
        self.heads[1].load_state_dict(self.heads[0].state_dict())


class TiedByData(Tiny):
    def planted(self) -> None:
        self.output.weight.data = self.embedding.weight.data


class Part:
    """Holds a layer, and is no module."""

    def __init__(self) -> None:
        self.layer = nn.Linear(D, D)


def halves_detached(x: Tensor) -> list[Tensor]:
    first, second, third, fourth = x.chunk(4, -1)
    return [first, second, third.detach(), fourth.detach()]


def with_(**methods: Callable[..., Any]) -> type[Tiny]:
    """A subclass with these methods."""
    return type("Planted", (Tiny,), methods)


def check(name: str, model: nn.Module, **fields: Any) -> Outcome:
    subject = Subject(model, lambda model, tokens: model(tokens), vocab_size=V, context=CONTEXT, **fields)
    return run_check(subject, CHECKS[f"parameters.{name}"], seed=1)


BUGS = [
    ("optimizer", "left-out", VectorsLeftOut),
    ("initial-loss", "large-logits", TiedLarge),
    ("gradients", "unused", Unused),
    ("gradients", "cut-off", with_(before_output=lambda model, x: model.norm(x.detach()))),
    ("gradients", "detached", Detached),
    (
        "gradients",
        "part-unused",
        with_(
            planted=lambda model: setattr(model, "fused", nn.Linear(D, 4 * D)),
            before_output=lambda model, x: model.norm(x) + sum(model.fused(x).chunk(4, -1)[:2]),
        ),
    ),
    (  # half of a matrix with no more rows than a table of the distances in a sequence
        "gradients",
        "part-unused",
        with_(
            planted=lambda model: setattr(model, "fused", nn.Linear(D, 2 * D)),
            before_output=lambda model, x: model.norm(x) + model.fused(x).chunk(2, -1)[0],
        ),
    ),
    (
        "gradients",
        "part-cut-off",
        with_(
            planted=lambda model: setattr(model, "fused", nn.Linear(D, 4 * D)),
            before_output=lambda model, x: model.norm(x) + sum(halves_detached(model.fused(x))),
        ),
    ),
    (
        "start",
        "stuck",
        with_(
            planted=lambda model: setattr(model, "factors", nn.ParameterList([torch.zeros(D), torch.zeros(D)])),
            before_output=lambda model, x: model.norm(x) + model.factors[0] * model.factors[1],
        ),
    ),
    # the gradient of sqrt at 0 is infinite, and 0 * inf is NaN
    ("gradients", "not-finite", with_(before_output=lambda model, x: model.norm(x) + (x * 0).abs().sqrt())),
    ("registered", "module-in-a-list", with_(make_heads=lambda _: [Head() for _ in range(H)])),
    (
        "registered",
        "parameter-in-a-list",
        with_(
            planted=lambda model: setattr(model, "gains", [nn.Parameter(torch.ones(D))]),
            before_output=lambda model, x: model.norm(x) * model.gains[0],
        ),
    ),
    (
        "registered",
        "plain-tensor",
        with_(
            planted=lambda model: setattr(model, "mixing", torch.randn(D, D) / math.sqrt(D)),
            before_output=lambda model, x: model.norm(x @ model.mixing),
        ),
    ),
    # a norm's gain as a plain tensor: it would stay at 1
    (
        "registered",
        "plain-tensor",
        with_(
            planted=lambda model: setattr(model, "gain", torch.ones(D)),
            before_output=lambda model, x: model.norm(x) * model.gain,
        ),
    ),
    (
        "registered",
        "in-an-object",
        with_(
            planted=lambda model: setattr(model, "part", Part()),
            before_output=lambda model, x: model.norm(model.part.layer(x)),
        ),
    ),
    ("heads", "one-weight", with_(make_heads=lambda _: nn.ModuleList([Head()] * H))),
    ("heads", "equal-values", EqualHeads),
]


@pytest.mark.parametrize(("name", "cause", "model"), BUGS)
def test_each_bug_is_caught_and_named(name: str, cause: str, model: type[Tiny]):
    outcome = check(name, model())
    assert (outcome.status, outcome.cause) == ("failed", cause), outcome
    assert outcome.case
    assert outcome.diagnosis


@pytest.mark.parametrize(
    ("model", "declared", "cause"),
    [(Tiny, True, "tie-lost"), (Tied, False, "tied-anyway"), (TiedByData, True, "tied-by-data")],
)
def test_ties_other_than_declared_are_caught_and_named(model: type[Tiny], declared: bool, cause: str):
    outcome = check("tied", model(), tied=declared)
    assert (outcome.status, outcome.cause) == ("failed", cause), outcome


def test_undeclared_ties_are_reported_and_not_judged():
    outcome = check("tied", Tied())
    assert outcome.status == "does not apply"
    assert "embedding.weight is both" in outcome.case


@pytest.mark.parametrize(
    "name", [name.removeprefix("parameters.") for name in CHECKS if name.startswith("parameters.")]
)
@pytest.mark.parametrize("model", [Tiny, Tied, PlainTensors, TableOfDistances, WithOptimizers])
def test_a_correct_model_passes(name: str, model: type[Tiny]):
    outcome = check(name, model(), tied=model is Tied)
    nothing_to_check = name == "optimizer" and model is not WithOptimizers
    assert outcome.status == ("does not apply" if nothing_to_check else "passed"), outcome


def test_logits_of_deviation_one_cost_half_a_nat():
    def normal(_: None, tokens: Tensor) -> Tensor:
        return torch.randn(*tokens.shape, 10_000, generator=torch.Generator().manual_seed(1))

    subject = Subject(None, normal, vocab_size=10_000)
    outcome = run_check(subject, CHECKS["parameters.initial-loss"], seed=1)
    assert 0.45 < (outcome.measured or 0) < HALF_A_NAT


def test_a_trained_model_is_not_judged_by_its_initial_loss():
    model = TiedLarge()
    for vector in (model.norm.weight, model.norm.bias):
        nn.init.normal_(vector)  # as training leaves them
    outcome = check("initial-loss", model)
    assert outcome.status == "does not apply"
    assert "trained" in outcome.case


def test_a_parameter_learned_elsewhere_is_excepted_and_a_frozen_one_noted():
    model = Unused()
    model.positions.weight.requires_grad_(False)
    outcome = check("gradients", model, learned_elsewhere=("forgotten.weight", "forgotten.bias"))
    assert outcome.status == "passed"
    assert outcome.notes == ("frozen: positions.weight",)


def test_constants_in_plain_tensors_are_noted():
    assert [note.split()[0] for note in check("registered", PlainTensors()).notes] == ["sines", "mask", "scale"]


class Square(nn.Module):
    """As wide as its vocabulary, with a position for each token: shapes do not identify a matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.d = (nn.Parameter(torch.randn(V, V)) for _ in range(4))

    def forward(self, tokens: Tensor) -> Tensor:
        return torch.tanh((self.b[tokens] + self.c[: tokens.shape[1]]) @ self.d / V) @ self.a


@pytest.mark.parametrize(
    ("model", "inputs", "outputs"), [(Square, {"b"}, {"a"}), (Tied, {"embedding.weight"}, {"embedding.weight"})]
)
def test_vocabulary_matrices_are_found_by_their_effect(model: type[nn.Module], inputs: set[str], outputs: set[str]):
    found = find_vocabulary_matrices(Probe(Subject(model(), lambda m, tokens: m(tokens), vocab_size=V), seed=1))
    assert (found.inputs, found.outputs) == (inputs, outputs)
