"""ALiBi: no position vectors; each head lowers an attention score in proportion to the distance of its key.

    score(t, s) = q_t · k_s / sqrt(E) - m_h |t - s|    m_h = 2^(-8h/H), h = 1 … H    Press et al. 2021, arXiv:2108.12409

If H is not a power of two, the slopes for the next lower power come first, then every other slope for the next higher
one. The bias ignores the direction of a distance: without a causal mask, reversing a text only reverses its vectors.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor


def slopes(num_heads: int) -> Float[Tensor, " H"]:
    """m_h of the formula for each head; of a power of two of heads, the steepest comes first."""
    power = 2 ** math.floor(math.log2(num_heads))
    of_power = [2.0 ** (-8 * h / power) for h in range(1, power + 1)]
    of_next_power = [2.0 ** (-4 * h / power) for h in range(1, 2 * power + 1, 2)]  # every other one
    return torch.tensor([*of_power, *of_next_power][:num_heads])


def alibi(m: Float[Tensor, " H"], T: int, S: int) -> Float[Tensor, "1 H T S"]:  # noqa: N803
    """The bias -m |t - s| of T queries, which are the last T of S positions."""
    t, s = torch.arange(S - T, S, device=m.device), torch.arange(S, device=m.device)
    return -(m[:, None, None] * (t[:, None] - s).abs())[None]


def causal_alibi(m: Float[Tensor, " H"], S: int) -> Float[Tensor, "1 H 1 S"]:  # noqa: N803
    """A shorter bias with the same softmax where no key comes after its query: m s, up to a constant."""
    return (m[:, None, None] * torch.arange(1 - S, 1, device=m.device))[None]


if __name__ == "__main__":
    print("slopes of 4 heads:", slopes(4).tolist(), " of 6:", [round(m, 4) for m in slopes(6).tolist()])
    print("bias of head 1, three queries (rows) and three keys:")
    print(alibi(slopes(4), 3, 3)[0, 0].numpy())
