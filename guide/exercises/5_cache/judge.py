"""What a solution of exercise 5 must do."""

from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from clearformer.guide.judging import assert_close

B, T, D = 2, 7, 8


def in_pieces(attention: Any, x: Tensor, lengths: tuple[int, ...]) -> Tensor:
    """The outputs of steps that take so many tokens each."""
    outputs, cache = [], None
    for piece in x.split(lengths, dim=1):
        out, cache = attention.step(piece, cache)
        outputs.append(out)
    return torch.cat(outputs, dim=1)


def test_steps_of_one_token_equal_the_full_pass(work: ModuleType) -> None:
    attention, x = work.CausalAttention(D), torch.randn(B, T, D)
    assert_close(in_pieces(attention, x, (1,) * T), attention(x))


def test_the_first_step_may_take_a_whole_prompt(work: ModuleType) -> None:
    attention, x = work.CausalAttention(D), torch.randn(B, T, D)
    assert_close(in_pieces(attention, x, (T,)), attention(x))


def test_several_new_tokens_see_the_cached_ones_and_each_other_backwards(work: ModuleType) -> None:
    attention, x = work.CausalAttention(D), torch.randn(B, T, D)
    assert_close(in_pieces(attention, x, (3, 2, 1, 1)), attention(x))


def test_the_cache_grows_by_the_new_tokens_and_the_old_one_stays(work: ModuleType) -> None:
    attention, x = work.CausalAttention(D), torch.randn(B, T, D)
    _, old = attention.step(x[:, :4], None)
    copy = [tensor.clone() for tensor in old]
    _, new = attention.step(x[:, 4:], old)
    for kept, before, after in zip(old, copy, new, strict=True):
        assert torch.equal(kept, before), "the cache that went in was changed"
        assert after.shape == (B, T, D), f"a cache of {[B, T, D]} was expected, found {list(after.shape)}"
        assert torch.equal(after[:, :4], before), "what was cached is not at the front of the new cache"


def test_no_token_is_computed_twice(work: ModuleType) -> None:
    attention, x = work.CausalAttention(D), torch.randn(B, T, D)
    computed = dict.fromkeys(("query", "key", "value"), 0)
    for name in computed:

        def count(_: Any, inputs: tuple[Tensor], __: Tensor, name: str = name) -> None:
            computed[name] += inputs[0].shape[1]

        getattr(attention, name).register_forward_hook(count)
    in_pieces(attention, x, (3, 1, 1, 1, 1))
    assert computed == dict.fromkeys(computed, T), f"{T} tokens each were expected, found {computed}"
