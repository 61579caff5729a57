"""Compare a block with its formula, and find the tokens whose outputs depend on a token."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn


@pytest.fixture(scope="session")
def assert_equivalent(with_gradients: Callable[..., list[Tensor]]) -> Callable[..., None]:
    """Two functions return the same and have the same gradients of all inputs, and of the parameters of `module`."""

    def check(
        kernel: Callable[..., Tensor],
        formula: Callable[..., Tensor],
        *inputs: Tensor,
        tolerance: float,
        module: nn.Module | None = None,
    ) -> None:
        results, module = [], module or nn.Module()
        for function in (kernel, formula):
            module.zero_grad()
            results.append(with_gradients(function, *inputs) + [weight.grad for weight in module.parameters()])
        torch.testing.assert_close(*results, atol=tolerance, rtol=tolerance)

    return check


@pytest.fixture(scope="session")
def dependents() -> Callable[..., list[int]]:
    """The tokens of x [1, T, D] whose outputs change when the token at `position` does."""

    def find(function: Callable[[Tensor], Tensor], x: Tensor, position: int) -> list[int]:
        changed = x.clone()
        changed[0, position] *= torch.linspace(-1, 1, x.shape[-1])  # not a shift, which a norm would remove
        return (function(x) - function(changed)).abs().amax(-1)[0].nonzero().flatten().tolist()

    return find
