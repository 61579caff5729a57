"""Two bugs are told from one by an experiment: without the first one's effect, the second still shows."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clearformer.checks.api import check_model
from clearformer.checks.check import Result
from clearformer.checks.report.text import describe_problems, problems
from clearformer.checks.subject import Subject

V, D, CONTEXT = 23, 16, 16


class Tiny(nn.Module):
    """Causal attention; a bug is switched on by its name."""

    def __init__(self, *bugs: str) -> None:
        super().__init__()
        self.bugs = bugs
        self.embedding, self.positions = nn.Embedding(V, D), nn.Embedding(CONTEXT, D)
        self.qkv, self.head = nn.Linear(D, 3 * D), nn.Linear(D, V)

    def forward(self, tokens: Tensor, real: Tensor | None = None) -> Tensor:
        where = torch.arange(tokens.shape[1])
        if real is not None and "positions" not in self.bugs:
            where = (real.cumsum(1) - 1).clamp(min=0)
        x = self.embedding(tokens) + self.positions(where)
        x = F.dropout(x, 0.1, self.training or "dropout" in self.bugs)
        q, k, v = self.qkv(x).chunk(3, -1)
        allowed = torch.ones(q.shape[1], q.shape[1], dtype=torch.bool)
        allowed = allowed if "no mask" in self.bugs else allowed.tril()
        if real is not None and "padding" not in self.bugs:
            allowed = allowed & real[:, None]
        scores = (q @ k.transpose(-1, -2) / math.sqrt(D)).masked_fill(~allowed, torch.finfo(q.dtype).min)
        x = x + scores.softmax(-1) @ v
        x = x + x.mean(0, keepdim=True) if "rows" in self.bugs else x
        return self.head(x)


def check(*bugs: str, only: tuple[str, ...]) -> list[Result]:
    subject = Subject(
        Tiny(*bugs),
        call=lambda model, tokens: model(tokens),
        padded=lambda model, tokens, real: model(tokens, real),
        sides=("left", "right"),
        vocab_size=V,
        context=CONTEXT,
    )
    return check_model(subject, only=only)


def problems_of(*bugs: str, only: tuple[str, ...]) -> list[tuple[str, str]]:
    """Each with its cause, or what it follows from."""
    return [(result.id, result.follows or result.outcome.cause) for result in problems(check(*bugs, only=only))]


@pytest.mark.parametrize(
    ("bug", "only", "root"),
    [
        ("dropout", ("masks.future", "learning.dropout"), ("learning.dropout", "dropout-in-evaluation")),
        ("rows", ("masks.future", "batches"), ("batches.independent", "rows-mixed")),
        ("no mask", ("masks.future", "masks.past", "batches.left-padding"), ("masks.future", "no-mask")),
        ("positions", ("batches", "masks"), ("batches.left-padding", "positions-shifted")),
    ],
)
def test_one_bug_has_one_root(bug: str, only: tuple[str, ...], root: tuple[str, str]):
    first, *others = problems_of(bug, only=only)
    assert first == root
    assert {follows for _, follows in others} <= {root[0]}


@pytest.mark.parametrize(
    ("bugs", "second"),
    [
        (("dropout", "no mask"), ("masks.future", "no-mask")),
        (("rows", "no mask"), ("masks.future", "no-mask")),
        (("no mask", "padding"), ("batches.left-padding", "padding-attended")),
        (("no mask", "positions"), ("batches.left-padding", "positions-shifted")),
    ],
)
def test_a_second_bug_is_found_behind_the_first_with_its_own_cause(bugs: tuple[str, ...], second: tuple[str, str]):
    only = ("learning.dropout", "batches.independent", "masks.future", "batches.left-padding")
    assert second in problems_of(*bugs, only=only)[1:]


def test_a_second_bug_stands_beside_the_first_with_the_experiment_that_told_them_apart():
    text = describe_problems(check("dropout", "no mask", only=("learning.dropout", "masks.future")))
    first, second = text.split("\n\n")
    assert first.startswith("Start here: learning.dropout FAILED (dropout-in-evaluation): ")
    assert second.startswith("Beside it: masks.future FAILED (no-mask): ")
    assert (
        "also seen  with dropout taken out it fails as well, so it is not a consequence of learning.dropout" in second
    )
