"""Models of x-transformers."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn
from x_transformers import AutoregressiveWrapper, Decoder, Encoder, TransformerWrapper, XTransformer

SIZES: dict[str, Any] = {"num_tokens": 43, "max_seq_len": 24}


def wrapper(layers: type[nn.Module], *, options: dict[str, Any] | None = None, **settings: Any) -> nn.Module:
    torch.manual_seed(0)
    return TransformerWrapper(
        **SIZES, **(options or {}), attn_layers=layers(dim=32, depth=2, heads=4, attn_dim_head=8, **settings)
    )


def pair() -> nn.Module:
    torch.manual_seed(0)
    sides = {f"{side}_{name}": value for side in ("enc", "dec") for name, value in SIZES.items()}
    return XTransformer(dim=32, enc_depth=2, enc_heads=4, dec_depth=2, dec_heads=4, **sides)


LLAMA: dict[str, Any] = {"rotary_pos_emb": True, "use_rmsnorm": True, "ff_swish": True, "ff_glu": True}
MODELS: dict[str, Callable[[], nn.Module]] = {
    "decoder": partial(wrapper, Decoder),
    "decoder, in its wrapper": lambda: AutoregressiveWrapper(wrapper(Decoder)),
    "decoder, like a Llama": partial(wrapper, Decoder, **LLAMA),
    "decoder, ALiBi": partial(wrapper, Decoder, alibi_pos_bias=True),
    "decoder, relative": partial(wrapper, Decoder, rel_pos_bias=True),
    "decoder, post-norm": partial(wrapper, Decoder, pre_norm=False),
    "decoder, grouped": partial(wrapper, Decoder, attn_kv_heads=2),
    "decoder, dropout": partial(wrapper, Decoder, attn_dropout=0.1, ff_dropout=0.1),
    "decoder, normed heads": partial(wrapper, Decoder, attn_qk_norm=True),
    "decoder, tied": partial(wrapper, Decoder, options={"tie_embedding": True}),
    "decoder, sandwich norm": partial(wrapper, Decoder, sandwich_norm=True),
    "encoder": partial(wrapper, Encoder),
    "encoder, rotary": partial(wrapper, Encoder, rotary_pos_emb=True),
    "encoder-decoder": pair,
}
