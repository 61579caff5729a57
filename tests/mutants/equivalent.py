"""Patches that look like bugs and are none: the same function, perhaps of the same weights in another order."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

State = dict[str, Tensor]


@dataclass(frozen=True)
class Equivalent:
    """`translate` gives the patched model the weights with which it is the same as the style's own."""

    id: str
    style: str
    old: str
    new: str
    proof: str
    translate: Callable[[State], State] = lambda state: state


HEADS, GROUPS, HEAD_WIDTH = 4, 2, 8
"""of `styles/hugging.py`"""


def _queries_by_group(state: State) -> State:
    """Query heads 0 1 2 3 in the order 0 2 1 3, in what goes into attention and in what comes out."""
    state = dict(state)
    for name, weight in state.items():
        if name.endswith("q_proj.weight"):
            heads = weight.unflatten(0, (GROUPS, HEADS // GROUPS, HEAD_WIDTH))
            state[name] = heads.transpose(0, 1).flatten(0, 2)
        if name.endswith("o_proj.weight"):
            heads = weight.unflatten(1, (GROUPS, HEADS // GROUPS, HEAD_WIDTH))
            state[name] = heads.transpose(1, 2).flatten(1, 3)
    return state


def _halves_to_neighbours(state: State) -> State:
    """Rows i and i + E/2 of each query and key head become rows 2i and 2i + 1."""
    state = dict(state)
    for name, weight in state.items():
        if name.endswith(("q_proj.weight", "k_proj.weight")):
            state[name] = weight.unflatten(0, (-1, 2, HEAD_WIDTH // 2)).transpose(1, 2).flatten(0, 2)
    return state


EQUIVALENT = (
    Equivalent(
        "mask-cut-from-the-other-corner",
        "single_file",
        "self.mask[:T, :T]",
        "self.mask[-T:, -T:]",
        "The mask is True where s <= t, which depends on t - s alone: every square on its diagonal is the same.",
    ),
    Equivalent(
        "rotary-positions-count-the-padding",
        "hugging",
        "(attention_mask.long().cumsum(-1) - 1).clamp(min=0)[:, past_len:]",
        "torch.arange(past_len, total)[None, :]",
        "With n padded places on the left all real positions are n higher. Rotary scores depend on the distance of a "
        "query and a key alone, and n drops out of it. Learned or sinusoidal positions would differ: see "
        "positions-count-the-padding.",
    ),
    Equivalent(
        "groups-shared-in-another-order",
        "hugging",
        "key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)",
        "key, value = key.repeat(1, groups, 1, 1), value.repeat(1, groups, 1, 1)",
        "Query head h takes keys of head h mod G in place of h div (H / G). Renumbering the query heads, rows of "
        "q_proj and columns of o_proj, turns one into the other. It is a bug in a loader of foreign weights.",
        _queries_by_group,
    ),
    Equivalent(
        "rotary-pairs-of-neighbours",
        "hugging",
        """        angles = torch.cat((freqs, freqs), dim=-1)
        return angles.cos(), angles.sin()


def rotate_half(x: Tensor) -> Tensor:
    first, second = x.chunk(2, dim=-1)
    return torch.cat((-second, first), dim=-1)
""",
        """        angles = freqs.repeat_interleave(2, dim=-1)
        return angles.cos(), angles.sin()


def rotate_half(x: Tensor) -> Tensor:
    first, second = x[..., ::2], x[..., 1::2]
    return torch.stack((-second, first), dim=-1).flatten(-2)
""",
        "Both the angles and the pairs are of the interleaved layout. Scores are sums over all pairs, so it does not "
        "matter where in a head a pair stands: renumbering the rows of q_proj and k_proj turns one into the other. "
        "Half of it is a bug: rotary-layouts-mixed.",
        _halves_to_neighbours,
    ),
)
