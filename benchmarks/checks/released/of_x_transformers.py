"""Small decoders of x-transformers, with random weights."""

from typing import Any

import torch
from torch import nn
from x_transformers import AutoregressiveWrapper, Decoder, TransformerWrapper


def build(**settings: Any) -> nn.Module:
    torch.manual_seed(0)
    return TransformerWrapper(num_tokens=67, max_seq_len=32, attn_layers=Decoder(dim=32, depth=2, heads=4, **settings))


def decoder() -> nn.Module:
    return build()


def flash() -> nn.Module:
    return build(attn_flash=True)


def alibi() -> nn.Module:
    return build(alibi_pos_bias=True)


def wrapped() -> nn.Module:
    return AutoregressiveWrapper(build())
