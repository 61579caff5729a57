"""What a solution of exercise 4 must do."""

import math
from types import ModuleType
from typing import Any

import torch
import torch._dynamo  # optimizers load it late, and it starts programs, which a submission may not
from torch import Tensor, nn

from clearformer.guide.judging import assert_close

V, PADDING, END = 5, 0, 4
B, T, D = 2, 7, 8


class Counting(nn.Module):
    """After a token comes the next number; it remembers whether gradients were on."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.kept_gradients = False

    def forward(self, tokens: Tensor) -> Tensor:
        logits = self.weight * nn.functional.one_hot((tokens + 1) % V, V)
        self.kept_gradients |= logits.requires_grad
        return logits


def bigrams() -> nn.Embedding:
    """The logits of the next token are a row of a table, all zero at first."""
    model = nn.Embedding(V, V)
    nn.init.zeros_(model.weight)
    return model


def in_pieces(attention: Any, x: Tensor, lengths: tuple[int, ...]) -> Tensor:
    """The outputs of steps that take so many tokens each."""
    outputs, cache = [], None
    for piece in x.split(lengths, dim=1):
        out, cache = attention.step(piece, cache)
        outputs.append(out)
    return torch.cat(outputs, dim=1)


def test_equal_logits_give_the_logarithm_of_the_vocabulary(work: ModuleType) -> None:
    value = work.loss(torch.zeros(2, 3, V), torch.ones(2, 3, dtype=torch.int64), PADDING)
    assert_close(value, torch.tensor(math.log(V)))


def test_the_loss_of_known_probabilities_is_the_one_worked_by_hand(work: ModuleType) -> None:
    logits = torch.tensor([[[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]]]).log()
    expected = -(math.log(0.25) + math.log(0.8)) / 2
    assert_close(work.loss(logits, torch.tensor([[1, 2]]), PADDING), torch.tensor(expected))


def test_padding_does_not_count(work: ModuleType) -> None:
    logits = torch.randn(1, 4, V)
    whole = work.loss(logits, torch.tensor([[1, 2, PADDING, PADDING]]), PADDING)
    assert_close(whole, work.loss(logits[:, :2], torch.tensor([[1, 2]]), PADDING))


def test_a_step_returns_the_loss_before_it(work: ModuleType) -> None:
    model = bigrams()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    value = work.train_step(model, optimizer, torch.tensor([[1]]), torch.tensor([[2]]), PADDING)
    assert isinstance(value, float), f"a float was expected, found {type(value).__name__}"
    assert math.isclose(value, math.log(V), rel_tol=1e-6), f"{math.log(V):.4f} was expected, found {value:.4f}"


def test_a_step_moves_the_weights_against_the_gradient_worked_by_hand(work: ModuleType) -> None:
    model = bigrams()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    work.train_step(model, optimizer, torch.tensor([[1]]), torch.tensor([[2]]), PADDING)
    assert_close(model.weight[1], torch.tensor([-0.2, -0.2, 0.8, -0.2, -0.2]))  # one-hot minus 1 / V


def test_gradients_of_an_earlier_step_do_not_count(work: ModuleType) -> None:
    model = bigrams()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    work.train_step(model, optimizer, torch.tensor([[1]]), torch.tensor([[2]]), PADDING)
    before = model.weight[1].detach().clone()
    work.train_step(model, optimizer, torch.tensor([[3]]), torch.tensor([[2]]), PADDING)
    assert_close(model.weight[1], before)


def test_the_likeliest_tokens_follow_the_prompt(work: ModuleType) -> None:
    assert list(work.generate(Counting(), [0], END, 3)) == [1, 2, 3]


def test_generation_stops_at_the_end_which_is_not_returned(work: ModuleType) -> None:
    assert list(work.generate(Counting(), [0, 1], END, 50)) == [2, 3]


def test_generation_stops_after_the_tokens_asked_for(work: ModuleType) -> None:
    assert list(work.generate(Counting(), [0], END, 2)) == [1, 2]
    assert list(work.generate(Counting(), [0], END, 0)) == []


def test_generation_keeps_no_gradients(work: ModuleType) -> None:
    model = Counting()
    work.generate(model, [0], END, 2)
    assert not model.kept_gradients


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
