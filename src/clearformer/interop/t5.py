"""T5's format: an encoder-decoder with relative positions, RMSNorm before each sub-layer and no biases.

Two factors differ from ours, and are put into weights, so that the function is the same. T5 does not divide scores by
sqrt(E): its queries' matrices are multiplied by that. And where the output is the embedding, the first T5 multiplies
the last vectors by 1 / sqrt(D): so is the weight of the decoder's last norm. T5 1.1 has an output matrix of its own.
"""

import math
from dataclasses import replace
from typing import Any

from clearformer.config import BUCKETS, ModelConfig
from clearformer.interop.formats import Format, Values, head_width, lacks

FURTHEST = 128


def _read(values: Values) -> dict[str, Any]:
    """Both stacks must have as many layers."""
    if values["num_decoder_layers"] not in (None, values["num_layers"]):
        raise lacks("num_decoder_layers", values["num_decoder_layers"], f"{values['num_layers']}, as in the encoder,")
    return {"tie_embeddings": _is_scaled(values)} | head_width(values, "d_kv", "d_model", "num_heads")


def _is_scaled(values: Values) -> bool:
    """Whether the output is the embedding, and scaled. transformers 5 calls every model tied, and says this apart."""
    return values.get("scale_decoder_outputs", values["tie_word_embeddings"]) is not False


def _write(config: ModelConfig) -> dict[str, Any]:
    return {
        "num_decoder_layers": config.num_layers,
        "d_kv": config.key_width,
        "is_encoder_decoder": True,
        "tie_word_embeddings": config.tie_embeddings,
    }


def _factors(config: ModelConfig) -> dict[str, float]:
    scaled = {"decoder.final_layer_norm.weight": config.d_model**-0.5} if config.tie_embeddings else {}
    return {"Attention.q.weight": math.sqrt(config.key_width)} | scaled


def _stack(stack: str, *attentions: tuple[str, str]) -> dict[str, str | tuple[str, ...]]:
    """What our modules of a stack are called; `attentions` are those of a layer, in order, ours and theirs."""
    ours, theirs, last = f"{stack}.layers.#.", f"{stack}.block.#.layer.", len(attentions)
    found: dict[str, str | tuple[str, ...]] = {
        f"{stack}.relative": f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias",
        f"{stack}.norm": f"{stack}.final_layer_norm",
        f"{ours}feed_forward.linear1": f"{theirs}{last}.DenseReluDense.wi",
        f"{ours}feed_forward.linear2": f"{theirs}{last}.DenseReluDense.wo",
        f"{ours}feed_forward_residual.norm": f"{theirs}{last}.layer_norm",
    }
    for index, (name, other) in enumerate(attentions):
        queries, keys, values = (f"{theirs}{index}.{other}.{x}" for x in "qkv")
        found |= {
            f"{ours}{name}.qkv_projection": (queries, keys, values),
            f"{ours}{name}.query_projection": queries,
            f"{ours}{name}.kv_projection": (keys, values),
            f"{ours}{name}.output_projection": f"{theirs}{index}.{other}.o",
            f"{ours}{name}_residual.norm": f"{theirs}{index}.layer_norm",
        }
    return found


T5 = Format(
    architecture="T5ForConditionalGeneration",
    model_type="t5",
    kind="transformer",
    body="",
    keys={
        "vocab_size": "vocab_size",
        "context": "n_positions",
        "d_model": "d_model",
        "num_heads": "num_heads",
        "num_layers": "num_layers",
        "d_ff": "d_ff",
        "dropout": "dropout_rate",
        "norm_epsilon": "layer_norm_epsilon",
    },
    defaults={
        "vocab_size": 32_128, "n_positions": 512, "d_model": 512, "d_kv": 64, "d_ff": 2048, "num_layers": 6,
        "num_decoder_layers": None, "num_heads": 8, "dropout_rate": 0.1, "layer_norm_epsilon": 1e-6,
        "feed_forward_proj": "relu", "tie_word_embeddings": True, "pad_token_id": 0, "eos_token_id": 1,
        "decoder_start_token_id": 0,
    },
    activation_key="feed_forward_proj",
    activations={
        "relu": "relu", "gelu": "gelu", "gelu_tanh": "gelu_new", "squared_relu": "relu2", "swiglu": "gated-silu",
        "geglu_tanh": "gated-gelu",
    },
    aliases={"gated-gelu_new": "geglu_tanh"},
    ours={
        "norm": ("rms",), "norm_order": ("pre",), "positions": ("relative",), "bias": (False,),
        "scale_embeddings": (False,), "num_kv_heads": (0,), "window": (0,), "qk_norm": (False,),
        "ngram_buckets": (0,), "logit_cap": (0.0,), "output_bias": (False,),
    },
    theirs={"relative_attention_num_buckets": BUCKETS, "relative_attention_max_distance": FURTHEST},
    modules={
        "embedding": "shared",
        "output_projection": "lm_head",
        **_stack("encoder", ("attention", "SelfAttention")),
        **_stack("decoder", ("attention", "SelfAttention"), ("cross_attention", "EncDecAttention")),
    },
    gated_modules={
        f"{stack}.layers.#.feed_forward.linear1": tuple(
            f"{stack}.block.#.layer.{last}.DenseReluDense.wi_{half}" for half in (0, 1)
        )
        for stack, last in (("encoder", 1), ("decoder", 2))
    },
    unused=("EncDecAttention.relative_attention_bias.weight",),
    copies=("encoder.embed_tokens.weight", "decoder.embed_tokens.weight"),
    factors=_factors,
    read=_read,
    write=_write,
    biased=lambda _: (),
)  # fmt: skip

MT5 = replace(
    T5,
    architecture="MT5ForConditionalGeneration",
    model_type="mt5",
    defaults={**T5.defaults, "vocab_size": 250_112, "d_ff": 1024, "num_layers": 8, "num_heads": 6}
    | {"feed_forward_proj": "gated-gelu"},
    read=lambda values: _read(values) | {"tie_embeddings": False},
)
"""T5 1.1, in many languages; transformers writes of all of them that they are tied"""
