"""With the same weights, blocks and stacks equal torch.nn's: outputs, and gradients of all weights and inputs."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from clearformer.blocks.decoder import Decoder, DecoderLayer
from clearformer.blocks.encoder import Encoder, EncoderLayer
from clearformer.blocks.feedforward import FeedForward
from clearformer.blocks.masks import padding_mask
from clearformer.blocks.multihead import CrossAttention, MultiHeadAttention
from clearformer.blocks.norm import LayerNorm, RMSNorm
from clearformer.blocks.residual import PostNormResidual, PreNormResidual

# float64 sums in another order, through up to two layers: 6.4e-15 seen, relative to 1 + the value
TOLERANCE = 1e-12

D, H, F = 12, 3, 20
Names = dict[str, tuple[str, ...]]
# torch's prefixes and ours; several of ours are rows of one of torch's
ATTENTION = {"in_proj_": ("qkv_projection.",), "out_proj.": ("output_projection.",)}
CROSS_ATTENTION = {"in_proj_": ("query_projection.", "kv_projection."), "out_proj.": ("output_projection.",)}


def nested(theirs: str, ours: str, names: Names) -> Names:
    return {theirs + key: tuple(ours + name for name in values) for key, values in names.items()}


def layer_names(*sublayers: str) -> Names:
    """The names of a layer with these sub-layers, but for cross-attention."""
    norms = {f"norm{i}.": (f"{sublayer}_residual.norm.",) for i, sublayer in enumerate(sublayers, 1)}
    linears = {f"linear{i}.": (f"feed_forward.linear{i}.",) for i in (1, 2)}
    return nested("self_attn.", "attention.", ATTENTION) | linears | norms


ENCODER_LAYER = layer_names("attention", "feed_forward")
DECODER_LAYER = layer_names("attention", "cross_attention", "feed_forward") | nested(
    "multihead_attn.", "cross_attention.", CROSS_ATTENTION
)


def stack_names(layer: Names) -> Names:
    """The names of a stack of two layers and a norm."""
    return {"norm.": ("norm.",)} | nested("layers.0.", "layers.0.", layer) | nested("layers.1.", "layers.1.", layer)


Pairs = list[tuple[list[nn.Parameter], nn.Parameter]]


def pair_up(ours: nn.Module, theirs: nn.Module, names: Names) -> Pairs:
    """Every parameter of both, exactly once."""
    unpaired, pairs = dict(ours.named_parameters()), []
    for name, value in theirs.named_parameters():
        prefix = next(prefix for prefix in names if name.startswith(prefix))
        pairs.append(([unpaired.pop(part + name.removeprefix(prefix)) for part in names[prefix]], value))
    assert not unpaired, f"no counterpart: {sorted(unpaired)}"
    return pairs


def assert_same(
    ours: nn.Module,
    theirs: nn.Module,
    names: Names,
    call_ours: Callable[..., Tensor],
    call_theirs: Callable[..., Tensor],
    *inputs: Tensor,
) -> None:
    """Fill both with the same random weights, call both, and compare outputs and all gradients."""
    ours, theirs = ours.double(), theirs.double()
    pairs = pair_up(ours, theirs, names)
    with torch.no_grad():
        for parameters, value in pairs:
            for parameter in parameters:
                parameter.normal_(std=0.5)
            value.copy_(torch.cat(parameters))
    results = []
    for call in (call_ours, call_theirs):
        leaves = [value.clone().requires_grad_() for value in inputs]
        out = call(*leaves)
        out.backward(torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out))
        results.append([out, *(leaf.grad for leaf in leaves)])
    results[0] += [torch.cat([parameter.grad for parameter in parameters]) for parameters, _ in pairs]
    results[1] += [value.grad for _, value in pairs]
    torch.testing.assert_close(*results, atol=TOLERANCE, rtol=TOLERANCE)


def tokens(length: int) -> Tensor:
    return torch.randn(2, length, D, dtype=torch.float64)


def future(length: int) -> Tensor:
    """As torch.nn's masks: True may not attend."""
    return torch.ones(length, length, dtype=torch.bool).triu(1)


def real(padded: bool, length: int = 5) -> Tensor:
    """Rows of 5 and 3 real tokens, or of 5 and 5."""
    return torch.arange(length) < torch.tensor([[5], [3 if padded else 5]])


def make_layer(kind: str, norm_first: bool, activation: str) -> nn.Module:
    residual = PreNormResidual if norm_first else PostNormResidual
    feed_forward = FeedForward(D, F, {"relu": nn.ReLU(), "gelu": nn.GELU()}[activation]), residual(LayerNorm(D))
    if kind == "encoder":
        return EncoderLayer(MultiHeadAttention(D, H), residual(LayerNorm(D)), *feed_forward)
    attention = MultiHeadAttention(D, H, causal=True), residual(LayerNorm(D))
    return DecoderLayer(*attention, CrossAttention(D, H), residual(LayerNorm(D)), *feed_forward)


def their_layer(kind: str, norm_first: bool, activation: str) -> nn.Module:
    layer = {"encoder": nn.TransformerEncoderLayer, "decoder": nn.TransformerDecoderLayer}[kind]
    return layer(D, H, F, dropout=0.0, activation=activation, batch_first=True, norm_first=norm_first)


padded_or_not = pytest.mark.parametrize("padded", [False, True])
orders = pytest.mark.parametrize("norm_first", [False, True], ids=["post", "pre"])


@pytest.mark.parametrize("bias", [True, False])
def test_layer_norm_equals_torchs(bias: bool):
    ours, theirs = LayerNorm(D, bias=bias), nn.LayerNorm(D, bias=bias)
    assert ours.eps == theirs.eps
    assert_same(ours, theirs, {"": ("",)}, ours, theirs, tokens(5))


def test_rms_norm_equals_torchs():
    ours, theirs = RMSNorm(D), nn.RMSNorm(D, eps=1e-5)
    assert_same(ours, theirs, {"": ("",)}, ours, theirs, tokens(5))


@padded_or_not
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("bias", [True, False])
def test_self_attention_equals_torchs(causal: bool, padded: bool, bias: bool):
    ours = MultiHeadAttention(D, H, causal=causal, bias=bias)
    theirs = nn.MultiheadAttention(D, H, bias=bias, batch_first=True)
    masks = {"attn_mask": future(5) if causal else None, "key_padding_mask": ~real(padded)}
    mask = padding_mask(real(padded)) if padded else None
    assert_same(
        ours,
        theirs,
        ATTENTION,
        lambda x: ours(x, mask),
        lambda x: theirs(x, x, x, **masks, need_weights=False)[0],
        tokens(5),
    )


@padded_or_not
def test_cross_attention_equals_torchs(padded: bool):
    ours, theirs = CrossAttention(D, H), nn.MultiheadAttention(D, H, batch_first=True)
    mask = padding_mask(real(padded)) if padded else None
    assert_same(
        ours,
        theirs,
        CROSS_ATTENTION,
        lambda x, memory: ours(x, memory, mask),
        lambda x, memory: theirs(x, memory, memory, key_padding_mask=~real(padded), need_weights=False)[0],
        tokens(4),
        tokens(5),
    )


def assert_encoders_are_same(ours: nn.Module, theirs: nn.Module, names: Names, padded: bool) -> None:
    assert_same(
        ours,
        theirs,
        names,
        lambda x: ours(x, padding_mask(real(padded))),
        lambda x: theirs(x, src_key_padding_mask=~real(padded)),
        tokens(5),
    )


def assert_decoders_are_same(ours: nn.Module, theirs: nn.Module, names: Names, padded: bool) -> None:
    target_real = torch.tensor([[True] * 4, [True, True, True, not padded]])
    masks = {"tgt_key_padding_mask": ~target_real, "memory_key_padding_mask": ~real(padded)}
    assert_same(
        ours,
        theirs,
        names,
        lambda x, memory: ours(x, memory, padding_mask(target_real), padding_mask(real(padded))),
        lambda x, memory: theirs(x, memory, future(4), **masks),
        tokens(4),
        tokens(5),
    )


@padded_or_not
@orders
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_layers_equal_torchs(norm_first: bool, activation: str, padded: bool):
    settings = norm_first, activation
    assert_encoders_are_same(make_layer("encoder", *settings), their_layer("encoder", *settings), ENCODER_LAYER, padded)
    assert_decoders_are_same(make_layer("decoder", *settings), their_layer("decoder", *settings), DECODER_LAYER, padded)


@padded_or_not
@orders
def test_stacks_of_two_layers_equal_torchs(norm_first: bool, padded: bool):
    layers = {kind: [make_layer(kind, norm_first, "relu") for _ in range(2)] for kind in ("encoder", "decoder")}
    encoder, decoder = Encoder(layers["encoder"], LayerNorm(D)), Decoder(layers["decoder"], LayerNorm(D))
    of_torch = {kind: their_layer(kind, norm_first, "relu") for kind in ("encoder", "decoder")}
    theirs = nn.TransformerEncoder(of_torch["encoder"], 2, nn.LayerNorm(D), enable_nested_tensor=False)
    assert_encoders_are_same(encoder, theirs, stack_names(ENCODER_LAYER), padded)
    theirs = nn.TransformerDecoder(of_torch["decoder"], 2, nn.LayerNorm(D))
    assert_decoders_are_same(decoder, theirs, stack_names(DECODER_LAYER), padded)
