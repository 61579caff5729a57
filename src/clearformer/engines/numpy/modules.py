"""Module: base class of layers with parameters, named by attributes as in PyTorch's checkpoints.

    Linear(3, 2).named_parameters()        weight [2, 3], bias [2]
    y = x Wᵀ + b

Names, shapes and defaults are those of `torch.nn`. The modules of a list are named by their indices.
"""

from collections.abc import Callable, Iterator
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import DTypeLike

from clearformer.config import EngineName
from clearformer.engines.numpy import functional as F
from clearformer.engines.numpy.modes import generator
from clearformer.engines.numpy.tensor import Tensor

M = TypeVar("M", bound="Module")

EPS = 1e-5
"""of norms, as in PyTorch"""


def parameter(*shape: int) -> Tensor:
    """A trainable tensor of zeros; initial weights are loaded for the whole model."""
    return Tensor(np.zeros(shape, np.float32), requires_grad=True)


class Module:
    """Like `torch.nn.Module`: calling it calls `forward`."""

    engine: ClassVar[EngineName] = "numpy"
    training = True
    forward: Callable[..., Any]

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        return self.forward(*inputs, **options)

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, "Module"]]:
        """This module, then those in its attributes, in the order of assignment."""
        yield prefix, self
        for name, value in vars(self).items():
            children = enumerate(value) if isinstance(value, list) else [(None, value)]
            for index, child in children:
                if isinstance(child, Module):
                    child_name = name if index is None else f"{name}.{index}"
                    yield from child.named_modules(f"{prefix}.{child_name}" if prefix else child_name)

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """Each parameter once, under its first name."""
        visited: set[int] = set()
        for prefix, module in self.named_modules():
            for name, value in vars(module).items():
                if isinstance(value, Tensor) and id(value) not in visited:
                    visited.add(id(value))
                    yield (f"{prefix}.{name}" if prefix else name), value

    def parameters(self) -> Iterator[Tensor]:
        for _, value in self.named_parameters():
            yield value

    def train(self: M, mode: bool = True) -> M:
        """Set training or evaluation mode: with or without dropout."""
        for _, module in self.named_modules():
            module.training = mode
        return self

    def eval(self: M) -> M:
        return self.train(False)

    def to(self: M, dtype: DTypeLike) -> M:
        """Convert the parameters to float32 or float64, in place."""
        for value in self.parameters():
            value.data = value.data.astype(dtype)
        return self


class Linear(Module):
    """y = x Wᵀ + b."""

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        self.weight = parameter(out_features, in_features)
        self.bias = parameter(out_features) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)


class LayerNorm(Module):
    """Standardize each token's vector, then scale and shift it."""

    def __init__(self, d_model: int, *, bias: bool = True, eps: float = EPS) -> None:
        self.weight = parameter(d_model)
        self.bias = parameter(d_model) if bias else None
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.weight, self.bias, self.eps)


class RMSNorm(Module):
    """Scale each token's vector to unit root mean square, then by the weight."""

    def __init__(self, d_model: int, *, eps: float = EPS) -> None:
        self.weight = parameter(d_model)
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.weight, self.eps)


class Dropout(Module):
    """In training, zero numbers with probability `p` and scale the others by 1 / (1 - p)."""

    def __init__(self, p: float) -> None:
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.p, generator()) if self.training and self.p else x


class Identity(Module):
    """Returns its input."""

    def forward(self, x: Tensor) -> Tensor:
        return x


if __name__ == "__main__":
    layer = Linear(3, 2)
    layer(Tensor(np.ones((2, 3), np.float32))).sum().backward()
    for name, value in layer.named_parameters():
        print(name, value.shape, "gradient", None if value.grad is None else value.grad.tolist())
