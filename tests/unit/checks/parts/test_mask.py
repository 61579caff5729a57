"""Causal masks of several conventions pass, and every wrong one is caught and named."""
# ruff: noqa: N803  # T and S are the letters of clearformer/shapes.py

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from clearformer.blocks.masks import causal_mask
from clearformer.checks.outcome import Outcome
from clearformer.checks.parts.probe import PartSubject

Causes = Callable[..., dict[str, str]]
Make = Callable[[int], Tensor]


def ones(T: int, S: int | None = None) -> Tensor:
    return torch.ones(T, S or T, dtype=torch.bool)


def added(hidden: Tensor, value: float = -torch.inf) -> Tensor:
    return torch.zeros(hidden.shape).masked_fill(hidden, value)


SOUND = {
    "clearformer": causal_mask,
    "boolean": lambda n: ones(n).tril(),
    "boolean, hides": lambda n: ones(n).triu(1),
    "torch.nn": nn.Transformer.generate_square_subsequent_mask,
    "integers": lambda n: ones(n).tril().long(),
    "the dtype's minimum": lambda n: added(ones(n).triu(1), torch.finfo(torch.float32).min),
    "minus a billion": lambda n: added(ones(n).triu(1), -1e9),
    "with axes of length one": lambda n: ones(n).tril()[None, None],
    "of queries and keys": lambda n, s: ones(n, s).tril(s - n),
    "of positions": lambda n, s: torch.arange(s - n, s)[:, None] >= torch.arange(s),
    "numbers, declared": PartSubject(lambda n: torch.ones(n, n).tril(), {"mask": "allow"}),
    "hides, declared": PartSubject(lambda n: ones(n).triu(1), {"mask": "hide"}),
}
WRONG = {
    "sees ahead": (lambda n: ones(n).tril(1), {"diagonal": "sees-ahead"}),
    "sees ahead, hides": (lambda n: ones(n).triu(2), {"diagonal": "sees-ahead"}),
    "sees ahead, added": (lambda n: added(ones(n).triu(2)), {"diagonal": "sees-ahead"}),
    "not itself": (lambda n: ones(n).tril(-1), {"diagonal": "not-itself"}),
    "not itself, hides": (lambda n: ones(n).triu(), {"diagonal": "not-itself"}),
    "transposed": (PartSubject(lambda n: ones(n).triu(), {"mask": "allow"}), {"diagonal": "transposed"}),
    "transposed, added": (lambda n: added(ones(n).tril(-1)), {"diagonal": "transposed"}),
    "inverted": (PartSubject(lambda n: ones(n).triu(1), {"mask": "allow"}), {"diagonal": "inverted"}),
    "nothing hidden": (ones, {"diagonal": "no-mask", "corner": "other"}),
    "all hidden": (lambda n: added(ones(n)), {"diagonal": "hides-all"}),
    "a window of one": (lambda n: torch.eye(n, dtype=torch.bool), {"diagonal": "other"}),
    "short": (lambda n: ones(n).tril(int(n == 2)), {"diagonal": "short"}),
    "corner": (lambda n, s: ones(n, s).tril(), {"corner": "corner"}),
    "another corner": (lambda n, s: ones(n, s).tril((s - n) // 2), {"corner": "other"}),
    "finite": (lambda n: added(ones(n).triu(1), -1e4), {"values": "finite"}),
    "small": (lambda n: added(ones(n).triu(1), -100.0), {"values": "finite"}),
    "floating point": (lambda n: torch.ones(n, n).tril(), {"values": "dtype"}),
}


@pytest.mark.parametrize("style", SOUND)
def test_a_sound_mask_passes_in_any_convention(style: str, causes: Causes):
    assert causes("mask", SOUND[style]) == {}


@pytest.mark.parametrize("bug", WRONG)
def test_a_wrong_mask_is_caught_and_named(bug: str, causes: Causes):
    target, expected = WRONG[bug]
    assert causes("mask", target) == expected


def test_the_convention_is_reported(outcomes: Callable[..., dict[str, Outcome]]):
    for style, note in {
        "boolean": "True, or 1, means that a query may attend",
        "boolean, hides": "True, or 1, means that a key is hidden",
        "torch.nn": "it is added to the scores",
    }.items():
        assert outcomes("mask", SOUND[style])["diagonal"].notes[0] == note


def test_a_count_of_wrong_pairs_is_measured(outcomes: Callable[..., dict[str, Outcome]]):
    # of 8 queries each but the last sees one key too many
    assert outcomes("mask", lambda n: ones(n).tril(1))["diagonal"].measured == 7
