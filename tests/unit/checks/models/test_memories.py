"""Memories of a segment are given to the next one without the graph that they come from."""

import pytest
import torch
from torch import Tensor, nn

from clearformer.checks.models.catalogue import CHECKS
from clearformer.checks.models.run import run_check
from clearformer.checks.recognise import recognise

V, D = 17, 8


class SegmentLM(nn.Module):
    """Attends to the inputs of the segments before, which it returns. With `keeps`, as they are."""

    def __init__(self, keeps: bool) -> None:
        super().__init__()
        self.keeps = keeps
        self.tokens, self.head = nn.Embedding(V, D), nn.Linear(D, V)

    def forward(self, x: Tensor, mems: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x = self.tokens(x)
        both = x if mems is None else torch.cat([mems, x], dim=1)
        hidden = torch.ones(x.shape[1], both.shape[1], dtype=torch.bool).triu(both.shape[1] - x.shape[1] + 1)
        weights = (x @ both.mT * D**-0.5).masked_fill(hidden, -torch.inf).softmax(-1)
        return self.head(x + weights @ both), both if self.keeps else both.detach()


class RecurrentLM(nn.Module):
    """A state of one size, which is trained through time."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.head = nn.Embedding(V, D), nn.Linear(D, V)

    def forward(self, x: Tensor, mems: Tensor | None = None) -> tuple[Tensor, Tensor]:
        start = torch.zeros(len(x), 1, D) if mems is None else mems
        x = start + self.tokens(x).cumsum(1)
        return self.head(x), x[:, -1:]


@pytest.mark.parametrize(("keeps", "cause"), [(True, "graph-kept"), (False, "")])
def test_memories_must_not_lead_a_gradient_into_the_segment_before(keeps: bool, cause: str):
    outcome = run_check(recognise(SegmentLM(keeps)), CHECKS["cache.separate"], seed=1)
    assert (outcome.status, outcome.cause) == ("failed" if cause else "passed", cause), outcome


def test_a_state_of_one_size_may_be_trained_through_time():
    subject = recognise(RecurrentLM())
    assert subject.step is not None
    assert run_check(subject, CHECKS["cache.separate"], seed=1).status == "passed"
