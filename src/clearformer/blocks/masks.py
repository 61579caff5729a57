"""Masks: which query may attend to which key. Boolean; True means *may attend*.

    causal[t, s]     = s <= t + (S - T)   the T queries are the last T of S positions   arXiv:1706.03762, section 3.2.3
    padding[b, ., s] = token s of row b is real
    window[t, s]     = |t - s| < width         sliding window   Beltagy et al. 2020, arXiv:2004.05150, section 3.1

Masks are joined by `&`. In training a causal mask hides the answers; in inference the future does not exist yet, so a
single new token needs none, and a prompt read in one piece needs the same one as in training.
"""

import torch
from jaxtyping import Bool, Int
from torch import Tensor


def causal_mask(T: int, S: int, device: torch.device | None = None) -> Bool[Tensor, "1 1 T S"]:  # noqa: N803
    """Each query sees itself and what came before it; with S > T the first S - T keys are the cached past."""
    return torch.ones(T, S, dtype=torch.bool, device=device).tril(S - T)[None, None]


def padding_mask(real: Bool[Tensor, "B S"]) -> Bool[Tensor, "B 1 1 S"]:
    """For all heads and queries of row b, the keys that are real tokens."""
    return real[:, None, None, :]


def position_mask(positions: Int[Tensor, "B T"], S: int) -> Bool[Tensor, "B 1 T S"]:  # noqa: N803
    """A causal mask for rows that stand at different places: a query at position p sees the keys 0 to p."""
    return (torch.arange(S, device=positions.device) <= positions[..., None])[:, None]


def window_mask(positions: Int[Tensor, "*B T"], S: int, width: int) -> Bool[Tensor, "#B 1 T S"]:  # noqa: N803
    """For queries at `positions`, the keys of the S positions that are fewer than `width` places away."""
    near = (torch.arange(S, device=positions.device) - positions[..., None]).abs() < width
    return near[None, None] if positions.dim() == 1 else near[:, None]


def join_masks(*masks: Bool[Tensor, "..."] | None) -> Bool[Tensor, "..."] | None:
    """What all masks allow; None stands for a mask that allows everything."""
    given = [mask for mask in masks if mask is not None]
    if not given:
        return None
    joined = given[0]
    for mask in given[1:]:
        joined = joined & mask
    return joined


def draw(mask: Bool[Tensor, "1 1 T S"]) -> str:
    """A mask as lines of text, a query a line: # may attend, . may not."""
    return "\n".join("".join("#" if allowed else "." for allowed in row) for row in mask[0, 0].tolist())


if __name__ == "__main__":
    print("causal, 4 queries of 4 positions:", draw(causal_mask(4, 4)), sep="\n")
    print("causal, the last 2 queries of 6, the past being cached:", draw(causal_mask(2, 6)), sep="\n")
    print("a window of 2 in both directions:", draw(window_mask(torch.arange(4), 4, 2)), sep="\n")
    real = torch.tensor([[True, True, True, False]])
    print("causal and padded by one:", draw(causal_mask(4, 4) & padding_mask(real)), sep="\n")
