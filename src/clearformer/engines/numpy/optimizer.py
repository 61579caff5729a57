"""AdamW, in place: Adam with decoupled weight decay; and Muon for matrices.

    m = β1 m + (1 - β1) g      v = β2 v + (1 - β2) g²                  Kingma & Ba 2014, arXiv:1412.6980
    w = w - rate · (m̂ / (sqrt(v̂) + ε) + decay · w)                     Loshchilov & Hutter 2017, arXiv:1711.05101
    w = w - rate · (0.2 sqrt(max(n, m)) · U Vᵀ + decay · w)            Jordan et al. 2024; Liu et al. 2025

The state of a parameter has PyTorch's names: `exp_avg`, `exp_avg_sq` and `step`, or `momentum_buffer`.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from clearformer.config import TrainConfig
from clearformer.engines.numpy.chunks import in_chunks
from clearformer.engines.numpy.modules import Module
from clearformer.engines.numpy.rules import Array
from clearformer.engines.numpy.tensor import Tensor
from clearformer.training.optimizer_state import MOMENTUM, NEWTON_SCHULZ, NEWTON_SCHULZ_STEPS, decays, optimizer_of

State = dict[str, NDArray[np.floating[Any]]]


class AdamW:
    """`state` holds the moments and step of each parameter, by name."""

    def __init__(self, parameters: dict[str, Tensor], config: TrainConfig) -> None:
        self.parameters, self.config = parameters, config
        self.state: dict[str, State] = {
            name: {
                "step": np.zeros((), np.float32),
                "exp_avg": np.zeros_like(weight.data),
                "exp_avg_sq": np.zeros_like(weight.data),
            }
            for name, weight in parameters.items()
        }

    def step(self, rate: float) -> None:
        """Update all that have a gradient."""
        updates = []
        for name, weight in self.parameters.items():
            if weight.grad is not None:
                state, decay = self.state[name], self.config.weight_decay if decays(weight.shape) else 0.0
                state["step"] += 1
                arrays = weight.data, weight.grad, state["exp_avg"], state["exp_avg_sq"]
                updates.append(Update(*arrays, int(state["step"]), decay))
        update(updates, rate, self.config)


class Update(NamedTuple):
    """AdamW's arguments for one parameter: weight, gradient, moments, step and decay."""

    w: Array
    g: Array
    m: Array
    v: Array
    step: int
    decay: float


def update(updates: Sequence[Update], rate: float, config: TrainConfig) -> None:
    """AdamW's formula, in place."""
    for each in updates:
        _update(*each, rate, config)


def _update(w: Array, g: Array, m: Array, v: Array, step: int, decay: float, rate: float, config: TrainConfig) -> None:
    def chunk(w: Array, g: Array, m: Array, v: Array) -> None:
        if decay:
            w *= 1 - rate * decay
        change = g - m
        change *= 1 - config.beta1
        m += change
        np.multiply(g, g, out=change)
        change *= 1 - config.beta2
        v *= config.beta2
        v += change
        np.sqrt(v, out=change)
        change *= 1 / math.sqrt(1 - config.beta2**step)
        change += config.epsilon
        np.divide(m, change, out=change)
        change *= rate / (1 - config.beta1**step)
        w -= change

    in_chunks(chunk, w, g, m, v)


class Muon:
    """For matrices: momentum, orthogonalized by matrix products."""

    def __init__(self, parameters: dict[str, Tensor], config: TrainConfig) -> None:
        self.parameters, self.config = parameters, config
        self.state: dict[str, State] = {
            name: {"momentum_buffer": np.zeros_like(weight.data)} for name, weight in parameters.items()
        }

    def step(self, rate: float) -> None:
        """Update all that have a gradient."""
        for name, weight in self.parameters.items():
            if weight.grad is None:
                continue
            momentum = self.state[name]["momentum_buffer"]
            momentum += (weight.grad - momentum) * (1 - MOMENTUM)
            direction = orthogonalize(weight.grad + (momentum - weight.grad) * MOMENTUM)
            weight.data *= 1 - rate * self.config.weight_decay
            direction *= rate * 0.2 * math.sqrt(max(weight.shape))
            weight.data -= direction


def orthogonalize(x: Float[Array, "n m"]) -> Float[Array, "n m"]:
    """Approximately U Vᵀ of a matrix U S Vᵀ, by Newton-Schulz iterations."""
    if x.shape[0] > x.shape[1]:
        return orthogonalize(x.T).T
    a, b, c = NEWTON_SCHULZ
    x = x / max(float(np.linalg.norm(x)), 1e-7)
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = x @ x.T
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    return x


class Optimizer:
    """The optimizer of `config`: Muon, if configured, for the matrices inside the layers, AdamW for all others."""

    def __init__(self, model: Module, config: TrainConfig) -> None:
        named = dict(model.named_parameters())
        of_muon = {name for name, weight in named.items() if optimizer_of(name, weight.shape, config) == "muon"}
        self.parts = (
            AdamW({name: weight for name, weight in named.items() if name not in of_muon}, config),
            Muon({name: named[name] for name in named if name in of_muon}, config),
        )

    @property
    def state(self) -> dict[str, State]:
        return self.parts[0].state | self.parts[1].state

    def step(self, rate: float) -> None:
        for part in self.parts:
            part.step(rate)


def make_optimizer(model: Module, config: TrainConfig) -> Optimizer:
    return Optimizer(model, config)
