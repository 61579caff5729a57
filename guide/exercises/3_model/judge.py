"""What a solution of exercise 3 must do."""

from types import ModuleType

import torch
from torch import Tensor

from clearformer.guide.judging import assert_close, assert_part_is_right

D, T, S = 8, 5, 4


def outputs(work: ModuleType, x: Tensor, memory: Tensor) -> Tensor:
    torch.manual_seed(1)
    with torch.no_grad():
        return work.DecoderLayer(D)(x, memory)


def moved(work: ModuleType, x: Tensor, memory: Tensor, x2: Tensor, memory2: Tensor) -> list[bool]:
    """For each target token, whether its output differs between two inputs."""
    difference = (outputs(work, x, memory) - outputs(work, x2, memory2)).abs().amax((0, 2))
    return [bool(value > 0) for value in difference]


def test_the_mask_of_three_tokens_is_the_one_drawn_by_hand(work: ModuleType) -> None:
    assert work.causal_mask(3).tolist() == [[True, False, False], [True, True, False], [True, True, True]]


def test_the_mask_passes_the_checks_of_clearformer(work: ModuleType) -> None:
    assert_part_is_right("mask", work.causal_mask)


def test_attention_passes_the_checks_of_clearformer(work: ModuleType) -> None:
    assert_part_is_right("attention", work.attention)


def test_a_hidden_key_has_no_weight_and_the_others_share_it(work: ModuleType) -> None:
    v = torch.tensor([[[1.0], [3.0], [100.0]]])
    out = work.attention(torch.zeros(1, 1, 1), torch.zeros(1, 3, 1), v, torch.tensor([[True, True, False]]))
    assert_close(out, torch.tensor([[[2.0]]]))


def test_a_query_that_may_attend_to_nothing_stays_finite(work: ModuleType) -> None:
    out = work.attention(*(torch.randn(1, 2, D) for _ in range(3)), torch.zeros(2, 2, dtype=torch.bool))
    assert out.isfinite().all(), "its output is not finite"


def test_a_changed_target_token_moves_itself_and_later_tokens_only(work: ModuleType) -> None:
    x, memory = torch.randn(1, T, D), torch.randn(1, S, D)
    changed = x.clone()
    changed[0, 2] += 1.0
    assert moved(work, x, memory, changed, memory) == [False, False, True, True, True]


def test_a_changed_source_token_moves_every_target_token(work: ModuleType) -> None:
    x, memory = torch.randn(1, T, D), torch.randn(1, S, D)
    changed = memory.clone()
    changed[0, -1] += 1.0
    assert moved(work, x, memory, x, changed) == [True] * T


def test_every_part_adds_to_its_input(work: ModuleType) -> None:
    layer = work.DecoderLayer(D)
    for module in (layer.value, layer.cross_value, layer.feed_forward[2]):
        for weight in module.parameters():
            torch.nn.init.zeros_(weight)
    x = torch.randn(2, T, D)
    assert_close(layer(x, torch.randn(2, S, D)), x)


def test_every_weight_learns(work: ModuleType) -> None:
    layer = work.DecoderLayer(D)
    layer(torch.randn(2, T, D), torch.randn(2, S, D)).pow(2).sum().backward()
    without = [name for name, weight in layer.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert not without, f"no gradient reaches {', '.join(without)}"
