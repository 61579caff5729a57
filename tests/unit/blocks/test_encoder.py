import pytest
import torch
from torch import nn

from clearformer.blocks.encoder import Encoder, EncoderLayer
from clearformer.blocks.feedforward import FeedForward
from clearformer.blocks.masks import padding_mask
from clearformer.blocks.multihead import MultiHeadAttention
from clearformer.blocks.norm import LayerNorm
from clearformer.blocks.residual import PostNormResidual, PreNormResidual

RESIDUALS = [PreNormResidual, PostNormResidual]


def make_layer(residual: type = PreNormResidual, dropout: float = 0.0, causal: bool = False) -> EncoderLayer:
    return EncoderLayer(
        MultiHeadAttention(8, 2, causal=causal),
        residual(LayerNorm(8), dropout),
        FeedForward(8, 16, nn.ReLU()),
        residual(LayerNorm(8), dropout),
    )


@pytest.fixture(params=RESIDUALS)
def stack(request, scramble) -> Encoder:
    encoder = Encoder([make_layer(request.param) for _ in range(2)], LayerNorm(8))
    scramble(encoder)
    return encoder


def difference(stack: Encoder, place: int, mask: torch.Tensor | None = None) -> list[bool]:
    """Which of five tokens' outputs change when the one at `place` does."""
    x = torch.randn(1, 5, 8)
    changed = x.clone()
    changed[0, place] += torch.linspace(-1, 1, 8)
    return ((stack(x, mask) - stack(changed, mask)).abs().amax(-1)[0] > 0).tolist()


@pytest.mark.parametrize("place", range(5))
def test_an_encoder_sees_both_sides(stack: Encoder, place: int):
    assert difference(stack, place) == [True] * 5


def test_with_causal_attention_it_sees_one_side(scramble):
    stack = Encoder([make_layer(causal=True) for _ in range(2)], LayerNorm(8))
    scramble(stack)
    for place in range(5):
        assert difference(stack, place) == [other >= place for other in range(5)]


def test_masked_tokens_change_no_output_but_their_own(stack: Encoder):
    mask = padding_mask(torch.tensor([[True, True, True, False, False]]))
    assert difference(stack, 4, mask) == [False, False, False, False, True]


def test_layers_run_in_order_and_the_norm_comes_last():
    order = []
    layers = [make_layer(), make_layer()]
    stack = Encoder(layers, LayerNorm(8))
    for name, module in (("first", layers[0]), ("second", layers[1]), ("norm", stack.norm)):
        module.register_forward_hook(lambda *_, name=name: order.append(name))
    stack(torch.randn(1, 2, 8))
    assert order == ["first", "second", "norm"]


@pytest.mark.parametrize("residual", RESIDUALS)
def test_attention_comes_before_feed_forward_each_in_its_own_residual(residual: type, scramble):
    layer = make_layer(residual)
    scramble(layer)
    x = torch.randn(1, 3, 8)
    middle = layer.attention_residual(x, layer.attention)
    assert torch.equal(layer(x), layer.feed_forward_residual(middle, layer.feed_forward))


def test_dropout_is_on_in_training_and_off_in_evaluation():
    layer, x = make_layer(dropout=0.5), torch.randn(1, 3, 8)
    assert not torch.equal(layer(x), layer(x))
    layer.eval()
    assert torch.equal(layer(x), layer(x))
