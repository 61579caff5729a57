import pytest
import torch
from torch import nn

from clearformer.blocks.decoder import Decoder, DecoderLayer
from clearformer.blocks.feedforward import FeedForward
from clearformer.blocks.masks import padding_mask
from clearformer.blocks.multihead import CrossAttention, MultiHeadAttention
from clearformer.blocks.norm import LayerNorm
from clearformer.blocks.residual import PostNormResidual, PreNormResidual


@pytest.fixture(params=[PreNormResidual, PostNormResidual])
def stack(request, scramble) -> Decoder:
    def layer() -> DecoderLayer:
        return DecoderLayer(
            MultiHeadAttention(8, 2, causal=True),
            request.param(LayerNorm(8)),
            CrossAttention(8, 2),
            request.param(LayerNorm(8)),
            FeedForward(8, 16, nn.ReLU()),
            request.param(LayerNorm(8)),
        )

    decoder = Decoder([layer(), layer()], LayerNorm(8))
    scramble(decoder)
    return decoder


@pytest.fixture
def target() -> torch.Tensor:
    return torch.randn(1, 4, 8)


@pytest.fixture
def memory() -> torch.Tensor:
    return torch.randn(1, 5, 8)


@pytest.mark.parametrize("position", range(4))
def test_a_target_token_reaches_itself_and_later_ones(stack: Decoder, target, memory, dependents, position: int):
    assert dependents(lambda x: stack(x, memory), target, position) == list(range(position, 4))


@pytest.mark.parametrize("position", range(5))
def test_every_source_token_reaches_every_target_token(stack: Decoder, target, memory, dependents, position: int):
    assert dependents(lambda memory: stack(target, memory), memory, position) == [0, 1, 2, 3]


def test_padding_of_the_source_has_no_effect(stack: Decoder, target, memory, dependents):
    mask = padding_mask(torch.tensor([[True, True, True, False, False]]))
    assert dependents(lambda memory: stack(target, memory, None, mask), memory, 4) == []
    assert dependents(lambda memory: stack(target, memory, None, mask), memory, 2) == [0, 1, 2, 3]
    # masked or cut off is the same, up to float32's rounding in another shape
    expected = stack(target, memory[:, :3])
    torch.testing.assert_close(stack(target, memory, None, mask), expected, atol=1e-5, rtol=1e-5)


def test_the_mask_of_the_target_is_not_the_mask_of_the_source(stack: Decoder, target, memory, dependents):
    mask = padding_mask(torch.tensor([[True, False, True, True]]))
    assert dependents(lambda x: stack(x, memory, mask), target, 1) == [1]


def test_self_attention_comes_before_cross_attention_before_feed_forward(stack: Decoder, target, memory):
    layer = stack.layers[0]
    x = layer.attention_residual(target, layer.attention)
    x = layer.cross_attention_residual(x, lambda x: layer.cross_attention(x, memory))
    assert torch.equal(layer(target, memory), layer.feed_forward_residual(x, layer.feed_forward))


def test_the_norm_comes_last(stack: Decoder, target, memory):
    first, second = stack.layers
    assert torch.equal(stack(target, memory), stack.norm(second(first(target, memory), memory)))
