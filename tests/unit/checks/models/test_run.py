"""A run of checks restores the user's model, and ends with a report whatever the model does."""

import random
from collections.abc import Callable
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from clearformer.checks.check import Check
from clearformer.checks.models.catalogue import CHECKS
from clearformer.checks.models.run import choose, run_check, run_checks
from clearformer.checks.outcome import Outcome, failed, passed
from clearformer.checks.probe import training
from clearformer.checks.probe.probe import Probe
from clearformer.checks.subject import Subject
from clearformer.errors import ClearformerError


class Model(nn.Module):
    """Attention without any of the usual names, with tied weights and every form of state that is not a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(11, 8)
        self.out = nn.Linear(8, 11)
        self.out.weight = self.table.weight
        self.register_buffer("calls", torch.tensor(0))
        self.unregistered = torch.ones(8)
        self.cache: Tensor | None = None

    def forward(self, tokens: Tensor) -> Tensor:
        self.calls += 1
        x = self.table(tokens) * self.unregistered
        mask = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).tril()
        weights = (x @ x.transpose(1, 2)).masked_fill(~mask, -torch.inf).softmax(-1)
        return self.out(x + weights @ x)


def subject(model: nn.Module) -> Subject:
    def loss(model: nn.Module, tokens: Tensor, labels: Tensor) -> Tensor:
        return nn.functional.cross_entropy(model(tokens)[:, :-1].flatten(0, 1), labels[:, 1:].flatten())

    return Subject(model, lambda model, tokens: model(tokens), vocab_size=11, context=16, loss=loss)


def state_of(model: Model) -> list[object]:
    """All state that must be restored, as values that can be compared."""
    weights = list(model.parameters())
    tensors = [*weights, model.calls, model.unregistered, *(weight.grad for weight in weights)]
    values = [(id(tensor), tensor.tolist()) for tensor in tensors]
    modes = [module.training for module in model.modules()]
    numpy_state = np.random.get_state()
    states = [torch.get_rng_state().tolist(), random.getstate(), numpy_state[1].tolist(), numpy_state[2]]
    return [values, modes, model.out.weight is model.table.weight, model.cache, states]


@pytest.fixture
def model() -> Model:
    model = Model().train()
    model.out.eval()  # a mode that differs from the model's
    model(torch.tensor([[1, 2, 3]])).sum().backward()
    return model


def change_everything(probe: Probe) -> Outcome:
    probe.model.train(not probe.model.training)
    probe.model.out.training = True
    probe.model.cache = torch.ones(1)
    probe.model.calls = torch.tensor(9)
    probe.model.unregistered.mul_(2)
    probe.model.more = nn.Linear(2, 2)
    for weight in probe.model.parameters():
        weight.add_(1)
        weight.grad = torch.ones_like(weight)
    torch.rand(3), random.random(), np.random.rand()
    return passed(0.0, 1.0)


def crash(probe: Probe) -> Outcome:
    change_everything(probe)
    raise ValueError("three legs\nand a tail")


def interrupt(probe: Probe) -> Outcome:
    change_everything(probe)
    raise KeyboardInterrupt


def test_a_run_of_all_checks_restores_the_model_and_all_random_states(model: Model, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(training, "STEPS", 20)  # what the model learns does not matter here
    before = state_of(model)
    results = list(run_checks(subject(model), choose(slow=True)))
    assert [result.id for result in results] == list(CHECKS)
    assert state_of(model) == before


@pytest.mark.parametrize("check", [change_everything, crash, interrupt])
def test_a_check_that_changes_everything_or_crashes_or_is_interrupted_is_undone(
    model: Model, check: Callable[[Probe], Outcome]
):
    before = state_of(model)
    with pytest.raises(KeyboardInterrupt) if check is interrupt else nullcontext():
        run_check(subject(model), Check("", check), seed=1)
    assert state_of(model) == before
    assert not hasattr(model, "more")


def test_an_error_inside_a_check_is_a_crash_with_its_first_line_and_location(model: Model):
    outcome = run_check(subject(model), Check("", crash), seed=1)
    assert outcome.status == "crashed"
    assert outcome.case.startswith("the check could not go on: ValueError: three legs (")
    assert outcome.case.endswith(", in crash)")
    assert f"{__file__}:" in outcome.case


def test_a_model_that_calls_exit_is_a_crash(model: Model):
    def leave(*_: object) -> Tensor:
        raise SystemExit(3)

    outcome = run_check(Subject(model, leave, vocab_size=11), CHECKS["masks.future"], seed=1)
    assert (outcome.status, outcome.case.split(" (")[0]) == ("crashed", "the check could not go on: SystemExit: 3")


def test_nan_does_not_pass(model: Model):
    outcome = run_check(subject(model), Check("", lambda _: passed(float("nan"), 1.0)), seed=1)
    assert (outcome.status, outcome.cause) == ("failed", "logits-not-finite")


def test_a_model_is_not_trained_once_a_failure_is_known_that_stands_in_the_way(model: Model):
    def outcome(name: str) -> Outcome:
        refuted = Check("", lambda _: failed("a-cause", 1.0, 0.0, case="", diagnosis=""))
        checks = {name: refuted, "learning.one-batch": Check("", lambda _: passed(0.0, 1.0))}
        return list(run_checks(subject(model), checks))[1].outcome

    assert outcome("loss.shift").status == "passed"
    assert outcome("masks.future").status == "not run"
    assert outcome("masks.future").case == "it takes long, and masks.future has failed, which explains a failure"


def test_the_reason_why_a_check_does_not_apply_is_given(model: Model):
    of_classifiers = Check("", change_everything, kinds=("classifier",))
    assert run_check(subject(model), of_classifiers, seed=1) == Outcome(
        "does not apply", case="it is about classifier models, and this one is causal"
    )
    with_cache = run_check(subject(model), Check("", change_everything, needs=("step",)), seed=1)
    assert with_cache.status == "does not apply"
    assert with_cache.case.endswith("write Subject(..., step=lambda model, tokens, cache: (logits, cache))")


def test_a_check_alone_sees_the_same_random_numbers_as_in_a_whole_run(model: Model):
    def draw(probe: Probe) -> Outcome:
        return passed(float(torch.rand(())), 1.0, str(probe.draw(2, 3).tolist()))

    check = Check("", draw)
    _, second = run_checks(subject(model), {"a.first": check, "a.second": check})
    (alone,) = run_checks(subject(model), {"a.second": check})
    assert alone.outcome == second.outcome
    (other,) = run_checks(subject(model), {"a.second": check}, seed=2)
    assert other.outcome != alone.outcome


def test_checks_are_chosen_by_id_by_group_and_by_pattern(monkeypatch: pytest.MonkeyPatch):
    plain, slow = Check("", change_everything), Check("", change_everything, slow_from=100)
    monkeypatch.setattr("clearformer.checks.models.run.CHECKS", {"a.one": plain, "a.two": slow, "b.one": plain})
    assert list(choose(size=99)) == ["a.one", "a.two", "b.one"]
    assert list(choose(size=100)) == ["a.one", "b.one"]
    assert list(choose(slow=True, size=100)) == ["a.one", "a.two", "b.one"]
    assert list(choose(only=["a"], size=100)) == ["a.one"]
    assert list(choose(only=["a.two"], size=100)) == ["a.two"]
    assert list(choose(only=["*.one"], skip=["b"])) == ["a.one"]
    with pytest.raises(ClearformerError, match=r"a group of them, was expected, found 'c\.one'"):
        choose(skip=["c.one"])
