"""The logits of the last token alone, where nothing else is trained: the same numbers for a fraction of the work.

In the only layer of a GPT, queries, keys and values are functions of a token and its position, so V · T of each are
enough for any number of sequences; and what follows attention is computed for the last token.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from clearformer.blocks.attention import share_heads
from clearformer.blocks.encoder import EncoderLayer
from clearformer.blocks.multihead import MultiHeadAttention, split_heads
from clearformer.config import LAST_ONLY
from clearformer.models.gpt import GPT


def has_last_logits(model: object) -> bool:
    """Whether `last_logits` holds for this model; not if FSDP divides it, whose layers are whole in `forward` alone."""
    return type(model) is GPT and all(getattr(model.config, name) in values for name, values in LAST_ONLY.items())


def last_logits(model: GPT, tokens: Int[Tensor, "B T"]) -> Float[Tensor, "B 1 V"]:
    """`model(tokens)[:, -1:]` of a GPT with the settings of `config.LAST_ONLY`."""
    layer = model.decoder.layers[0]
    assert isinstance(layer, EncoderLayer)
    V, T = model.config.vocab_size, tokens.shape[1]  # noqa: N806
    x = model.embed(torch.arange(V, device=tokens.device)[:, None].expand(V, T))
    attended = _attend(layer.attention, layer.attention_residual.norm(x), tokens)
    x = F.embedding(tokens[:, -1:], x[:, -1])
    x = layer.attention_residual(x, lambda _: attended)
    return model.output_projection(model.decoder.norm(layer.feed_forward_residual(x, layer.feed_forward)))


def _attend(
    attention: MultiHeadAttention, x: Float[Tensor, "V T D"], tokens: Int[Tensor, "B T"]
) -> Float[Tensor, "B 1 D"]:
    """What attention returns for the last token, given the vectors of every token at every position."""
    V, T, _ = x.shape  # noqa: N806
    q, k, v = split_heads(attention.qkv_projection(x), *attention.heads)
    q, k = attention.query_norm(q)[:, :, -1], share_heads(attention.key_norm(k), attention.heads[0])
    v = share_heads(v, attention.heads[0]).transpose(1, 2).reshape(V * T, -1)
    last, row = tokens[:, -1].unique(return_inverse=True)
    keys = tokens * T + torch.arange(T, device=tokens.device)
    # scores of every query that occurs with every key; then, of those, each sequence's
    scores = torch.einsum("qhe,khte->hqkt", q[last], k).flatten(1) / math.sqrt(q.shape[-1])
    scores = scores.index_select(1, (row[:, None] * V * T + keys).flatten()).T.contiguous()
    weights = scores.unflatten(0, keys.shape).softmax(1)  # [B T H]
    values = v.index_select(0, keys.flatten()).unflatten(0, keys.shape).unflatten(-1, (weights.shape[-1], -1))
    joined = (weights[..., None] * values).sum(1, keepdim=True).flatten(2)
    return attention.output_projection(joined)
