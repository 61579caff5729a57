"""A part is restored after the checks, and whatever it does is a result."""

import random

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from clearformer.blocks.norm import LayerNorm
from clearformer.blocks.rotary import rotary
from clearformer.checks.outcome import Outcome
from clearformer.checks.parts.catalogue import PARTS
from clearformer.checks.parts.probe import PartSubject
from clearformer.checks.parts.run import run_part
from clearformer.errors import ClearformerError


def trained(module: nn.Module) -> nn.Module:
    for parameter in module.parameters():
        nn.init.normal_(parameter)
        parameter.grad = torch.ones_like(parameter)
    return module.train()


def everything(module: nn.Module) -> list[object]:
    tensors = [*module.parameters(), *module.buffers(), *(parameter.grad for parameter in module.parameters())]
    states = [torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()]
    return [[id(tensor) for tensor in tensors], [tensor.tolist() for tensor in tensors], module.training, *states]


@pytest.mark.parametrize(
    ("part", "module"),
    [
        ("layer-norm", LayerNorm(16)),
        ("rms-norm", nn.RMSNorm(16)),
        ("feed-forward", nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 16))),
        ("attention", nn.MultiheadAttention(16, 2, batch_first=True)),
    ],
)
def test_a_module_and_the_random_states_are_restored(part: str, module: nn.Module):
    before = everything(trained(module))
    assert {result.outcome.status for result in run_part(part, module)} <= {"passed", "does not apply"}
    assert everything(module) == before


@pytest.mark.parametrize("part", PARTS)
def test_an_error_of_a_part_is_reported_once(part: str):
    def broken(*_: object) -> Tensor:
        raise ZeroDivisionError("the user's own")

    results = list(run_part(part, broken))
    assert [result.outcome.status for result in results] == ["crashed"] + ["not run"] * (len(results) - 1)
    assert "ZeroDivisionError: the user's own" in results[0].outcome.case
    assert "test_run.py" in results[0].outcome.case
    assert " was expected; called so, it said: " in results[0].outcome.case
    assert results[1].outcome.case == f"it crashes as in {results[0].id}"


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("made", [None, "words", (), torch.zeros(3)])
def test_an_object_that_is_no_such_part_is_a_crash_that_names_the_expected_form(part: str, made: object):
    first = next(iter(run_part(part, lambda *_: made))).outcome
    assert first.status == "crashed"
    assert " was expected; called so, it said: " in first.case


def test_a_crash_in_one_check_leaves_the_others():
    def norm(x: Tensor) -> Tensor:
        if x.abs().max() > 2000.0:
            raise ValueError("too large")
        return nn.functional.layer_norm(x, x.shape[-1:])

    found = {result.id: result.outcome.status for result in run_part("layer-norm", norm)}
    assert found.pop("layer-norm.large") == "crashed"
    assert set(found.values()) == {"passed", "does not apply"}


@pytest.mark.parametrize("part", PARTS)
def test_nan_never_passes(part: str):
    def poisoned(x: object, *_: object) -> Tensor:
        return x * float("nan") if isinstance(x, Tensor) else torch.full((x, x), float("nan"))  # type: ignore[call-overload]

    statuses = [result.outcome.status for result in run_part(part, poisoned)]
    assert "failed" in statuses or "crashed" in statuses


EXPECTED = "was expected in PartSubject's declarations"


@pytest.mark.parametrize(
    ("part", "declared", "message"),
    [
        ("rotary", {"layut": "interleaved"}, f"one of layout, base {EXPECTED} of this part, found 'layut'"),
        ("rotary", {"layout": "halves"}, "one of 'interleaved', 'half-split' was expected for 'layout'"),
        ("rotary", {"base": "large"}, "a number was expected for 'base' in PartSubject's declarations, found 'large'"),
        ("feed-forward", {"width": 3}, f"nothing {EXPECTED} of this part, found 'width'"),
    ],
)
def test_unknown_declarations_are_refused(part: str, declared: dict[str, object], message: str):
    with pytest.raises(ClearformerError) as error:
        list(run_part(part, PartSubject(rotary, declared)))
    assert message in str(error.value)


def test_an_unknown_part_is_named():
    with pytest.raises(
        ClearformerError, match=r"one of the parts attention, layer-norm, .* was expected, found 'norm'"
    ):
        list(run_part("norm", LayerNorm(8)))


def test_the_same_seed_gives_the_same_numbers():
    def numbers(seed: int) -> list[Outcome]:
        return [result.outcome for result in run_part("layer-norm", LayerNorm(16), seed)]

    assert numbers(3) == numbers(3)
    assert numbers(3) != numbers(4)
