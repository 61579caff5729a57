import pytest
import torch
from torch import nn

from clearformer.blocks.encoder import Encoder, EncoderLayer
from clearformer.blocks.feedforward import FeedForward
from clearformer.blocks.masks import padding_mask
from clearformer.blocks.multihead import MultiHeadAttention
from clearformer.blocks.norm import LayerNorm
from clearformer.blocks.residual import PostNormResidual, PreNormResidual


def make_stack(residual: type = PreNormResidual, dropout: float = 0.0, causal: bool = False) -> Encoder:
    def layer() -> EncoderLayer:
        return EncoderLayer(
            MultiHeadAttention(8, 2, causal=causal),
            residual(LayerNorm(8), dropout),
            FeedForward(8, 16, nn.ReLU()),
            residual(LayerNorm(8), dropout),
        )

    return Encoder([layer(), layer()], LayerNorm(8))


@pytest.fixture(params=[PreNormResidual, PostNormResidual])
def stack(request, scramble) -> Encoder:
    encoder = make_stack(request.param)
    scramble(encoder)
    return encoder


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(1, 5, 8)


@pytest.mark.parametrize("position", range(5))
def test_every_token_reaches_every_token(stack: Encoder, x, dependents, position: int):
    assert dependents(stack, x, position) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("position", range(5))
def test_with_causal_attention_a_token_reaches_itself_and_later_ones(scramble, x, dependents, position: int):
    stack = make_stack(causal=True)
    scramble(stack)
    assert dependents(stack, x, position) == list(range(position, 5))


def test_padding_reaches_only_itself(stack: Encoder, x, dependents):
    mask = padding_mask(torch.tensor([[True, True, True, False, False]]))
    assert dependents(lambda x: stack(x, mask), x, 4) == [4]


def test_layers_run_in_order_and_the_norm_comes_last(stack: Encoder, x):
    first, second = stack.layers
    assert not torch.equal(first(second(x)), second(first(x)))
    assert torch.equal(stack(x), stack.norm(second(first(x))))


def test_attention_comes_before_feed_forward_each_in_its_own_residual(stack: Encoder, x):
    layer = stack.layers[0]
    middle = layer.attention_residual(x, layer.attention)
    assert torch.equal(layer(x), layer.feed_forward_residual(middle, layer.feed_forward))


def test_dropout_is_on_in_training_and_off_in_evaluation(x):
    stack = make_stack(dropout=0.5)
    assert not torch.equal(stack(x), stack(x))
    stack.eval()
    assert torch.equal(stack(x), stack(x))
