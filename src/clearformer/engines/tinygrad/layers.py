"""Layers without attention, as in `clearformer.blocks`; attributes have the names of the checkpoint.

Parameters are created empty: `model` replaces them by views of one flat buffer. Calls are lazy, as all of tinygrad:
they extend a graph that runs when a result is read.
"""

from collections.abc import Callable
from functools import partial

from tinygrad import Tensor

from clearformer.config import ModelConfig
from clearformer.engines.tinygrad.shapes import Float, Int


class Linear:
    """x Wᵀ + b"""

    def __init__(self, fan_in: int, fan_out: int, *, bias: bool = True) -> None:
        self.weight = Tensor.empty(fan_out, fan_in)
        self.bias = Tensor.empty(fan_out) if bias else None

    def __call__(self, x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        return x.linear(self.weight.T, self.bias)


class Embedding:
    """A row of the weight for each token, times `scale`."""

    def __init__(self, rows: int, width: int, scale: float = 1.0) -> None:
        self.weight = Tensor.empty(rows, width)
        self.scale = scale

    def __call__(self, tokens: Int[Tensor, "B T"]) -> Float[Tensor, "B T D"]:
        return self.weight[tokens] * self.scale


class LayerNorm:
    """(x - mean(x)) / sqrt(var(x) + eps) * weight + bias"""

    def __init__(self, width: int, eps: float, *, bias: bool) -> None:
        self.eps = eps
        self.weight = Tensor.empty(width)
        self.bias = Tensor.empty(width) if bias else None

    def __call__(self, x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        scaled = x.layernorm(eps=self.eps) * self.weight
        return scaled if self.bias is None else scaled + self.bias


class RMSNorm:
    """x / sqrt(mean(x²) + eps) * weight"""

    def __init__(self, width: int, eps: float) -> None:
        self.eps = eps
        self.weight = Tensor.empty(width)

    def __call__(self, x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        return x * (x.square().mean(-1, keepdim=True) + self.eps).rsqrt() * self.weight


class Identity:
    """Returns its input."""

    def __call__(self, x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        return x


Norm = LayerNorm | RMSNorm | Identity


def norm(config: ModelConfig, width: int) -> Norm:
    match config.norm:
        case "layer":
            return LayerNorm(width, config.norm_epsilon, bias=config.bias)
        case "rms":
            return RMSNorm(width, config.norm_epsilon)
        case "none":
            return Identity()


def gelu(x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Exact, not the tanh approximation."""
    return x.gelu(approximate="none")


def gated(f: Callable[[Tensor], Tensor], hidden: Float[Tensor, "B T F2"]) -> Float[Tensor, "B T F"]:
    """f(gate) * up, of the two halves of `hidden`."""
    gate, up = hidden.chunk(2, dim=-1)
    return f(gate) * up


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": Tensor.relu,
    "gelu": gelu,
    "squared_relu": lambda x: x.relu().square(),
    "gelu_tanh": Tensor.gelu,
    "swiglu": partial(gated, Tensor.silu),
    "geglu": partial(gated, gelu),
    "geglu_tanh": partial(gated, Tensor.gelu),
}


class FeedForward:
    """f(x W_1 + b_1) W_2 + b_2"""

    def __init__(self, config: ModelConfig) -> None:
        self.linear1 = Linear(config.d_model, config.linear1_width, bias=config.bias)
        self.activation = ACTIVATIONS[config.activation]
        self.linear2 = Linear(config.d_ff, config.d_model, bias=config.bias)

    def __call__(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        # contiguous: or the second product would be fused with it, and recompute it for every element of its output
        return self.linear2(self.activation(self.linear1(x)).contiguous())


class OutputProjection:
    """From features to logits, soft-capped at ±`cap` (0: no cap). Tied, `weight` is the embedding's."""

    def __init__(self, weight: Tensor, cap: float, *, bias: bool) -> None:
        self.weight, self.cap = weight, cap
        self.bias = Tensor.empty(weight.shape[0]) if bias else None

    def __call__(self, x: Float[Tensor, "*B D"]) -> Float[Tensor, "*B V"]:
        logits = x.linear(self.weight.T, self.bias)
        return self.cap * (logits / self.cap).tanh() if self.cap else logits
