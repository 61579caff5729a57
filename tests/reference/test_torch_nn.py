"""With the same weights, blocks and stacks give what torch.nn's do: outputs, gradients of all weights and inputs."""

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
# our names against torch's; several of ours side by side are one of torch's
ATTENTION = {"in_proj_": ("qkv_projection.",), "out_proj.": ("output_projection.",)}
CROSS = {"in_proj_": ("query_projection.", "kv_projection."), "out_proj.": ("output_projection.",)}
ENCODER_LAYER = {f"self_attn.{key}": tuple(f"attention.{name}" for name in names) for key, names in ATTENTION.items()}
ENCODER_LAYER |= {f"linear{i}.": (f"feed_forward.linear{i}.",) for i in (1, 2)}
DECODER_LAYER = ENCODER_LAYER | {
    f"multihead_attn.{key}": tuple(f"cross_attention.{name}" for name in names) for key, names in CROSS.items()
}
ENCODER_LAYER = ENCODER_LAYER | {"norm1.": ("attention_residual.norm.",), "norm2.": ("feed_forward_residual.norm.",)}
DECODER_LAYER |= {
    "norm1.": ("attention_residual.norm.",),
    "norm2.": ("cross_attention_residual.norm.",),
    "norm3.": ("feed_forward_residual.norm.",),
}
TWO_ENCODER_LAYERS, TWO_DECODER_LAYERS = (
    {f"layers.{i}.{key}": tuple(f"layers.{i}.{name}" for name in names) for i in (0, 1) for key, names in layer.items()}
    | {"norm.": ("norm.",)}
    for layer in (ENCODER_LAYER, DECODER_LAYER)
)
Names = dict[str, tuple[str, ...]]
Pairs = list[tuple[list[nn.Parameter], nn.Parameter]]


def pair_up(ours: nn.Module, theirs: nn.Module, names: Names) -> Pairs:
    """Every parameter of both sides exactly once."""
    own, pairs = dict(ours.named_parameters()), []
    for name, value in theirs.named_parameters():
        prefix = next(prefix for prefix in names if name.startswith(prefix))
        pairs.append(([own.pop(part + name.removeprefix(prefix)) for part in names[prefix]], value))
    assert not own, f"no counterpart: {sorted(own)}"
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
        for own, value in pairs:
            for parameter in own:
                parameter.normal_(std=0.5)
            value.copy_(torch.cat(own))
    results = []
    for call in (call_ours, call_theirs):
        leaves = [value.clone().requires_grad_() for value in inputs]
        out = call(*leaves)
        out.backward(torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out))
        results.append([out, *(leaf.grad for leaf in leaves)])
    results[0] += [torch.cat([parameter.grad for parameter in own]) for own, _ in pairs]
    results[1] += [value.grad for _, value in pairs]
    torch.testing.assert_close(*results, atol=TOLERANCE, rtol=TOLERANCE)


def tokens(length: int) -> Tensor:
    return torch.randn(2, length, D, dtype=torch.float64)


def future(length: int) -> Tensor:
    """In torch.nn's sense: True hides."""
    return torch.ones(length, length, dtype=torch.bool).triu(1)


def real(padded: bool, length: int = 5) -> Tensor:
    """Rows of 5 and 3 real tokens, or of 5 and 5."""
    return torch.arange(length) < torch.tensor([[5], [3 if padded else 5]])


def make_layer(kind: str, norm_first: bool, activation: str) -> nn.Module:
    residual = PreNormResidual if norm_first else PostNormResidual
    thinking = FeedForward(D, F, {"relu": nn.ReLU(), "gelu": nn.GELU()}[activation]), residual(LayerNorm(D))
    if kind == "encoder":
        return EncoderLayer(MultiHeadAttention(D, H), residual(LayerNorm(D)), *thinking)
    attention = MultiHeadAttention(D, H, causal=True), residual(LayerNorm(D))
    return DecoderLayer(*attention, CrossAttention(D, H), residual(LayerNorm(D)), *thinking)


def their_layer(kind: str, norm_first: bool, activation: str) -> nn.Module:
    layer = {"encoder": nn.TransformerEncoderLayer, "decoder": nn.TransformerDecoderLayer}[kind]
    return layer(D, H, F, dropout=0.0, activation=activation, batch_first=True, norm_first=norm_first)


padded_or_not = pytest.mark.parametrize("padded", [False, True])
orders = pytest.mark.parametrize("norm_first", [False, True], ids=["post", "pre"])


@pytest.mark.parametrize("bias", [True, False])
def test_layer_norm_is_torchs(bias: bool):
    ours, theirs = LayerNorm(D, bias=bias), nn.LayerNorm(D, bias=bias)
    assert ours.eps == theirs.eps
    assert_same(ours, theirs, {"": ("",)}, ours, theirs, tokens(5))


def test_rms_norm_is_torchs():
    ours, theirs = RMSNorm(D), nn.RMSNorm(D, eps=1e-5)
    assert_same(ours, theirs, {"": ("",)}, ours, theirs, tokens(5))


@padded_or_not
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("bias", [True, False])
def test_self_attention_is_torchs(causal: bool, padded: bool, bias: bool):
    ours = MultiHeadAttention(D, H, causal=causal, bias=bias)
    theirs = nn.MultiheadAttention(D, H, bias=bias, batch_first=True)

    def reference(x: Tensor) -> Tensor:
        hidden = {"attn_mask": future(5) if causal else None, "key_padding_mask": ~real(padded)}
        return theirs(x, x, x, **hidden, need_weights=False)[0]

    mask = padding_mask(real(padded)) if padded else None
    assert_same(ours, theirs, ATTENTION, lambda x: ours(x, mask), reference, tokens(5))


@padded_or_not
def test_cross_attention_is_torchs(padded: bool):
    ours, theirs = CrossAttention(D, H), nn.MultiheadAttention(D, H, batch_first=True)

    def reference(x: Tensor, memory: Tensor) -> Tensor:
        return theirs(x, memory, memory, key_padding_mask=~real(padded), need_weights=False)[0]

    mask = padding_mask(real(padded)) if padded else None
    assert_same(ours, theirs, CROSS, lambda x, memory: ours(x, memory, mask), reference, tokens(4), tokens(5))


@padded_or_not
@orders
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_an_encoder_layer_is_torchs(norm_first: bool, activation: str, padded: bool):
    ours, theirs = (make("encoder", norm_first, activation) for make in (make_layer, their_layer))
    assert_same(
        ours,
        theirs,
        ENCODER_LAYER,
        lambda x: ours(x, padding_mask(real(padded))),
        lambda x: theirs(x, src_key_padding_mask=~real(padded)),
        tokens(5),
    )


@padded_or_not
@orders
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_a_decoder_layer_is_torchs(norm_first: bool, activation: str, padded: bool):
    ours, theirs = (make("decoder", norm_first, activation) for make in (make_layer, their_layer))
    written = torch.tensor([[True] * 4, [True, True, True, not padded]])
    assert_same(
        ours,
        theirs,
        DECODER_LAYER,
        lambda x, memory: ours(x, memory, padding_mask(written), padding_mask(real(padded))),
        lambda x, memory: theirs(
            x, memory, future(4), tgt_key_padding_mask=~written, memory_key_padding_mask=~real(padded)
        ),
        tokens(4),
        tokens(5),
    )


@orders
def test_a_whole_encoder_is_torchs(norm_first: bool):
    ours = Encoder([make_layer("encoder", norm_first, "relu") for _ in range(2)], LayerNorm(D))
    theirs = nn.TransformerEncoder(
        their_layer("encoder", norm_first, "relu"), 2, nn.LayerNorm(D), enable_nested_tensor=False
    )
    assert_same(
        ours,
        theirs,
        TWO_ENCODER_LAYERS,
        lambda x: ours(x, padding_mask(real(True))),
        lambda x: theirs(x, src_key_padding_mask=~real(True)),
        tokens(5),
    )


@orders
def test_a_whole_decoder_is_torchs(norm_first: bool):
    ours = Decoder([make_layer("decoder", norm_first, "relu") for _ in range(2)], LayerNorm(D))
    theirs = nn.TransformerDecoder(their_layer("decoder", norm_first, "relu"), 2, nn.LayerNorm(D))
    assert_same(
        ours,
        theirs,
        TWO_DECODER_LAYERS,
        lambda x, memory: ours(x, memory, None, padding_mask(real(True))),
        lambda x, memory: theirs(x, memory, future(4), memory_key_padding_mask=~real(True)),
        tokens(4),
        tokens(5),
    )
