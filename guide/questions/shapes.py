# %% [markdown]
# # Which shapes must Q, K and V have, and why this formula?
#
# **In short.** With $T$ queries and $S$ keys, $Q$ is $T \times E$, $K$ is $S \times E$ and $V$ is $S \times E_v$.
# Queries and keys must be equally wide, because each query is multiplied with each key; keys and values must be equally
# many, because each value is weighted by how well its key fits. All else is free: $T$ and $S$ may differ (a decoder
# that looks at the source does that), and so may the width of the values, which is the width of the result. The
# division by $\sqrt{E}$ keeps the scores at the same size whatever the width; without it a wide head begins with no
# gradient to learn from.
#
# $\mathrm{Attention}(Q, K, V) = \mathrm{softmax}\left(\frac{QK^\top}{\sqrt{E}}\right) V$

# %%
import math
import os
from collections.abc import Callable

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from torch import Tensor

FULL = os.environ.get("CLEARFORMER_GUIDE") != "short"

# %% [markdown]
# ## Shapes
#
# **Predict.** Which of these seven go through, and which shape comes out?

# %%
generator = torch.Generator().manual_seed(1)
print("          Q         K         V    result")
shapes = [
    ((5, 8), (5, 8), (5, 8)),  # self-attention: one text
    ((3, 8), (5, 8), (5, 8)),  # cross-attention: three queries, five keys
    ((1, 8), (5, 8), (5, 8)),  # generation: one new token
    ((5, 8), (5, 8), (5, 2)),  # narrow values
    ((5, 4), (5, 8), (5, 8)),
    ((5, 8), (5, 4), (5, 4)),
    ((5, 8), (5, 8), (3, 8)),
]
went_through = []
for q, k, v in shapes:
    try:
        out = F.scaled_dot_product_attention(*(torch.randn(shape, generator=generator) for shape in (q, k, v)))
        result = f"{out.shape[0]} x {out.shape[1]}"
    except RuntimeError:
        result = "error"
    went_through.append(result != "error")
    print("".join(f"{rows} x {columns}".rjust(10) for rows, columns in (q, k, v)), result.rjust(9))

# %% [markdown]
# The first four go through, and the result always has as many rows as $Q$ and as many columns as $V$. The last three
# fail, each for one of the two reasons: a query and a key of different widths have no product, and five weights cannot
# weigh three values. A model also fixes what the formula leaves free: with $H$ heads and $E = E_v = D / H$ the heads'
# results, side by side, are as wide as the model again, and eight heads cost no more than one.
#
# ## Other ways to make weights
#
# The formula for the weights is a choice. All that is needed is a score for each pair of a query and a key; a softmax
# makes weights of any scores. Four other scores that have been used, and what they are:
#
# - *dot*: the product alone, without $\sqrt{E}$ (Luong et al. 2015,
#   [arXiv:1508.04025](https://arxiv.org/abs/1508.04025));
# - *additive*: a small network, $w \cdot \tanh(W_q q + W_k k)$, the first attention there was (Bahdanau et al. 2014,
#   [arXiv:1409.0473](https://arxiv.org/abs/1409.0473));
# - *cosine*: of the angle between query and key, so that their lengths do not matter (Graves et al. 2014,
#   [arXiv:1410.5401](https://arxiv.org/abs/1410.5401));
# - *cosine, scaled*: the same times $\sqrt{E}$. It is what remains of the paper's score when queries and keys are
#   normalised first, as `qk_norm` of this package does.
#
# A multiplication with a matrix, $q^\top W k$, is no sixth one: the projections that make $Q$ and $K$ already hold it.
#
# We draw 64 queries and 64 keys, all elements normal with variance 1 (the paper derives its factor from the same
# assumption), and look at two things for three widths. The *entropy* of a query's weights says how spread they are: 0
# if one key has all the weight, $\ln 64$ if all have the same. The *gradient* that reaches a query says whether it can
# learn: we take random values and a random gradient at the output, and measure the length of what arrives.


# %%
def scaled_dot(q: Tensor, k: Tensor) -> Tensor:
    return dot(q, k) / math.sqrt(q.shape[-1])


def dot(q: Tensor, k: Tensor) -> Tensor:
    return q @ k.T


def additive(q: Tensor, k: Tensor) -> Tensor:
    width = q.shape[-1]
    w_q, w_k = torch.randn(2, width, width, generator=generator) / math.sqrt(width)
    w = torch.randn(width, generator=generator) / math.sqrt(width)
    return torch.stack([torch.tanh(query + k @ w_k) @ w for query in q @ w_q])


def cosine(q: Tensor, k: Tensor) -> Tensor:
    return F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).T


def scaled_cosine(q: Tensor, k: Tensor) -> Tensor:
    return cosine(q, k) * math.sqrt(q.shape[-1])


def measure(score: Callable[[Tensor, Tensor], Tensor], width: int, count: int = 64) -> tuple[float, float]:
    """The medians, over the queries, of the entropy of the weights in nats and of the gradient's length."""
    generator.manual_seed(1)
    q, k = torch.randn(2, count, width, generator=generator)
    v, output_gradient = torch.randn(2, count, 16, generator=generator)
    weights = score(q.requires_grad_(), k).softmax(-1)
    (weights @ v).backward(output_gradient)
    return torch.special.entr(weights).sum(-1).median().item(), q.grad.norm(dim=-1).median().item()


widths = (16, 256, 4096 if FULL else 1024)
measured = {
    score: [measure(score, width) for width in widths] for score in (scaled_dot, dot, additive, cosine, scaled_cosine)
}
print(f"ln 64 = {math.log(64):.2f}")
print()
print(f"{'':<16}{'entropy (nats)':^27}{'gradient':^30}")
print(f"{'width E':<16}" + "".join(f"{width:>9}" for width in widths) + "".join(f"{width:>10}" for width in widths))
for score, results in measured.items():
    entropies, gradients = zip(*results, strict=True)
    print(f"{score.__name__:<16}" + "".join(f"{value:>9.2f}" for value in entropies), end="")
    print("".join(f"{value:>10.1e}" for value in gradients))

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(7.2, 3.2), layout="constrained", sharex=True)
left.axhline(math.log(64), color="0.6", linestyle=":")
for (score, results), style in zip(measured.items(), ("o-", "s--", "^-.", "v:", "x--"), strict=True):
    entropies, gradients = zip(*results, strict=True)
    left.plot(widths, entropies, style, label=score.__name__.replace("_", " "))
    right.plot(widths, gradients, style)
left.set(xscale="log", xlabel="width E", ylabel="entropy of the weights (nats)", ylim=(0, 4.6))
right.set(xscale="log", yscale="log", xlabel="width E", ylabel="gradient at the query")
left.set_xticks(widths, widths)
left.minorticks_off()
left.legend(fontsize=8)
figure

# %% [markdown]
# - *dot* without scaling: the score of random vectors has a standard deviation of $\sqrt{E}$, so with the width the
#   largest score runs away from the others. At the largest width each query looks at one key alone, chosen by chance,
#   and the softmax is so flat there that nearly no gradient comes back: the query cannot learn that it looks at the
#   wrong key. In a narrow head the effect is milder, and the gradient even larger than with scaling.
# - *scaled dot*: entropy and gradient are the same at each width. This is what the division buys: a head can be made
#   wider or narrower and nothing else has to change.
# - *cosine*: the opposite fault. The cosine of random vectors shrinks as $1 / \sqrt{E}$, so weights become equal and
#   the gradient shrinks with the width, though far less steeply than without scaling. Multiplied by $\sqrt{E}$ it
#   behaves as the scaled product does; models that use it let this factor be learned.
# - *additive*: also independent of the width, with softer weights. The paper's authors preferred the product for its
#   price. The product of $Q$ and $K$ needs $T \cdot S$ numbers in memory; the network needs a hidden vector of width
#   $E$ for each of the $T \cdot S$ pairs, and a $\tanh$ of each element, which no matrix product does for it.
#
# So the answer to *why this formula*: it is the cheapest score, one matrix product, with the one correction that makes
# it work at any width.

# %%
assert went_through == [True] * 4 + [False] * 3
entropy = {score: [value for value, _ in results] for score, results in measured.items()}
gradient = {score: [value for _, value in results] for score, results in measured.items()}
for score in (scaled_dot, scaled_cosine, additive):
    assert max(gradient[score]) < 1.5 * min(gradient[score]), f"the gradient of {score.__name__} depends on the width"
assert entropy[dot][-1] < 0.1
assert gradient[dot][-1] < 0.1 * gradient[dot][0]
assert entropy[cosine][-1] > math.log(64) - 0.01
assert gradient[cosine][-1] < 0.2 * gradient[cosine][0]
