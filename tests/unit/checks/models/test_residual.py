"""What goes into a sub-layer goes past it, and what comes out of it stays in the stream."""

import math

import pytest
import torch
from torch import Tensor, nn

from clearformer.checks.models.catalogue import CHECKS
from clearformer.checks.models.run import run_check
from clearformer.checks.subject import Subject

V, D, CONTEXT = 23, 16, 16


class Tiny(nn.Module):
    """Two layers of attention and a feed-forward network; the last joins what they give with the stream."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.positions, self.head = nn.Embedding(V, D), nn.Embedding(CONTEXT, D), nn.Linear(D, V)
        sizes = {"qkv": (D, 3 * D), "out": (D, D), "up": (D, 2 * D), "down": (2 * D, D)}
        self.layers = nn.ModuleList(
            nn.ModuleDict({name: nn.Linear(*size) for name, size in sizes.items()}) for _ in range(2)
        )

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens) + self.positions.weight[: tokens.shape[1]]
        for layer in self.layers:
            q, k, v = layer["qkv"](x).chunk(3, -1)
            future = torch.ones(q.shape[1], q.shape[1]).triu(1).bool()
            weights = (q @ k.mT / math.sqrt(D)).masked_fill(future, -torch.inf).softmax(-1)
            attended = layer["out"](weights @ v)
            x = self.join(x, attended, layer["down"](layer["up"](x + attended).relu()))
        return self.head(x)

    def join(self, x: Tensor, attended: Tensor, fed: Tensor) -> Tensor:
        return x + attended + fed


class AddsToWhatWasBeforeAttention(Tiny):
    def join(self, x: Tensor, attended: Tensor, fed: Tensor) -> Tensor:  # noqa: ARG002
        return x + fed


class FeedForwardTakesThePlace(Tiny):
    def join(self, x: Tensor, attended: Tensor, fed: Tensor) -> Tensor:  # noqa: ARG002
        return fed


@pytest.mark.parametrize(
    ("model", "cause"),
    [(Tiny, ""), (AddsToWhatWasBeforeAttention, "not-carried"), (FeedForwardTakesThePlace, "no-residual")],
)
def test_what_the_stream_loses_is_named(model: type[Tiny], cause: str):
    torch.manual_seed(0)
    subject = Subject(model(), lambda model, tokens: model(tokens), vocab_size=V, context=CONTEXT)
    assert run_check(subject, CHECKS["numbers.residual"], seed=1).cause == cause
