"""AdamW, and Muon for the matrices inside the layers, over whole slices of the flat buffers at once.

    m = β1 m + (1 - β1) g      v = β2 v + (1 - β2) g²                  Kingma & Ba 2014, arXiv:1412.6980
    w = w - rate · (m̂ / (sqrt(v̂) + ε) + decay · w)                     Loshchilov & Hutter 2017, arXiv:1711.05101
    w = w - rate · (0.2 sqrt(max(n, m)) · U Vᵀ + decay · w)            Jordan et al. 2024; Liu et al. 2025

The learning rate, the step and whether to update at all are tensors, since Python numbers would be compiled in.
"""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from tinygrad import Tensor

from clearformer.config import TrainConfig
from clearformer.engines.tinygrad.model import Model
from clearformer.engines.tinygrad.shapes import Bool, Float, sizes
from clearformer.engines.tinygrad.storage import Storage
from clearformer.training.optimizer_state import MOMENTUM, NEWTON_SCHULZ, NEWTON_SCHULZ_STEPS, decays, optimizer_of


class Optimizer:
    """The gradients and the optimizer's state, in buffers laid out like the weights'.

    `exp_avg` has the momentum of the matrices that Muon updates, too.
    """

    def __init__(self, model: Model, config: TrainConfig) -> None:
        self.config, self.weights, self.layout = config, model.weights, model.weights.layout
        self.gradients, self.exp_avg, self.exp_avg_sq = (Storage(self.layout) for _ in range(3))
        self.steps = 0

    def of(self, name: str) -> str:
        """The optimizer of a parameter: "muon" or "adamw"."""
        return optimizer_of(name, self.layout.shapes[name], self.config)

    def settings(self, rate: float) -> NDArray[np.float32]:
        """The arguments of `update` for the next step: the learning rate, and the bias corrections of both averages."""
        step = self.steps + 1
        return np.array([rate, 1 - self.config.beta1**step, 1 - self.config.beta2**step], np.float32)

    def update(self, settings: Float[Tensor, "3"], scale: Float[Tensor, ""], enabled: Bool[Tensor, ""]) -> None:
        """Update the weights with the gradients times `scale`, if `enabled`."""
        shapes = self.layout.shapes
        groups = {name: shapes[name] if self.of(name) == "muon" else decays(shapes[name]) for name in shapes}
        for names, part in self.layout.runs(groups):
            step = self._muon if self.of(names[0]) == "muon" else self._adamw
            step(names, part, settings, scale, enabled)

    def _adamw(self, names: list[str], part: slice, settings: Tensor, scale: Tensor, enabled: Tensor) -> None:
        rate, correction1, correction2 = settings[0], settings[1], settings[2]
        w, m, v = (storage.piece(part) for storage in (self.weights, self.exp_avg, self.exp_avg_sq))
        g = self.gradients.piece(part) * scale
        m.assign(enabled.where(m + (g - m) * (1 - self.config.beta1), m))
        v.assign(enabled.where(v * self.config.beta2 + g * g * (1 - self.config.beta2), v))
        decay = self.config.weight_decay if decays(self.layout.shapes[names[0]]) else 0.0
        change = m / correction1 / ((v / correction2).sqrt() + self.config.epsilon)
        w.assign(enabled.where(w * (1 - rate * decay) - rate * change, w)).realize(m, v)

    def _muon(self, names: list[str], _part: slice, settings: Tensor, scale: Tensor, enabled: Tensor) -> None:
        """All matrices of one shape, as one batch."""
        w, m, g = ([storage.view(name) for name in names] for storage in (self.weights, self.exp_avg, self.gradients))
        nesterov = []
        for momentum, gradient in zip(m, g, strict=True):
            momentum.assign(enabled.where(momentum + (gradient * scale - momentum) * (1 - MOMENTUM), momentum))
            nesterov.append(gradient * scale + (momentum - gradient * scale) * MOMENTUM)
        rate, factor = settings[0], 0.2 * math.sqrt(max(sizes(w[0])))
        for weight, direction in zip(w, orthogonalize(Tensor.stack(*nesterov)).split(1), strict=True):
            change = direction.squeeze(0) * factor + weight * self.config.weight_decay
            weight.assign(enabled.where(weight - rate * change, weight))
        Tensor.realize(*w, *m)


def orthogonalize(x: Float[Tensor, "N n m"]) -> Float[Tensor, "N n m"]:
    """Approximately U Vᵀ of each matrix U S Vᵀ, by Newton-Schulz iterations."""
    if x.shape[1] > x.shape[2]:
        return orthogonalize(x.transpose(1, 2)).transpose(1, 2)
    a, b, c = NEWTON_SCHULZ
    x = x / x.square().sum((1, 2), keepdim=True).sqrt().clamp(min_=1e-7)
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = (x @ x.transpose(1, 2)).contiguous()
        x = (a * x + (b * gram + c * (gram @ gram)).contiguous() @ x).contiguous()
    return x


def make_optimizer(model: Model, config: TrainConfig) -> Optimizer:
    return Optimizer(model, config)


def optimizer_tensors(_model: Model, optimizer: Optimizer) -> dict[str, NDArray[np.float32]]:
    """The optimizer's state by PyTorch's names, in the order of the parameters."""
    first, second = optimizer.exp_avg.read(), optimizer.exp_avg_sq.read()
    tensors: dict[str, NDArray[np.float32]] = {}
    for name in first:
        if optimizer.of(name) == "muon":
            tensors[f"{name}.momentum_buffer"] = first[name]
        else:
            tensors[f"{name}.step"] = np.array(optimizer.steps, np.float32)
            tensors |= {f"{name}.exp_avg": first[name], f"{name}.exp_avg_sq": second[name]}
    return tensors


def load_optimizer(
    _model: Model, optimizer: Optimizer, tensors: Mapping[str, NDArray[np.float32]], _config: TrainConfig
) -> None:
    """Restore the state that `optimizer_tensors` returned; `step` must be the same for all parameters."""
    names = optimizer.layout.shapes
    muon = {name: np.zeros(shape, np.float32) for name, shape in names.items() if optimizer.of(name) == "muon"}
    firsts = {name: f"{name}.{'momentum_buffer' if name in muon else 'exp_avg'}" for name in names}
    optimizer.exp_avg.write({name: tensors[first] for name, first in firsts.items()})
    optimizer.exp_avg_sq.write({name: muon[name] if name in muon else tensors[f"{name}.exp_avg_sq"] for name in names})
    (optimizer.steps,) = {int(tensors[f"{name}.step"]) for name in names if name not in muon}
