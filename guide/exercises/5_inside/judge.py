"""What a solution of exercise 5 must do."""

import math
from types import ModuleType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clearformer.guide.judging import assert_close, assert_part_is_right

B, T, S, D, H, E = 2, 4, 5, 8, 6, 8


def qkv(sets: int) -> tuple[Tensor, Tensor, Tensor]:
    """Queries of H heads, and keys and values in so many sets."""
    return torch.randn(B, H, T, E), torch.randn(B, sets, S, E), torch.randn(B, sets, S, E)


def test_the_norm_of_two_numbers_is_the_one_worked_by_hand(work: ModuleType) -> None:
    out = work.RMSNorm(2)(torch.tensor([[[300.0, 400.0]]]))  # mean of squares 125,000, its root 250 * sqrt(2)
    assert_close(out, torch.tensor([[[1.2, 1.6]]]) / math.sqrt(2))


def test_the_norm_passes_the_checks_of_clearformer(work: ModuleType) -> None:
    assert_part_is_right("rms-norm", work.RMSNorm(D))


def test_the_gate_of_one_number_is_the_one_worked_by_hand(work: ModuleType) -> None:
    layer = work.GatedFeedForward(1, 1)
    for linear, weight in ((layer.gate, 1.0), (layer.up, 2.0), (layer.down, 3.0)):
        nn.init.constant_(linear.weight, weight)
    assert_close(layer(torch.ones(1, 1, 1)), torch.full((1, 1, 1), 6 / (1 + math.exp(-1))))


def test_the_gated_feed_forward_passes_the_checks_of_clearformer(work: ModuleType) -> None:
    assert_part_is_right("feed-forward", work.GatedFeedForward(D, 4 * D))


def test_a_point_on_the_first_axis_is_turned_to_where_trigonometry_says(work: ModuleType) -> None:
    x = torch.tensor([1.0, 1.0, 0.0, 0.0]).expand(1, 1, 2, 4)  # two pairs, both (1, 0), at positions 0 and 3
    turned = [math.cos(3), math.cos(0.03), math.sin(3), math.sin(0.03)]
    assert_close(work.rotary(x, torch.tensor([0, 3])), torch.tensor([[[[1.0, 1.0, 0.0, 0.0], turned]]]))


def test_rotary_positions_pass_the_checks_of_clearformer(work: ModuleType) -> None:
    x = torch.randn(B, H, T, E)
    assert_close(work.rotary(x, torch.zeros(T, dtype=torch.int64)), x)
    assert_part_is_right("rotary", work.rotary)


def test_with_a_set_for_each_head_it_is_ordinary_attention(work: ModuleType) -> None:
    q, k, v = qkv(H)
    assert_close(work.grouped_attention(q, k, v), F.scaled_dot_product_attention(q, k, v))


def test_neighbouring_heads_share_a_set(work: ModuleType) -> None:
    q, k, _ = qkv(2)
    v = torch.tensor([1.0, 2.0])[None, :, None, None].expand(k.shape)  # means of equal values are that value
    expected = torch.tensor([1.0, 1.0, 1.0, 2.0, 2.0, 2.0])[None, :, None, None]
    assert_close(work.grouped_attention(q, k, v), expected.expand(q.shape))


def test_keys_are_shared_as_values_are(work: ModuleType) -> None:
    for sets in (1, 2, 3):
        q, k, v = qkv(sets)
        of_head = [head * sets // H for head in range(H)]
        assert_close(work.grouped_attention(q, k, v), F.scaled_dot_product_attention(q, k[:, of_head], v[:, of_head]))
