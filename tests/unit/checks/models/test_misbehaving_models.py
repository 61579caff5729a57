"""Models that misbehave: each run ends with a report and no traceback, and the right check fails."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from clearformer.checks.check import Check, Result
from clearformer.checks.models.run import choose, run_checks
from clearformer.checks.report.text import describe_problem
from clearformer.checks.subject import Subject

V = 11


class Misbehaving(nn.Module):
    """A correct GPT, and a function that corrupts its inputs or logits."""

    def __init__(self, correct: nn.Module, behaviour: Callable[["Misbehaving", Tensor], Tensor]) -> None:
        super().__init__()
        self.correct = correct
        self.behaviour = behaviour
        self.calls = 0

    def forward(self, tokens: Tensor) -> Tensor:
        return self.behaviour(self, tokens)


def constant(model: Misbehaving, tokens: Tensor) -> Tensor:
    return torch.zeros(*tokens.shape, V) + 0 * model.correct(tokens)


def constant_without_gradient(_: Misbehaving, tokens: Tensor) -> Tensor:
    return torch.ones(*tokens.shape, V)


def nan(model: Misbehaving, tokens: Tensor) -> Tensor:
    return model.correct(tokens) * float("nan")


def one_nan(model: Misbehaving, tokens: Tensor) -> Tensor:
    logits = model.correct(tokens).clone()
    logits[0, -1, 0] = float("nan")
    return logits


def last_position_only(model: Misbehaving, tokens: Tensor) -> Tensor:
    return model.correct(tokens)[:, -1]


def transposed(model: Misbehaving, tokens: Tensor) -> Tensor:
    return model.correct(tokens).transpose(0, 1)


def another_width_each_time(model: Misbehaving, tokens: Tensor) -> Tensor:
    model.calls += 1
    return model.correct(tokens)[..., : 3 + model.calls % 5]


def integers(model: Misbehaving, tokens: Tensor) -> Tensor:
    return model.correct(tokens).long()


def nothing(_: Misbehaving, __: Tensor) -> Tensor:
    return None  # type: ignore[return-value]


def view_of_its_weights(model: Misbehaving, tokens: Tensor) -> Tensor:
    return model.correct.get_parameter(next(name for name, _ in model.correct.named_parameters()))[:V, :1].T.expand(
        *tokens.shape, V
    )


def learns(model: Misbehaving, tokens: Tensor) -> Tensor:
    with torch.no_grad():
        for weight in model.correct.parameters():
            weight.mul_(0.9)
    return model.correct(tokens)


def writes_into_its_input(model: Misbehaving, tokens: Tensor) -> Tensor:
    logits = model.correct(tokens)
    tokens.zero_()
    return logits


def remembers(model: Misbehaving, tokens: Tensor) -> Tensor:
    model.calls += 1
    return model.correct(tokens) + model.calls


def is_random(model: Misbehaving, tokens: Tensor) -> Tensor:
    return model.correct(tokens) + torch.randn(V)


def raises(_: Misbehaving, __: Tensor) -> Tensor:
    raise KeyError("x")


def raises_at_times(model: Misbehaving, tokens: Tensor) -> Tensor:
    model.calls += 1
    if model.calls % 2:
        raise RuntimeError("not now")
    return model.correct(tokens)


def leaves(_: Misbehaving, __: Tensor) -> Tensor:
    raise SystemExit(0)


MISBEHAVIOURS: dict[Callable[[Misbehaving, Tensor], Tensor], tuple[str, str]] = {
    constant: ("masks.past", "failed"),
    constant_without_gradient: ("masks.past", "failed"),
    nan: ("numbers.finite", "failed"),
    one_nan: ("numbers.finite", "failed"),
    last_position_only: ("masks.future", "crashed"),
    transposed: ("masks.future", "crashed"),
    another_width_each_time: ("numbers.float64", "crashed"),
    integers: ("masks.future", "crashed"),
    nothing: ("masks.future", "crashed"),
    view_of_its_weights: ("masks.past", "failed"),
    learns: ("state.unchanged", "failed"),
    writes_into_its_input: ("masks.gradient", "crashed"),  # its tokens are a copy; the backward pass needs them
    remembers: ("state.unchanged", "failed"),
    is_random: ("state.unchanged", "failed"),
    raises: ("masks.future", "crashed"),
    raises_at_times: ("masks.future", "crashed"),
    leaves: ("masks.future", "crashed"),
}
"""the check that must report it, and its status"""


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
@pytest.mark.parametrize("behaviour", MISBEHAVIOURS, ids=lambda behaviour: behaviour.__name__)
def test_misbehaviour_is_reported_by_its_check_and_never_ends_the_run(
    behaviour: Callable[[Misbehaving, Tensor], Tensor], tiny
):
    name, status = MISBEHAVIOURS[behaviour]
    outcome = check(Misbehaving(tiny("gpt"), behaviour), choose(skip=["learning"]))[name].outcome
    assert outcome.status == status, outcome


@pytest.mark.slow
@pytest.mark.parametrize("behaviour", [nan, another_width_each_time, integers, raises, raises_at_times])
def test_no_misbehaviour_ends_a_training_or_passes_it(behaviour: Callable[[Misbehaving, Tensor], Tensor], tiny):
    results = check(Misbehaving(tiny("gpt"), behaviour), choose(only=["learning"], slow=True))
    assert results["learning.one-batch"].outcome.status != "passed"


def test_a_model_that_is_its_input_uses_no_earlier_token():
    subject = Subject(nn.Identity(), lambda model, vectors: model(vectors), width=8, context=7)
    results = {result.id: result for result in run_checks(subject, choose(only=["masks"]))}
    assert results["masks.future"].outcome.status == "passed"
    assert results["masks.past"].outcome.status == "failed"
