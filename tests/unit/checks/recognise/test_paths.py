"""Other paths to a model's logits are found and compared with the call, and so are positions."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clearformer.checks.models.catalogue import CHECKS
from clearformer.checks.models.run import run_check
from clearformer.checks.recognise import recognise

V, D, CONTEXT = 23, 8, 14


class Averages(nn.Module):
    """A causal model: logits of the mean of the tokens and positions so far."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.tokens, self.positions, self.head = nn.Embedding(V, D), nn.Embedding(CONTEXT, D), nn.Linear(D, V)

    def _logits(self, tokens: Tensor, positions: Tensor | None = None) -> Tensor:
        T = tokens.shape[1]  # noqa: N806
        x = (self.tokens(tokens) + self.positions(torch.arange(T) if positions is None else positions)).tanh()
        return self.head(x.cumsum(1) / torch.arange(1, T + 1)[:, None])

    def forward(self, tokens: Tensor) -> Any:
        return self._logits(tokens)


class LastWithoutTargets(Averages):
    place = -1

    def forward(self, tokens: Tensor, targets: Tensor | None = None) -> Any:
        logits = self._logits(tokens)
        if targets is None:
            return logits[:, [self.place]], None
        return logits, F.cross_entropy(logits.flatten(0, 1), targets.flatten())


class FirstWithoutTargets(LastWithoutTargets):
    place = 0


class Probabilities(Averages):
    def next_probs(self, tokens: Tensor) -> Tensor:
        return self(tokens)[:, -1].softmax(-1)


class Likeliest(Averages):
    def predict(self, tokens: Tensor) -> Tensor:
        return self(tokens).argmax(-1)


class Flag(Averages):
    def forward(self, tokens: Tensor, last_only: bool = False) -> Tensor:
        return self._logits(tokens)[:, -1] if last_only else self._logits(tokens)


class WithoutPositions(Averages):
    def predict_next(self, tokens: Tensor) -> Tensor:
        return self.head(self.tokens(tokens).tanh().mean(1))


class Scaled(Averages):
    def forward(self, tokens: Tensor) -> Tensor:
        return F.dropout(self._logits(tokens), 0.5, self.training) * (1.1 if self.training else 1.0)


class Normed(Averages):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(V)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.norm(self._logits(tokens).transpose(1, 2)).transpose(1, 2)


class Dropped(Averages):
    def forward(self, tokens: Tensor) -> Tensor:
        return F.dropout(self._logits(tokens), 0.5, self.training)


class PositionsUsed(Averages):
    def forward(self, tokens: Tensor, position_ids: Tensor | None = None) -> Tensor:
        return self._logits(tokens, position_ids)


class PositionsFromOne(Averages):
    def forward(self, tokens: Tensor, position_ids: Tensor | None = None) -> Tensor:
        return self._logits(tokens, torch.arange(1, tokens.shape[1] + 1) if position_ids is None else position_ids)


class PositionsBehindPadding(PositionsFromOne):
    """As fairseq counts: the first row of the table of positions is for padding."""

    def __init__(self) -> None:
        super().__init__()
        self.positions.padding_idx = 0


@pytest.mark.parametrize(
    ("family", "check", "cause"),
    [
        (LastWithoutTargets, "inference.paths", ""),
        (Probabilities, "inference.paths", ""),
        (Likeliest, "inference.paths", ""),
        (Flag, "inference.paths", ""),
        (FirstWithoutTargets, "inference.paths", "other-position"),
        (WithoutPositions, "inference.paths", "other-path"),
        (Dropped, "inference.mode", ""),
        (Scaled, "inference.mode", "other-path"),
        (Normed, "inference.mode", "batch-norm"),
        (PositionsUsed, "order.position-ids", ""),
        (PositionsFromOne, "order.position-ids", "other-default"),
        (PositionsBehindPadding, "order.position-ids", ""),
    ],
)
def test_what_else_a_model_offers_agrees_with_its_call(family: type[Averages], check: str, cause: str):
    outcome = run_check(recognise(family(), kind="causal"), CHECKS[check], seed=1)
    assert (outcome.status, outcome.cause) == ("failed" if cause else "passed", cause), outcome


def test_a_model_without_other_paths_has_none():
    subject = recognise(Averages())
    assert (subject.paths, subject.positions) == ({}, None)
