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
def written() -> torch.Tensor:
    return torch.randn(1, 4, 8)


@pytest.fixture
def memory() -> torch.Tensor:
    return torch.randn(1, 5, 8)


def moved(x: torch.Tensor, place: int) -> torch.Tensor:
    """The same tokens but for the one at `place`."""
    changed = x.clone()
    changed[0, place] += torch.linspace(-1, 1, 8)
    return changed


@pytest.mark.parametrize("place", range(4))
def test_what_was_written_is_seen_from_its_place_on(stack: Decoder, written, memory, place: int):
    difference = (stack(written, memory) - stack(moved(written, place), memory)).abs().amax(-1)[0]
    assert (difference > 0).tolist() == [other >= place for other in range(4)]


@pytest.mark.parametrize("place", range(5))
def test_every_token_written_sees_every_token_of_the_source(stack: Decoder, written, memory, place: int):
    difference = (stack(written, memory) - stack(written, moved(memory, place))).abs().amax(-1)[0]
    assert difference.min() > 0


def test_the_sources_padding_is_not_seen(stack: Decoder, written, memory):
    mask = padding_mask(torch.tensor([[True, True, True, False, False]]))
    expected = stack(written, memory, None, mask)
    assert torch.equal(expected, stack(written, moved(memory, 4), None, mask))
    assert not torch.equal(expected, stack(written, moved(memory, 2), None, mask))
    # hidden or cut off is the same, up to float32's rounding in another shape
    torch.testing.assert_close(expected, stack(written, memory[:, :3]), atol=1e-5, rtol=1e-5)


def test_the_mask_of_the_target_is_not_the_mask_of_the_source(stack: Decoder, written, memory):
    mask = padding_mask(torch.tensor([[True, False, True, True]]))
    difference = (stack(written, memory, mask) - stack(moved(written, 1), memory, mask)).abs().amax(-1)[0]
    assert (difference > 0).tolist() == [False, True, False, False]


def test_self_attention_comes_before_cross_attention_before_feed_forward(stack: Decoder, written, memory):
    layer = stack.layers[0]
    x = layer.attention_residual(written, layer.attention)
    x = layer.cross_attention_residual(x, lambda x: layer.cross_attention(x, memory))
    assert torch.equal(layer(written, memory), layer.feed_forward_residual(x, layer.feed_forward))


def test_the_norm_comes_last(stack: Decoder, written, memory):
    x = written
    for layer in stack.layers:
        x = layer(x, memory)
    assert torch.equal(stack(written, memory), stack.norm(x))
