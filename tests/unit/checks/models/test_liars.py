"""Models that lie: each run ends with a report and no traceback, and the check that names the lie says so."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from clearformer.checks.check import Check, Result
from clearformer.checks.models.run import choose, run_checks
from clearformer.checks.report.text import failure
from clearformer.checks.subject import Subject

V = 11


class Liar(nn.Module):
    """A sound GPT, and what `lie` makes of its inputs and logits."""

    def __init__(self, sound: nn.Module, lie: Callable[["Liar", Tensor], Tensor]) -> None:
        super().__init__()
        self.sound = sound
        self.lie = lie
        self.calls = 0

    def forward(self, tokens: Tensor) -> Tensor:
        return self.lie(self, tokens)


def constant(model: Liar, tokens: Tensor) -> Tensor:
    return torch.zeros(*tokens.shape, V) + 0 * model.sound(tokens)


def constant_without_gradient(_: Liar, tokens: Tensor) -> Tensor:
    return torch.ones(*tokens.shape, V)


def nan(model: Liar, tokens: Tensor) -> Tensor:
    return model.sound(tokens) * float("nan")


def one_nan(model: Liar, tokens: Tensor) -> Tensor:
    logits = model.sound(tokens).clone()
    logits[0, -1, 0] = float("nan")
    return logits


def last_position_only(model: Liar, tokens: Tensor) -> Tensor:
    return model.sound(tokens)[:, -1]


def transposed(model: Liar, tokens: Tensor) -> Tensor:
    return model.sound(tokens).transpose(0, 1)


def another_width_each_time(model: Liar, tokens: Tensor) -> Tensor:
    model.calls += 1
    return model.sound(tokens)[..., : 3 + model.calls % 5]


def integers(model: Liar, tokens: Tensor) -> Tensor:
    return model.sound(tokens).long()


def nothing(_: Liar, __: Tensor) -> Tensor:
    return None  # type: ignore[return-value]


def view_of_its_weights(model: Liar, tokens: Tensor) -> Tensor:
    return model.sound.get_parameter(next(name for name, _ in model.sound.named_parameters()))[:V, :1].T.expand(
        *tokens.shape, V
    )


def learns(model: Liar, tokens: Tensor) -> Tensor:
    with torch.no_grad():
        for weight in model.sound.parameters():
            weight.mul_(0.9)
    return model.sound(tokens)


def writes_into_its_input(model: Liar, tokens: Tensor) -> Tensor:
    logits = model.sound(tokens)
    tokens.zero_()
    return logits


def remembers(model: Liar, tokens: Tensor) -> Tensor:
    model.calls += 1
    return model.sound(tokens) + model.calls


def is_random(model: Liar, tokens: Tensor) -> Tensor:
    return model.sound(tokens) + torch.randn(V)


def raises(_: Liar, __: Tensor) -> Tensor:
    raise KeyError("x")


def raises_at_times(model: Liar, tokens: Tensor) -> Tensor:
    model.calls += 1
    if model.calls % 2:
        raise RuntimeError("not now")
    return model.sound(tokens)


def leaves(_: Liar, __: Tensor) -> Tensor:
    raise SystemExit(0)


LIES: dict[Callable[[Liar, Tensor], Tensor], tuple[str, str]] = {
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
"""the check that must speak against it, and how"""


def loss(model: nn.Module, tokens: Tensor, labels: Tensor) -> Tensor:
    return nn.functional.cross_entropy(model(tokens)[:, :-1].flatten(0, 1), labels[:, 1:].flatten())


def check(model: nn.Module, checks: dict[str, Check]) -> dict[str, Result]:
    """Their results, after a look at whether all have run and the model is as it was."""
    before = {name: value.clone() for name, value in model.state_dict().items()}
    subject = Subject(model, lambda model, tokens: model(tokens), vocab_size=V, context=7, loss=loss)
    results = {result.id: result for result in run_checks(subject, checks)}
    assert list(results) == list(checks)
    assert all(failure(result).startswith(f"{name} ") for name, result in results.items())
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
    return results


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.__name__)
def test_a_lie_is_named_by_its_check_and_none_ends_the_run(lie: Callable[[Liar, Tensor], Tensor], tiny):
    name, status = LIES[lie]
    outcome = check(Liar(tiny("gpt"), lie), choose(skip=["learning"]))[name].outcome
    assert outcome.status == status, outcome


@pytest.mark.slow
@pytest.mark.parametrize("lie", [nan, another_width_each_time, integers, raises, raises_at_times])
def test_no_lie_ends_a_training_or_passes_it(lie: Callable[[Liar, Tensor], Tensor], tiny):
    results = check(Liar(tiny("gpt"), lie), choose(only=["learning"], slow=True))
    assert results["learning.one-batch"].outcome.status != "passed"


def test_a_model_that_is_its_input_uses_no_earlier_token():
    subject = Subject(nn.Identity(), lambda model, vectors: model(vectors), width=8, context=7)
    results = {result.id: result for result in run_checks(subject, choose(only=["masks"]))}
    assert results["masks.future"].outcome.status == "passed"
    assert results["masks.past"].outcome.status == "failed"
