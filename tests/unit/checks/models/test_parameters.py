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
from clearformer.config import BERTConfig, ClassifierConfig, GPTConfig, TransformerConfig
from clearformer.models.build import build

V, D, H, E = 41, 16, 2, 8
NAMES = [name for name in CHECKS if name.startswith("parameters.")]
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
        self.positions = nn.Embedding(16, D)
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


class CutOff(Tiny):
    def before_output(self, x: Tensor) -> Tensor:
        return self.norm(x.detach())


class Detached(Tiny):
    def forward(self, tokens: Tensor) -> Tensor:
        with torch.no_grad():
            return super().forward(tokens)


class NaNGradient(Tiny):
    """The gradient of sqrt at 0 is infinite, and 0 * inf is NaN."""

    def before_output(self, x: Tensor) -> Tensor:
        return self.norm(x) + (x * 0).abs().sqrt()


class HeadsInAList(Tiny):
    def make_heads(self) -> Any:
        return [Head() for _ in range(H)]


class ParametersInAList(Tiny):
    def planted(self) -> None:
        self.gains = [nn.Parameter(torch.ones(D))]

    def before_output(self, x: Tensor) -> Tensor:
        return self.norm(x) * self.gains[0]


class PlainRandom(Tiny):
    def planted(self) -> None:
        self.mixing = torch.randn(D, D) / math.sqrt(D)

    def before_output(self, x: Tensor) -> Tensor:
        return self.norm(x @ self.mixing)


class PlainOnes(Tiny):
    """A norm's gain as a plain tensor: it would stay at 1."""

    def planted(self) -> None:
        self.gain = torch.ones(D)

    def before_output(self, x: Tensor) -> Tensor:
        return self.norm(x) * self.gain


class Constants(Tiny):
    """A mask, a table of sines and a scale may be plain tensors."""

    def planted(self) -> None:
        angles = torch.arange(16)[:, None] / 100 ** (torch.arange(D) / D)
        self.sines, self.mask = angles.sin(), torch.full((16, 16), -1e9).triu(1)
        self.scale = torch.tensor(0.5)

    def before_output(self, x: Tensor) -> Tensor:
        T = x.shape[1]  # noqa: N806
        return self.norm(self.mask[:T, :T].softmax(-1) @ x + self.scale * self.sines[:T])


class OneHeadTwice(Tiny):
    def make_heads(self) -> Any:
        return nn.ModuleList([Head()] * H)


class EqualHeads(Tiny):
    def planted(self) -> None:
        self.heads[1].load_state_dict(self.heads[0].state_dict())


class TiedByData(Tiny):
    def planted(self) -> None:
        self.output.weight.data = self.embedding.weight.data


def check(name: str, model: nn.Module, **fields: Any) -> Outcome:
    subject = Subject(model, lambda model, tokens: model(tokens), vocab_size=V, context=16, **fields)
    return run_check(subject, CHECKS[f"parameters.{name}"], seed=1)


BUGS: list[tuple[str, Callable[[], nn.Module], str, dict[str, Any]]] = [
    ("initial-loss", TiedLarge, "large-logits", {}),
    ("gradients", Unused, "unused", {}),
    ("gradients", CutOff, "cut-off", {}),
    ("gradients", Detached, "detached", {}),
    ("gradients", NaNGradient, "not-finite", {}),
    ("registered", HeadsInAList, "module-in-a-list", {}),
    ("registered", ParametersInAList, "parameter-in-a-list", {}),
    ("registered", PlainRandom, "plain-tensor", {}),
    ("registered", PlainOnes, "plain-tensor", {}),
    ("heads", OneHeadTwice, "one-weight", {}),
    ("heads", EqualHeads, "equal-values", {}),
    ("tied", Tiny, "tie-lost", {"tied": True}),
    ("tied", Tied, "tied-anyway", {"tied": False}),
    ("tied", TiedByData, "tied-by-data", {"tied": True}),
]


@pytest.mark.parametrize(("name", "model", "cause", "fields"), BUGS)
def test_each_bug_is_caught_and_named(name: str, model: Callable[[], nn.Module], cause: str, fields: dict[str, Any]):
    outcome = check(name, model(), **fields)
    assert (outcome.status, outcome.cause) == ("failed", cause), outcome
    assert outcome.case
    assert outcome.diagnosis


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("model", [Tiny, Tied, Constants])
def test_a_correct_model_passes(name: str, model: type[nn.Module]):
    outcome = run_check(
        Subject(model(), lambda m, tokens: m(tokens), vocab_size=V, context=16, tied=model is Tied),
        CHECKS[name],
        seed=1,
    )
    assert outcome.status == "passed", outcome


SIZES: dict[str, Any] = {"vocab_size": V, "context": 16, "d_model": D, "num_heads": H, "num_layers": 2, "d_ff": 32}


def as_bert(model: nn.Module, tokens: Tensor) -> Tensor:
    return model(tokens, torch.ones_like(tokens).bool(), torch.zeros_like(tokens))


FAMILIES = {
    "gpt": Subject(build(GPTConfig(**SIZES), 1), lambda m, t: m(t), vocab_size=V, context=16, tied=True),
    "gpt, nothing written at first": Subject(
        build(GPTConfig(**SIZES, zero_outputs=True, tie_embeddings=False, positions="rotary"), 1),
        lambda m, t: m(t),
        vocab_size=V,
        context=16,
        tied=False,
    ),
    "transformer": Subject(
        build(TransformerConfig(**SIZES), 1),
        lambda m, s, t: m(s, t, torch.ones_like(s).bool(), torch.ones_like(t).bool()),
        kind="encoder-decoder",
        vocab_size=V,
        context=16,
        tied=True,
    ),
    "bert": Subject(build(BERTConfig(**SIZES), 1), as_bert, kind="bidirectional", vocab_size=V, context=16, tied=True),
    "classifier": Subject(build(ClassifierConfig(**SIZES), 1), as_bert, kind="classifier", vocab_size=V, context=16),
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("family", FAMILIES)
def test_this_projects_families_pass(name: str, family: str):
    expected = "does not apply" if (name, family) == ("parameters.tied", "classifier") else "passed"
    assert run_check(FAMILIES[family], CHECKS[name], seed=1).status == expected


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
    seen = check("registered", Constants()).notes
    assert [note.split()[0] for note in seen] == ["sines", "mask", "scale"]


def test_undeclared_ties_are_reported_and_not_judged():
    outcome = check("tied", Tied())
    assert outcome.status == "does not apply"
    assert "embedding.weight is both" in outcome.case


def test_vocabulary_matrices_are_found_by_their_effect():
    class Named(nn.Module):
        """Wider than its vocabulary, and with a position for each token: shapes do not identify a matrix."""

        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Parameter(torch.randn(V, V)), nn.Parameter(torch.randn(V, V))
            self.c, self.d = nn.Parameter(torch.randn(V, V)), nn.Parameter(torch.randn(V, V))

        def forward(self, tokens: Tensor) -> Tensor:
            x = self.b[tokens] + self.c[: tokens.shape[1]]
            return torch.tanh(x @ self.d / V) @ self.a

    model = Named()
    found = find_vocabulary_matrices(Probe(Subject(model, lambda m, t: m(t), vocab_size=V), seed=1))
    assert (found.inputs, found.outputs) == ({"b"}, {"a"})
    assert find_vocabulary_matrices(Probe(Subject(Tied(), lambda m, t: m(t), vocab_size=V), seed=1)).inputs == {
        "embedding.weight"
    }


def test_the_model_is_restored():
    model = Tied()
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    for name in NAMES:
        check(name.removeprefix("parameters."), model)
    assert all(torch.equal(before[name], weight) for name, weight in model.state_dict().items())
    assert model.training
