"""Models that misbehave: each run ends with a report and no traceback, and the right check fails."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from clearformer.checks.check import Check, Result
from clearformer.checks.models.run import choose, run_checks
from clearformer.checks.report.text import describe_problem
from clearformer.checks.subject import Subject

V = 11


class Misbehaving(nn.Module):
    """A correct GPT, and a function of it and the tokens that returns something else than its logits."""

    def __init__(self, gpt: nn.Module, behaviour: Callable[["Misbehaving", Tensor], Any]) -> None:
        super().__init__()
        self.gpt, self.behaviour, self.calls = gpt, behaviour, 0

    def forward(self, tokens: Tensor) -> Any:
        self.calls += 1
        return self.behaviour(self, tokens)


def one_nan(model: Misbehaving, tokens: Tensor) -> Tensor:
    logits = model.gpt(tokens).clone()
    logits[0, -1, 0] = torch.nan
    return logits


def view_of_its_weights(model: Misbehaving, tokens: Tensor) -> Tensor:
    return next(model.gpt.parameters())[:V, :1].T.expand(*tokens.shape, V)


def learns(model: Misbehaving, tokens: Tensor) -> Tensor:
    with torch.no_grad():
        for weight in model.gpt.parameters():
            weight.mul_(0.9)
    return model.gpt(tokens)


def writes_into_its_input(model: Misbehaving, tokens: Tensor) -> Tensor:
    logits = model.gpt(tokens)
    tokens.zero_()
    return logits


def raises(_: Misbehaving, __: Tensor) -> None:
    raise KeyError("x")


def raises_at_times(model: Misbehaving, tokens: Tensor) -> Tensor:
    if model.calls % 2:
        raise RuntimeError("not now")
    return model.gpt(tokens)


def leaves(_: Misbehaving, __: Tensor) -> None:
    raise SystemExit(0)


MISBEHAVIOURS: dict[str, tuple[Callable[[Misbehaving, Tensor], Any], str, str]] = {
    "constant": (lambda m, tokens: torch.zeros(*tokens.shape, V) + 0 * m.gpt(tokens), "masks.past", "failed"),
    "constant without gradient": (lambda _, tokens: torch.ones(*tokens.shape, V), "masks.past", "failed"),
    "NaN": (lambda m, tokens: m.gpt(tokens) * torch.nan, "numbers.finite", "failed"),
    "one NaN": (one_nan, "numbers.finite", "failed"),
    "last position only": (lambda m, tokens: m.gpt(tokens)[:, -1], "masks.future", "crashed"),
    "transposed": (lambda m, tokens: m.gpt(tokens).transpose(0, 1), "masks.future", "crashed"),
    "other width": (lambda m, tokens: m.gpt(tokens)[..., : 3 + m.calls % 5], "numbers.float64", "crashed"),
    "integers": (lambda m, tokens: m.gpt(tokens).long(), "masks.future", "crashed"),
    "nothing": (lambda *_: None, "masks.future", "crashed"),
    "view of its weights": (view_of_its_weights, "masks.past", "failed"),
    "learns": (learns, "state.unchanged", "failed"),
    # its tokens are a copy; the backward pass needs them
    "writes into its input": (writes_into_its_input, "masks.gradient", "crashed"),
    "remembers": (lambda m, tokens: m.gpt(tokens) + m.calls, "state.unchanged", "failed"),
    "random": (lambda m, tokens: m.gpt(tokens) + torch.randn(V), "state.unchanged", "failed"),
    "raises": (raises, "masks.future", "crashed"),
    "raises at times": (raises_at_times, "masks.future", "crashed"),
    "leaves": (leaves, "masks.future", "crashed"),
}
"""what the model does, the check that must report it, and its status"""


def loss(model: nn.Module, tokens: Tensor, labels: Tensor) -> Tensor:
    return nn.functional.cross_entropy(model(tokens)[:, :-1].flatten(0, 1), labels[:, 1:].flatten())


def check(model: nn.Module, checks: dict[str, Check]) -> dict[str, Result]:
    """The results, after asserting that all checks have run and the model is unchanged."""
    before = {name: value.clone() for name, value in model.state_dict().items()}
    subject = Subject(model, lambda model, tokens: model(tokens), vocab_size=V, context=7, loss=loss)
    results = {result.id: result for result in run_checks(subject, checks)}
    assert list(results) == list(checks)
    assert all(describe_problem(result).startswith(f"{name} ") for name, result in results.items())
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
    return results


@pytest.mark.slow
@pytest.mark.parametrize("name", MISBEHAVIOURS)
def test_misbehaviour_is_reported_by_its_check_and_never_ends_the_run(name: str, tiny):
    behaviour, reporting, status = MISBEHAVIOURS[name]
    outcome = check(Misbehaving(tiny("gpt"), behaviour), choose(skip=["learning"]))[reporting].outcome
    assert outcome.status == status, outcome


@pytest.mark.slow
@pytest.mark.parametrize("name", ["NaN", "other width", "integers", "raises", "raises at times"])
def test_no_misbehaviour_ends_a_training_or_passes_it(name: str, tiny):
    results = check(Misbehaving(tiny("gpt"), MISBEHAVIOURS[name][0]), choose(only=["learning"], slow=True))
    assert results["learning.one-batch"].outcome.status != "passed"


def test_a_model_that_is_its_input_uses_no_earlier_token():
    subject = Subject(nn.Identity(), lambda model, vectors: model(vectors), width=8, context=7)
    results = {result.id: result for result in run_checks(subject, choose(only=["masks"]))}
    assert results["masks.future"].outcome.status == "passed"
    assert results["masks.past"].outcome.status == "failed"
