"""What a solution of exercise 2 must do."""

from types import ModuleType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clearformer.guide.judging import assert_close, assert_part_is_right

D = 8


class Zero(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x)


def normed(x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:])


def test_the_norm_of_two_numbers_is_the_one_worked_by_hand(work: ModuleType) -> None:
    out = work.LayerNorm(2)(torch.tensor([[[100.0, 300.0]]]))  # mean 200, variance 100²
    assert_close(out, torch.tensor([[[-1.0, 1.0]]]))


def test_the_norm_passes_the_checks_of_clearformer(work: ModuleType) -> None:
    assert_part_is_right("layer-norm", work.LayerNorm(D))


def test_a_layer_whose_parts_give_zero_norms_its_input(work: ModuleType) -> None:
    x = torch.randn(2, 3, D)
    assert_close(work.EncoderLayer(D, Zero(), Zero())(x), normed(normed(x)))


def test_attention_comes_first_and_its_output_is_added_before_the_norm(work: ModuleType) -> None:
    x, part = torch.randn(2, 3, D), nn.Linear(D, D)
    assert_close(work.EncoderLayer(D, part, Zero())(x), normed(normed(x + part(x))))


def test_feed_forward_gets_the_normed_sum_and_its_output_is_added(work: ModuleType) -> None:
    x, part = torch.randn(2, 3, D), nn.Linear(D, D)
    middle = normed(x)
    assert_close(work.EncoderLayer(D, Zero(), part)(x), normed(middle + part(middle)))


def test_each_norm_has_weights_of_its_own_which_learn(work: ModuleType) -> None:
    layer = work.EncoderLayer(D, nn.Linear(D, D), nn.Linear(D, D))
    layer(torch.randn(2, 3, D)).pow(3).sum().backward()
    without = [name for name, weight in layer.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert not without, f"no gradient reaches {', '.join(without)}"
