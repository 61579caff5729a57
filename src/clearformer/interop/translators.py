"""Marian's format: an encoder-decoder like the paper's, as the translators of the University of Helsinki have it.

Its positions have all sines before all cosines, and ours alternate. A layer norm does not know the order of a vector's
elements, nor do sums: so the whole residual stream is put into our order, and the function is the same. Its swish,
x · σ(x), is our SwiGLU with a gated half that is 1 everywhere.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from clearformer.blocks.positions import sinusoidal
from clearformer.config import ModelConfig
from clearformer.interop.formats import Format, Values, lacks

SIZES = {"attention_heads": "num_heads", "layers": "num_layers", "ffn_dim": "d_ff"}
"""what config.json says of encoder and decoder apart, and our models have once"""


def _sines_then_cosines(shape: tuple[int, ...]) -> NDArray[np.float32]:
    if len(shape) != 2 or shape[1] % 2:
        return np.zeros(0, np.float32)
    table = sinusoidal(torch.arange(shape[0]), shape[1]).numpy()
    return np.concatenate((table[:, 0::2], table[:, 1::2]), axis=1)


def _read(values: Values) -> dict[str, Any]:
    """All biases; and both stacks must have the same sizes."""
    for size in SIZES:
        encoder, decoder = (values[f"{stack}_{size}"] for stack in ("encoder", "decoder"))
        if encoder != decoder:
            raise lacks(f"decoder_{size}", decoder, f"{encoder!r}, as in the encoder,")
    if values.get("decoder_vocab_size") not in (None, values["vocab_size"]):
        raise lacks("decoder_vocab_size", values["decoder_vocab_size"], "of the same size as vocab_size")
    return {"bias": True}


def _write(config: ModelConfig) -> dict[str, Any]:
    sizes = {f"decoder_{size}": getattr(config, ours) for size, ours in SIZES.items()}
    return sizes | {"decoder_vocab_size": config.vocab_size, "is_encoder_decoder": True, "forced_eos_token_id": None}


def _layer(stack: str, sublayers: dict[str, str]) -> dict[str, str | tuple[str, ...]]:
    """Of every layer of a stack: what our attentions and norms are called, and the feed-forward layer."""
    ours, theirs = f"{stack}.layers.#.", f"model.{stack}.layers.#."
    found: dict[str, str | tuple[str, ...]] = {
        ours + "feed_forward.linear1": theirs + "fc1",
        ours + "feed_forward.linear2": theirs + "fc2",
        ours + "feed_forward_residual.norm": theirs + "final_layer_norm",
    }
    for name, other in sublayers.items():
        queries, keys, values = (f"{theirs}{other}.{x}_proj" for x in "qkv")
        found |= {
            f"{ours}{name}.qkv_projection": (queries, keys, values),
            f"{ours}{name}.query_projection": queries,
            f"{ours}{name}.kv_projection": (keys, values),
            f"{ours}{name}.output_projection": f"{theirs}{other}.out_proj",
            f"{ours}{name}_residual.norm": f"{theirs}{other}_layer_norm",
        }
    return found


MARIAN = Format(
    architecture="MarianMTModel",
    model_type="marian",
    kind="transformer",
    body="model.",
    keys={
        "vocab_size": "vocab_size",
        "context": "max_position_embeddings",
        "d_model": "d_model",
        "num_heads": "encoder_attention_heads",
        "num_layers": "encoder_layers",
        "d_ff": "encoder_ffn_dim",
        "dropout": "dropout",
        "scale_embeddings": "scale_embedding",
        "initial_std": "init_std",
    },
    defaults={
        "vocab_size": 58_101, "max_position_embeddings": 1024, "d_model": 1024, "encoder_attention_heads": 16,
        "encoder_layers": 12, "encoder_ffn_dim": 4096, "decoder_attention_heads": 16, "decoder_layers": 12,
        "decoder_ffn_dim": 4096, "dropout": 0.1, "scale_embedding": False, "init_std": 0.02,
    },
    activation_key="activation_function",
    activations={"gelu": "gelu", "relu": "relu", "gelu_tanh": "gelu_new", "squared_relu": "relu2"},
    aliases={"silu": "swiglu", "gelu_pytorch_tanh": "gelu_tanh"},
    ours={
        "norm": ("layer",), "norm_order": ("post",), "positions": ("sinusoidal",), "norm_epsilon": (1e-5,),
        "tie_embeddings": (True,), "num_kv_heads": (0,), "window": (0,), "qk_norm": (False,), "ngram_buckets": (0,),
        "logit_cap": (0.0,), "head_width": (None,),
    },
    theirs={"tie_word_embeddings": True, "share_encoder_decoder_embeddings": True},
    modules={
        "embedding": "model.shared",
        "output_projection": "lm_head",
        "output_projection.bias": "final_logits_bias",
        **_layer("encoder", {"attention": "self_attn"}),
        **_layer("decoder", {"attention": "self_attn", "cross_attention": "encoder_attn"}),
    },
    completed={"bias": True},
    copies=("model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight"),
    constants={
        "final_logits_bias": ("zeros", lambda shape: np.zeros(shape, np.float32)),
        **{
            f"model.{stack}.embed_positions.weight": ("the sines and cosines of positions", _sines_then_cosines)
            for stack in ("encoder", "decoder")
        },
    },
    optional={"final_logits_bias": "output_bias"},
    sines_first=True,
    ungated={"swiglu": "swish"},
    read=_read,
    write=_write,
)  # fmt: skip
