"""Feed-forward: the same two-layer network applied to every token alone.

FFN(x) = f(x W_1 + b_1) W_2 + b_2        f = ReLU            Vaswani et al. 2017, arXiv:1706.03762, equation 2
GELU(x) = x · Φ(x) = x/2 · (1 + erf(x / sqrt(2)))            Hendrycks & Gimpel 2016, arXiv:1606.08415
GELU(x) ≈ x/2 · (1 + tanh(sqrt(2/π) (x + 0.044715 x³)))      Hendrycks & Gimpel 2016; in GPT-2 and BERT's first code
ReLU²(x) = max(0, x)²                                        So et al. 2021, arXiv:2109.08668
SwiGLU(x) = (SiLU(x W_1) * x W_2) W_3, SiLU(x) = x · σ(x)    Shazeer 2020, arXiv:2002.05202
GEGLU(x)  = (GELU(x W_1) * x W_2) W_3                        Shazeer 2020; with tanh in T5 1.1
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


def relu(x: Float[Tensor, "*tokens F"]) -> Float[Tensor, "*tokens F"]:
    """max(0, x)."""
    return x.clamp(min=0.0)


def gelu(x: Float[Tensor, "*tokens F"]) -> Float[Tensor, "*tokens F"]:
    """x times the probability that a standard normal variable is below x (exact, not the tanh approximation)."""
    return x / 2 * (1 + torch.erf(x / math.sqrt(2)))


def gelu_tanh(x: Float[Tensor, "*tokens F"]) -> Float[Tensor, "*tokens F"]:
    """GELU with tanh in place of the error function; it differs by at most 5e-4."""
    return x / 2 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def silu(x: Float[Tensor, "*tokens F"]) -> Float[Tensor, "*tokens F"]:
    """x times the logistic function of x."""
    return x * torch.sigmoid(x)


def gated(
    f: Callable[[Tensor], Tensor],
    x: Float[Tensor, "B T D"],
    gate: Float[Tensor, "F D"],
    up: Float[Tensor, "F D"],
    down: Float[Tensor, "D F"],
) -> Float[Tensor, "B T D"]:
    """The formula of a gated layer, without biases: SwiGLU if f is `silu`, GEGLU if it is `gelu`."""
    return (f(x @ gate.T) * (x @ up.T)) @ down.T


def feed_forward(
    x: Float[Tensor, "B T D"], first: nn.Linear, f: nn.Module, second: nn.Linear
) -> Float[Tensor, "B T D"]:
    """The formula; PyTorch stores W transposed."""
    hidden = x @ first.weight.T + (0.0 if first.bias is None else first.bias)
    return f(hidden) @ second.weight.T + (0.0 if second.bias is None else second.bias)


class FeedForward(nn.Module):
    """Widen to `d_ff`, apply the activation, narrow to `d_model`."""

    def __init__(self, d_model: int, d_ff: int, activation: nn.Module, *, bias: bool = True) -> None:
        super().__init__()
        self.linear1 = nn.Linear(d_model, d_ff, bias)
        self.activation = activation
        self.linear2 = nn.Linear(d_ff, d_model, bias)

    def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        return self.linear2(self.activation(self.linear1(x)))


class GatedFeedForward(nn.Module):
    """SwiGLU with SiLU, GEGLU with GELU or its approximation. The first `d_ff` rows of `linear1` compute the gate."""

    def __init__(self, d_model: int, d_ff: int, activation: nn.Module, *, bias: bool = True) -> None:
        super().__init__()
        self.linear1 = nn.Linear(d_model, 2 * d_ff, bias)
        self.activation = activation
        self.linear2 = nn.Linear(d_ff, d_model, bias)

    def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        gate, up = self.linear1(x).chunk(2, dim=-1)
        return self.linear2(self.activation(gate) * up)


class SquaredReLU(nn.Module):
    """max(0, x)²."""

    def forward(self, x: Float[Tensor, "*tokens F"]) -> Float[Tensor, "*tokens F"]:
        positive = F.relu(x)
        return positive * positive  # not `square`, whose gradient is forty times slower in bfloat16 on a CPU


if __name__ == "__main__":
    x = torch.tensor([-2.0, -0.5, 0.0, 0.5, 2.0])
    print("x   ", x.tolist())
    print("ReLU", relu(x).tolist())
    print("GELU", [round(value, 3) for value in gelu(x).tolist()])
    print("ReLU²", SquaredReLU()(x).tolist())
    print("FFN ", tuple(FeedForward(8, 32, nn.ReLU())(torch.randn(1, 3, 8)).shape))
