"""Inputs of a small model of each family: two texts of which the second is shorter, where the family pads."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn


@pytest.fixture(scope="session")
def inputs_of() -> Callable[..., tuple[Tensor, ...]]:
    """`inputs_of(model, rows=[0])`: the inputs of these rows. In a translator the sources are one token longer."""

    def make(model: nn.Module, rows: list[int] | None = None, seed: int = 1) -> tuple[Tensor, ...]:
        rows, generator = rows or [0, 1], torch.Generator().manual_seed(seed)
        source, tokens = (torch.randint(5, 11, (2, length), generator=generator)[rows] for length in (7, 6))
        real = (torch.arange(6) < torch.tensor([[6], [4]]))[rows]
        source_real = (torch.arange(7) < torch.tensor([[7], [5]]))[rows]
        match model.config.kind:
            case "gpt":
                return (tokens,)
            case "transformer":
                return source, tokens, source_real, real
        return tokens, real, torch.zeros_like(tokens)

    return make
