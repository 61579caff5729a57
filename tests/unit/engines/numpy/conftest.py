"""The proof of a rule: its gradient along random directions, against differences of its values and against PyTorch."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from clearformer.engines.numpy.tensor import Tensor, apply

Array = NDArray[np.float64]

STEP = 1e-5
# Central differences in float64: at most 1.8e-8 of the sum of the magnitudes seen over 250 draws of each rule, in
# layer_norm, and 2e-9 elsewhere; the floor is the rounding of the difference itself where the gradient is zero
DIFFERENCE_TOLERANCE, DIFFERENCE_FLOOR = 1e-6, 1e-9
# float64 sums in another order: 8.5e-15 seen over 250 draws of each rule, in layer_norm
TORCH_TOLERANCE = 1e-12


class Proof:
    """One rule at one place: `check` compares its gradients, in a random direction and all of them."""

    def __init__(self, name: str, inputs: list[Array], options: dict[str, Any], seed: int) -> None:
        self.name, self.inputs, self.options = name, inputs, options
        self.rng = np.random.default_rng(seed)
        leaves = [Tensor(value, requires_grad=True) for value in inputs]
        out = apply(name, *leaves, **self.fresh_options())
        self.weights = self.rng.standard_normal(out.shape)
        out.backward(self.weights)
        self.out, self.gradients = out.data, [leaf.grad for leaf in leaves]

    def fresh_options(self) -> dict[str, Any]:
        """Every run draws the same random numbers."""
        return {name: np.random.default_rng(7) if name == "rng" else value for name, value in self.options.items()}

    def check_against_differences(self) -> None:
        directions = [self.rng.standard_normal(value.shape) for value in self.inputs]
        parts = [(g * u).ravel() for g, u in zip(self.gradients, directions, strict=True)]
        ahead, behind = (
            self.value(x + step * u for x, u in zip(self.inputs, directions, strict=True)) for step in (STEP, -STEP)
        )
        difference = ((ahead - behind) / (2 * STEP) * self.weights).sum()
        scale = np.abs(np.concatenate(parts)).sum()
        assert abs(np.concatenate(parts).sum() - difference) <= DIFFERENCE_TOLERANCE * scale + DIFFERENCE_FLOOR

    def value(self, inputs: Any) -> Array:
        return apply(self.name, *(Tensor(value) for value in inputs), **self.fresh_options()).data

    def check_against_torch(self, function: Callable[..., torch.Tensor]) -> None:
        leaves = [torch.tensor(value.copy(), requires_grad=True) for value in self.inputs]
        out = function(*leaves, **self.fresh_options())
        out.backward(torch.tensor(self.weights))
        found = [torch.tensor(value.copy()) for value in (self.out, *self.gradients)]
        expected = [out.detach(), *(leaf.grad for leaf in leaves)]
        torch.testing.assert_close(found, expected, atol=TORCH_TOLERANCE, rtol=TORCH_TOLERANCE)


@pytest.fixture(scope="session")
def prove() -> Callable[..., None]:
    """Hold a rule's gradients at `inputs` against both."""

    def check(name: str, inputs: list[Array], options: dict[str, Any], function: Any, seed: int) -> None:
        proof = Proof(name, inputs, options, seed)
        proof.check_against_differences()
        proof.check_against_torch(function)

    return check


@pytest.fixture(scope="session")
def lay_out() -> Callable[[Array, str], Array]:
    """The same numbers, otherwise in memory."""

    def change(x: Array, how: str) -> Array:
        if how == "strided":
            wide = np.zeros((*x.shape, 2))
            wide[..., 0] = x
            return wide[..., 0]
        return np.asfortranarray(x) if how == "transposed" else np.flip(np.flip(x).copy()) if how == "backwards" else x

    return change


@pytest.fixture(scope="session")
def unchecked() -> Callable[[str], str]:
    """What a Python prints in which signatures are not checked at each call: ten times faster, and our own words."""

    def run(code: str) -> str:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run
