"""The loss equals the formula, worked by hand; tokens that are not predicted do not count."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from clearformer.config import GPTConfig, TransformerConfig
from clearformer.data.batches import IGNORE, TextWindows, collate
from clearformer.data.tokenizers import BOS, EOS
from clearformer.models.build import build
from clearformer.training.loss import cross_entropy, mean_loss, summed_loss

# float32 sums of up to 50 logits and 12 tokens in another order: 2.1e-6 measured, relative, over 2,000 draws
KERNEL_TOLERANCE = 1e-5

LOGITS = torch.tensor([[[0.0, math.log(3.0)], [math.log(4.0), 0.0]]], dtype=torch.float64)
"""two tokens over a vocabulary of two, with the probabilities (1/4, 3/4) and (4/5, 1/5)"""


@pytest.mark.parametrize("loss", [summed_loss, cross_entropy])
def test_the_loss_of_two_tokens_and_label_smoothing_worked_by_hand(loss):
    expected = math.log(4 / 3) + math.log(5 / 4)
    assert loss(LOGITS, torch.tensor([[1, 0]])).item() == pytest.approx(expected, rel=1e-12)
    # ε = 0.2 over a vocabulary of two: q is 0.9 for the target and 0.1 for the other
    smoothed = -(0.9 * math.log(3 / 4) + 0.1 * math.log(1 / 4))
    assert loss(LOGITS[:, :1], torch.tensor([[1]]), 0.2).item() == pytest.approx(smoothed, rel=1e-12)


@given(
    vocab_size=st.integers(2, 50),
    smoothing=st.floats(0, 0.9),
    seed=st.integers(0, 2**31),
    rows=st.integers(1, 3),
    length=st.integers(1, 4),
)
def test_the_kernel_equals_the_formula(vocab_size: int, smoothing: float, seed: int, rows: int, length: int):
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(rows, length, vocab_size, generator=generator)
    targets = torch.randint(0, vocab_size, (rows, length), generator=generator)
    targets[torch.rand(rows, length, generator=generator) < 0.3] = IGNORE
    kernel, formula = summed_loss(logits, targets, smoothing), cross_entropy(logits, targets, smoothing)
    torch.testing.assert_close(kernel, formula, atol=KERNEL_TOLERANCE, rtol=KERNEL_TOLERANCE)


@pytest.mark.parametrize(("gap", "expected"), [(80.0, math.exp(-80)), (95.0, 0.0)])
def test_a_gradient_of_a_float64_loss_is_exact_or_zero_where_float32_has_subnormal_numbers_alone(gap, expected):
    # the gradient of a wrong answer is its probability, exp(-gap); the smallest normal number of float32 is exp(-87.3)
    logits = torch.tensor([[[gap, 0.0]]], requires_grad=True)
    summed_loss(logits, torch.tensor([[0]]), precision=torch.float64).backward()
    assert logits.grad is not None
    assert logits.grad[0, 0, 1].item() == pytest.approx(expected, rel=KERNEL_TOLERANCE, abs=0)


@given(vocab_size=st.integers(2, 9), smoothing=st.floats(0, 0.9), seed=st.integers(0, 2**31))
def test_label_smoothing_is_the_cross_entropy_with_a_smoothed_target(vocab_size: int, smoothing: float, seed: int):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(1, 1, vocab_size, generator=generator, dtype=torch.float64)
    q = torch.full((vocab_size,), smoothing / vocab_size, dtype=torch.float64)
    q[0] += 1 - smoothing
    expected = -(q * torch.softmax(logits[0, 0], -1).log()).sum()
    torch.testing.assert_close(summed_loss(logits, torch.tensor([[0]]), smoothing), expected)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("loss", [summed_loss, cross_entropy])
def test_ignored_targets_change_neither_loss_nor_gradient(loss, smoothing: float):
    logits = torch.randn(2, 3, 5, requires_grad=True)
    targets = torch.tensor([[1, IGNORE, 2], [IGNORE, IGNORE, 4]])
    value = loss(logits, targets, smoothing)
    value.backward()
    assert logits.grad is not None
    assert logits.grad[targets == IGNORE].abs().max() == 0.0
    assert (logits.grad[targets != IGNORE].abs().amax(-1) > 0).all()
    alone = loss(logits[targets != IGNORE][None], targets[targets != IGNORE][None], smoothing)
    torch.testing.assert_close(value, alone)


def test_the_loss_of_bfloat16_logits_is_summed_in_float32():
    loss = summed_loss(torch.zeros(1, 4, 8, dtype=torch.bfloat16), torch.zeros(1, 4, dtype=torch.int64))
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(4 * math.log(8), rel=1e-6)  # in bfloat16 it would be 8.31 or 8.25


def gpt(dropout: float = 0.0) -> nn.Module:
    return build(GPTConfig(vocab_size=11, context=4, d_model=8, num_heads=2, num_layers=1, d_ff=16, dropout=dropout), 1)


def test_the_mean_is_over_tokens_and_not_over_batches():
    model = gpt().eval()
    with torch.no_grad():
        model.get_parameter("embedding.weight").mul_(20)  # or all tokens would be about equally likely
    tokens = torch.randint(0, 11, (23,), generator=torch.Generator().manual_seed(0)).numpy()
    batches = list(TextWindows(tokens, 4, 8, seed=1).in_order())
    assert len({batch.targets.size for batch in batches}) > 1
    by_hand = []
    for first in range(0, 22, 4):
        block = torch.from_numpy(tokens[first : min(first + 4, 22)])
        following = tokens[first + 1 : min(first + 4, 22) + 1]
        log_p = model(block[None])[0].log_softmax(-1)
        by_hand += [-log_p[position, target].item() for position, target in enumerate(following)]
    assert len(by_hand) == 22
    assert mean_loss(model, batches) == pytest.approx(sum(by_hand) / 22, rel=1e-5)


def test_padding_does_not_count_in_the_mean():
    model = build(TransformerConfig(vocab_size=11, context=9, d_model=8, num_heads=2, num_layers=1, d_ff=16), 1).eval()
    pairs = [([5, 6, 7], [8]), ([9], [10, 4, 5, 6, 7, 8]), ([4, 4], [5, 6])]
    by_hand = []
    for source, target in pairs:
        inputs = torch.tensor([[*source, EOS]]), torch.tensor([[BOS, *target]])
        log_p = model(*inputs, *(torch.ones_like(tokens).bool() for tokens in inputs))[0].log_softmax(-1)
        by_hand += [-log_p[position, token].item() for position, token in enumerate([*target, EOS])]
    assert len(by_hand) == 2 + 7 + 3
    assert mean_loss(model, [collate(pairs)]) == pytest.approx(sum(by_hand) / 12, rel=1e-5)


@pytest.mark.parametrize("training", [True, False])
def test_the_mean_loss_is_without_dropout_and_keeps_the_models_mode(training: bool):
    model = gpt(dropout=0.5).train(training)
    batches = list(TextWindows(torch.arange(23).remainder(11).numpy(), 4, 8, seed=1).in_order())
    first, second = (mean_loss(model, batches) for _ in range(2))
    assert first == second
    assert model.training == training
