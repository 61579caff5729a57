"""Output projection: from a token's vector to a logit for each token of the vocabulary.

logits = x Wᵀ (+ b)                                             Vaswani et al. 2017, arXiv:1706.03762, section 3.4
soft cap: c · tanh(logits / c), which lies between -c and c     Gemma Team 2024, arXiv:2408.00118, section 2
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


def soft_cap(logits: Float[Tensor, "*tokens V"], cap: float) -> Float[Tensor, "*tokens V"]:
    """The formula; logits near zero hardly change."""
    return cap * torch.tanh(logits / cap)


class OutputProjection(nn.Module):
    """`weight` may be the token embedding's; with `cap` 0 the logits are not capped."""

    def __init__(self, weight: nn.Parameter, *, bias: bool = False, cap: float = 0.0) -> None:
        super().__init__()
        self.weight = weight
        self.bias = nn.Parameter(torch.zeros(len(weight))) if bias else None
        self.cap = cap

    def forward(self, x: Float[Tensor, "*tokens D"]) -> Float[Tensor, "*tokens V"]:
        logits = F.linear(x, self.weight, self.bias)
        return soft_cap(logits.to(self.weight.dtype), self.cap) if self.cap else logits


if __name__ == "__main__":
    logits = torch.tensor([-100.0, -10.0, -1.0, 0.0, 1.0, 10.0, 100.0])
    print("logits      ", logits.tolist())
    print("capped at 15", [round(value, 2) for value in soft_cap(logits, 15.0).tolist()])
