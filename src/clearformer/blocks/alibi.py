"""ALiBi: no positions at all, but a score is lowered by how far away its key is, in each head by another slope.

    score(t, s) = q_t · k_s / sqrt(E) - m_h |t - s|    m_h = 2^(-8h/H), h = 1 … H    Press et al. 2021, arXiv:2108.12409

Where H is no power of two, the slopes of the power below are taken first, then every other one of the power above.
The sign of a distance is lost: unless attention is causal, a reversed text has the same vectors in reverse.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor


def slopes(num_heads: int) -> Float[Tensor, " H"]:
    """m_h of the formula, steepest first."""
    power = 2 ** math.floor(math.log2(num_heads))
    own = [2.0 ** (-8 * h / power) for h in range(1, power + 1)]
    between = [2.0 ** (-4 * h / power) for h in range(1, 2 * power + 1, 2)]
    return torch.tensor([*own, *between][:num_heads])


def alibi(m: Float[Tensor, " H"], T: int, S: int) -> Float[Tensor, "1 H T S"]:  # noqa: N803
    """What is added to the scores of T queries, the last T of S positions: -m |t - s|."""
    t, s = torch.arange(S - T, S, device=m.device), torch.arange(S, device=m.device)
    return -(m[:, None, None] * (t[:, None] - s).abs())[None]


def causal_alibi(m: Float[Tensor, " H"], S: int) -> Float[Tensor, "1 H 1 S"]:  # noqa: N803
    """The same where no key is later, but for a number that all scores of a query share, which softmax ignores: m s."""
    return (m[:, None, None] * torch.arange(1 - S, 1, device=m.device))[None]


if __name__ == "__main__":
    print("slopes of 4 heads:", slopes(4).tolist(), " of 6:", [round(m, 4) for m in slopes(6).tolist()])
    print("head 1, what three queries add to the scores of three keys:")
    print(alibi(slopes(4), 3, 3)[0, 0].numpy())
