"""Causal masks of several conventions pass, and every wrong one is caught and named."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from clearformer.blocks.masks import causal_mask
from clearformer.checks.outcome import Outcome
from clearformer.checks.parts.probe import PartSubject

Causes = Callable[..., dict[str, str]]
Make = Callable[[int], Tensor]


def ones(T: int, S: int | None = None) -> Tensor:  # noqa: N803
    return torch.ones(T, S or T, dtype=torch.bool)


def added(T: int, value: float) -> Tensor:  # noqa: N803
    return torch.zeros(T, T).masked_fill(ones(T).triu(1), value)


SOUND = {
    "clearformer": causal_mask,
    "boolean": lambda n: ones(n).tril(),
    "boolean, hides": lambda n: ones(n).triu(1),
    "torch.nn": nn.Transformer.generate_square_subsequent_mask,
    "integers": lambda n: ones(n).tril().long(),
    "the dtype's minimum": lambda n: added(n, torch.finfo(torch.float32).min),
    "minus a billion": lambda n: added(n, -1e9),
    "with axes of length one": lambda n: ones(n).tril()[None, None],
    "of queries and keys": lambda n, s: ones(n, s).tril(s - n),
    "of positions": lambda n, s: torch.arange(s - n, s)[:, None] >= torch.arange(s),
    "numbers, said": PartSubject(lambda n: torch.ones(n, n).tril(), {"mask": "allow"}),
    "hides, said": PartSubject(lambda n: ones(n).triu(1), {"mask": "hide"}),
}
WRONG = {
    "sees ahead": (lambda n: ones(n).tril(1), {"diagonal": "sees-ahead"}),
    "sees ahead, hides": (lambda n: ones(n).triu(2), {"diagonal": "sees-ahead"}),
    "sees ahead, added": (
        lambda n: torch.zeros(n, n).masked_fill(ones(n).triu(2), -torch.inf),
        {"diagonal": "sees-ahead"},
    ),
    "not itself": (lambda n: ones(n).tril(-1), {"diagonal": "not-itself"}),
    "not itself, hides": (lambda n: ones(n).triu(), {"diagonal": "not-itself"}),
    "transposed": (PartSubject(lambda n: ones(n).triu(), {"mask": "allow"}), {"diagonal": "transposed"}),
    "transposed, added": (
        lambda n: torch.zeros(n, n).masked_fill(ones(n).tril(-1), -torch.inf),
        {"diagonal": "transposed"},
    ),
    "inverted": (PartSubject(lambda n: ones(n).triu(1), {"mask": "allow"}), {"diagonal": "inverted"}),
    "nothing hidden": (ones, {"diagonal": "no-mask", "corner": "other"}),
    "all hidden": (lambda n: added(n, -torch.inf) - torch.inf, {"diagonal": "hides-all"}),
    "a window of one": (lambda n: torch.eye(n, dtype=torch.bool), {"diagonal": "other"}),
    "short": (lambda n: ones(n).tril(int(n == 2)), {"diagonal": "short"}),
    "corner": (lambda n, s: ones(n, s).tril(), {"corner": "corner"}),
    "another corner": (lambda n, s: ones(n, s).tril((s - n) // 2), {"corner": "other"}),
    "finite": (lambda n: added(n, -1e4), {"values": "finite"}),
    "small": (lambda n: added(n, -100.0), {"values": "finite"}),
    "floating point": (lambda n: torch.ones(n, n).tril(), {"values": "dtype"}),
}


@pytest.mark.parametrize("style", SOUND)
def test_a_sound_mask_passes_in_any_convention(style: str, causes: Causes):
    assert causes("mask", SOUND[style]) == {}


@pytest.mark.parametrize("bug", WRONG)
def test_a_wrong_mask_is_caught_and_named(bug: str, causes: Causes):
    target, expected = WRONG[bug]
    found = causes("mask", target)
    assert found == expected


def test_the_convention_is_reported(outcomes: Callable[..., dict[str, Outcome]]):
    seen = [outcomes("mask", SOUND[name])["diagonal"].notes[0] for name in ("boolean", "boolean, hides", "torch.nn")]
    assert seen == [
        "True, or 1, means that a query may attend",
        "True, or 1, means that a key is hidden",
        "it is added to the scores",
    ]


def test_a_count_of_wrong_pairs_is_measured(outcomes: Callable[..., dict[str, Outcome]]):
    # of 8 queries each but the last sees one key too many
    assert outcomes("mask", lambda n: ones(n).tril(1))["diagonal"].measured == 7
