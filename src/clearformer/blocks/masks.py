"""Masks: which query may attend to which key. Boolean; True means *may attend*.

    causal[t, s]     = s <= t + (S - T)   the T queries are the last T of S positions   arXiv:1706.03762, section 3.2.3
    padding[b, ., s] = token s of row b is not padding
    window[t, s]     = |t - s| < width         sliding window   Beltagy et al. 2020, arXiv:2004.05150, section 3.1

Masks are joined by `&`. In training the causal mask hides the answers. In generation the future does not exist yet, so
a single new token needs no mask; a prompt, which is read at once, needs the same mask as in training.
"""

import torch
from jaxtyping import Bool, Int
from torch import Tensor


def causal_mask(T: int, S: int, device: torch.device | None = None) -> Bool[Tensor, "1 1 T S"]:  # noqa: N803
    """Each query attends to itself and earlier keys; if S > T, the first S - T keys are those in the cache."""
    return torch.ones(T, S, dtype=torch.bool, device=device).tril(S - T)[None, None]


def padding_mask(real: Bool[Tensor, "B S"]) -> Bool[Tensor, "B 1 1 S"]:
    """The keys that are not padding, for all heads and queries of a row."""
    return real[:, None, None, :]


def position_mask(positions: Int[Tensor, "B T"], S: int) -> Bool[Tensor, "B 1 T S"]:  # noqa: N803
    """A causal mask for rows of different lengths: a query at position p attends to keys 0 to p."""
    return (torch.arange(S, device=positions.device) <= positions[..., None])[:, None]


def window_mask(positions: Int[Tensor, "*B T"], S: int, width: int) -> Bool[Tensor, "#B 1 T S"]:  # noqa: N803
    """For queries at `positions`, the keys of S positions that are less than `width` away."""
    near = (torch.arange(S, device=positions.device) - positions[..., None]).abs() < width
    return near[None, None] if positions.dim() == 1 else near[:, None]


def join_masks(*masks: Bool[Tensor, "..."] | None) -> Bool[Tensor, "..."] | None:
    """True where all masks are; None stands for a mask that is True everywhere."""
    given = [mask for mask in masks if mask is not None]
    if not given:
        return None
    joined = given[0]
    for mask in given[1:]:
        joined = joined & mask
    return joined


def draw(mask: Bool[Tensor, "1 1 T S"]) -> str:
    """A mask as text, one line per query: # may attend, . may not."""
    return "\n".join("".join("#" if allowed else "." for allowed in row) for row in mask[0, 0].tolist())


if __name__ == "__main__":
    print("causal, 4 queries of 4 positions:", draw(causal_mask(4, 4)), sep="\n")
    print("causal, 2 queries after 4 cached positions:", draw(causal_mask(2, 6)), sep="\n")
    print("a window of 2 in both directions:", draw(window_mask(torch.arange(4), 4, 2)), sep="\n")
    real = torch.tensor([[True, True, True, False]])
    print("causal, and the last token is padding:", draw(causal_mask(4, 4) & padding_mask(real)), sep="\n")
