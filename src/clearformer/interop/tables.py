"""The formats: GPT-2, Llama and its like, BERT and RoBERTa, Marian, T5."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from clearformer.config import ModelConfig
from clearformer.errors import InteropError
from clearformer.interop.formats import Format, Values, head_width, lacks, whole_number
from clearformer.interop.t5 import MT5, T5
from clearformer.interop.translators import MARIAN

LAYER = "decoder.layers.#."
PLAIN: dict[str, tuple[Any, ...]] = {
    "norm_order": ("pre",),
    "scale_embeddings": (False,),
    "ngram_buckets": (0,),
    "logit_cap": (0.0,),
}
COMMON_KEYS = {
    "vocab_size": "vocab_size",
    "context": "max_position_embeddings",
    "d_model": "hidden_size",
    "num_heads": "num_attention_heads",
    "num_layers": "num_hidden_layers",
    "d_ff": "intermediate_size",
    "tie_embeddings": "tie_word_embeddings",
    "initial_std": "initializer_range",
}
"""of all formats but GPT-2's"""

GPT2 = Format(
    architecture="GPT2LMHeadModel",
    model_type="gpt2",
    kind="gpt",
    body="transformer.",
    keys={
        "vocab_size": "vocab_size",
        "context": "n_positions",
        "d_model": "n_embd",
        "num_heads": "n_head",
        "num_layers": "n_layer",
        "norm_epsilon": "layer_norm_epsilon",
        "tie_embeddings": "tie_word_embeddings",
        "initial_std": "initializer_range",
        "dropout": "resid_pdrop",
    },
    defaults={
        "vocab_size": 50257, "n_positions": 1024, "n_embd": 768, "n_head": 12, "n_layer": 12, "resid_pdrop": 0.1,
        "layer_norm_epsilon": 1e-5, "tie_word_embeddings": True, "initializer_range": 0.02,
    },
    activation_key="activation_function",
    activations={"gelu_tanh": "gelu_new", "gelu": "gelu", "relu": "relu", "squared_relu": "relu2"},
    aliases={"gelu_pytorch_tanh": "gelu_tanh"},
    ours={
        **PLAIN, "norm": ("layer",), "positions": ("learned",), "num_kv_heads": (0,), "window": (0,),
        "qk_norm": (False,), "head_width": (None,),
    },
    theirs={"scale_attn_weights": True, "scale_attn_by_inverse_layer_idx": False, "add_cross_attention": False},
    modules={
        "embedding": "transformer.wte",
        "positions": "transformer.wpe",
        LAYER + "attention_residual.norm": "transformer.h.#.ln_1",
        LAYER + "attention.qkv_projection": "transformer.h.#.attn.c_attn",
        LAYER + "attention.output_projection": "transformer.h.#.attn.c_proj",
        LAYER + "feed_forward_residual.norm": "transformer.h.#.ln_2",
        LAYER + "feed_forward.linear1": "transformer.h.#.mlp.c_fc",
        LAYER + "feed_forward.linear2": "transformer.h.#.mlp.c_proj",
        "decoder.norm": "transformer.ln_f",
        "output_projection": "lm_head",
    },
    transposed=True,
    completed={"bias": True},
    unused=(".attn.bias", ".attn.masked_bias"),
    read=lambda values: {"bias": True, "d_ff": values.get("n_inner") or 4 * whole_number(values, "n_embd")},
    write=lambda config: {"n_inner": config.d_ff, "embd_pdrop": config.dropout, "attn_pdrop": config.dropout},
)  # fmt: skip

ROTARY = {"rope_theta": 10_000.0, "rope_type": "default", "partial_rotary_factor": 1.0}
"""what config.json says, in one of two places, where it says nothing else"""
SCALED: dict[str, dict[str, str]] = {
    "default": {},
    "linear": {"rotary_factor": "factor"},
    "llama3": {
        "rotary_factor": "factor",
        "rotary_context": "original_max_position_embeddings",
        "rotary_low": "low_freq_factor",
        "rotary_high": "high_freq_factor",
    },
}
"""kinds of rotary positions, and what our settings are called in each"""
ATTENTION, FEED_FORWARD = ("qkv_projection", "attention.output_projection"), ("linear1", "linear2")
"""ends of the names of modules that may have biases"""


def _read_llama(values: Values) -> dict[str, Any]:
    """What Llama and its like have besides `keys`: rotary positions, key-value heads, and which layers do what."""
    given = values.get("rope_parameters") or values.get("rope_scaling") or {}
    if not isinstance(given, dict):
        raise lacks("rope_parameters", given, "as an object")
    rope = {**ROTARY, **{key: values[key] for key in ROTARY if values.get(key) is not None}, **given}
    rope["rope_type"] = given.get("rope_type", given.get("type", rope["rope_type"]))
    if rope["partial_rotary_factor"] != 1.0:
        raise lacks("partial_rotary_factor", rope["partial_rotary_factor"], "1.0")
    if any(kind != "full_attention" for kind in values.get("layer_types") or ()):
        raise lacks("layer_types", values["layer_types"], "of 'full_attention' alone")
    kv_heads = values.get("num_key_value_heads") or values["num_attention_heads"]
    width = head_width(values, "head_dim", "hidden_size", "num_attention_heads")
    return {"rotary_base": rope["rope_theta"], "num_kv_heads": kv_heads} | width | _read_scaling(rope)


def _read_scaling(rope: Values) -> dict[str, Any]:
    """Our settings of scaled rotary positions."""
    kind = rope["rope_type"]
    if kind not in SCALED:
        raise lacks("rope_type", kind, f"of {', '.join(SCALED)}")
    if missing := [key for key in SCALED[kind].values() if rope.get(key) is None]:
        raise InteropError(
            f"{missing[0]} was expected beside the rope_type {kind!r} in config.json, found none; repair it"
        )
    return {ours: rope[key] for ours, key in SCALED[kind].items()}


def _write_scaling(config: ModelConfig) -> dict[str, Any]:
    kind = "default" if config.rotary_factor == 1.0 else "llama3" if config.rotary_context else "linear"
    return {"rope_type": kind} | {key: getattr(config, ours) for ours, key in SCALED[kind].items()}


def _write_llama(config: ModelConfig) -> dict[str, Any]:
    return {
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.key_width,
        "rope_theta": config.rotary_base,
        "rope_parameters": {"rope_theta": config.rotary_base} | _write_scaling(config),
    }


def _llama_biases(values: Values) -> tuple[str, ...]:
    return ATTENTION * bool(values.get("attention_bias")) + FEED_FORWARD * bool(values.get("mlp_bias"))


LLAMA = Format(
    architecture="LlamaForCausalLM",
    model_type="llama",
    kind="gpt",
    body="model.",
    keys={
        **COMMON_KEYS,
        "norm_epsilon": "rms_norm_eps",
        "dropout": "attention_dropout",
    },
    defaults={
        "vocab_size": 32000, "max_position_embeddings": 2048, "hidden_size": 4096, "num_attention_heads": 32,
        "num_hidden_layers": 32, "intermediate_size": 11008, "rms_norm_eps": 1e-6, "tie_word_embeddings": False,
        "initializer_range": 0.02, "attention_dropout": 0.0,
    },
    activation_key="hidden_act",
    activations={"swiglu": "silu", "geglu": "gelu", "geglu_tanh": "gelu_pytorch_tanh"},
    aliases={"gelu_new": "geglu_tanh"},
    ours={**PLAIN, "norm": ("rms",), "positions": ("rotary",), "window": (0,), "qk_norm": (False,)},
    theirs={},
    modules={
        "embedding": "model.embed_tokens",
        LAYER + "attention_residual.norm": "model.layers.#.input_layernorm",
        LAYER + "attention.qkv_projection": tuple(f"model.layers.#.self_attn.{x}_proj" for x in "qkv"),
        LAYER + "attention.query_norm": "model.layers.#.self_attn.q_norm",
        LAYER + "attention.key_norm": "model.layers.#.self_attn.k_norm",
        LAYER + "attention.output_projection": "model.layers.#.self_attn.o_proj",
        LAYER + "feed_forward_residual.norm": "model.layers.#.post_attention_layernorm",
        LAYER + "feed_forward.linear1": ("model.layers.#.mlp.gate_proj", "model.layers.#.mlp.up_proj"),
        LAYER + "feed_forward.linear2": "model.layers.#.mlp.down_proj",
        "decoder.norm": "model.norm",
        "output_projection": "lm_head",
    },
    unused=(".rotary_emb.inv_freq",),
    read=lambda values: _read_llama(values) | {"bias": bool(_llama_biases(values))},
    write=lambda config: _write_llama(config) | {"attention_bias": config.bias, "mlp_bias": config.bias},
    biased=_llama_biases,
)  # fmt: skip

MISTRAL = replace(
    LLAMA,
    architecture="MistralForCausalLM",
    model_type="mistral",
    defaults={
        **LLAMA.defaults, "max_position_embeddings": 131_072, "intermediate_size": 14_336, "num_key_value_heads": 8,
        "sliding_window": 4096,
    },
    ours={**PLAIN, "norm": ("rms",), "positions": ("rotary",), "bias": (False,), "qk_norm": (False,)},
    read=lambda values: _read_llama(values) | {"window": values["sliding_window"] or 0},
    write=lambda config: _write_llama(config) | {"sliding_window": config.window or None},
    biased=lambda _: (),
)  # fmt: skip

QWEN2 = replace(
    LLAMA,
    architecture="Qwen2ForCausalLM",
    model_type="qwen2",
    defaults={**LLAMA.defaults, "vocab_size": 151_936, "max_position_embeddings": 32_768, "intermediate_size": 22_016},
    theirs={"use_sliding_window": False},
    read=lambda values: _read_llama(values) | {"bias": True},
    biased=lambda _: ATTENTION[:1],
)

QWEN3 = replace(
    QWEN2,
    architecture="Qwen3ForCausalLM",
    model_type="qwen3",
    defaults={**QWEN2.defaults, "head_dim": 128},
    ours={**PLAIN, "norm": ("rms",), "positions": ("rotary",), "window": (0,), "bias": (False,), "qk_norm": (True,)},
    read=lambda values: _read_llama(values) | {"bias": bool(values.get("attention_bias"))},
    write=_write_llama,
    biased=lambda values: ATTENTION * bool(values.get("attention_bias")),
)


def _bert_modules(body: str, head: Mapping[str, str]) -> dict[str, str | tuple[str, ...]]:
    theirs, ours = f"{body}.encoder.layer.#.", "encoder.layers.#."
    return {
        "embedding": f"{body}.embeddings.word_embeddings",
        "positions": f"{body}.embeddings.position_embeddings",
        "segments": f"{body}.embeddings.token_type_embeddings",
        "embedding_norm": f"{body}.embeddings.LayerNorm",
        f"{ours}attention.qkv_projection": tuple(f"{theirs}attention.self.{x}" for x in ("query", "key", "value")),
        f"{ours}attention.output_projection": f"{theirs}attention.output.dense",
        f"{ours}attention_residual.norm": f"{theirs}attention.output.LayerNorm",
        f"{ours}feed_forward.linear1": f"{theirs}intermediate.dense",
        f"{ours}feed_forward.linear2": f"{theirs}output.dense",
        f"{ours}feed_forward_residual.norm": f"{theirs}output.LayerNorm",
        **head,
    }


BERT = Format(
    architecture="BertForMaskedLM",
    model_type="bert",
    kind="bert",
    body="bert.",
    keys={
        **COMMON_KEYS,
        "segments": "type_vocab_size",
        "norm_epsilon": "layer_norm_eps",
        "dropout": "hidden_dropout_prob",
    },
    defaults={
        "vocab_size": 30_522, "max_position_embeddings": 512, "hidden_size": 768, "num_attention_heads": 12,
        "num_hidden_layers": 12, "intermediate_size": 3072, "type_vocab_size": 2, "layer_norm_eps": 1e-12,
        "tie_word_embeddings": True, "initializer_range": 0.02, "hidden_dropout_prob": 0.1,
    },
    activation_key="hidden_act",
    activations={"gelu": "gelu"},
    ours={
        **PLAIN, "norm": ("layer",), "norm_order": ("post",), "positions": ("learned",), "num_kv_heads": (0,),
        "window": (0,), "qk_norm": (False,), "tie_embeddings": (True,), "head_width": (None,),
    },
    theirs={"is_decoder": False, "position_embedding_type": "absolute"},
    modules=_bert_modules("bert", {
        "transform": "cls.predictions.transform.dense",
        "transform_norm": "cls.predictions.transform.LayerNorm",
        "output_projection": "cls.predictions.decoder",
        "output_projection.bias": "cls.predictions.bias",
    }),
    completed={"bias": True},
    unused=(
        "embeddings.position_ids", "bert.pooler.dense.weight", "bert.pooler.dense.bias", "cls.predictions.decoder.bias",
        "cls.seq_relationship.weight", "cls.seq_relationship.bias",
    ),
    read=lambda _: {"bias": True},
    write=lambda config: {"attention_probs_dropout_prob": config.dropout},
)  # fmt: skip

HEADLESS = replace(
    BERT,
    architecture="BertModel",
    untrained=("transform", "output_projection"),
    unused=("embeddings.position_ids", "pooler.dense.weight", "pooler.dense.bias"),
)
"""a BERT's body alone, as encoders of sentences have it"""

ROBERTA = replace(
    BERT,
    architecture="RobertaForMaskedLM",
    model_type="roberta",
    body="roberta.",
    defaults={**BERT.defaults, "vocab_size": 50_265},
    theirs={**BERT.theirs, "pad_token_id": 1},
    modules=_bert_modules("roberta", {
        "transform": "lm_head.dense",
        "transform_norm": "lm_head.layer_norm",
        "output_projection": "lm_head.decoder",
        "output_projection.bias": "lm_head.bias",
    }),
    first_position=2,
    unused=(
        "embeddings.position_ids", "roberta.pooler.dense.weight", "roberta.pooler.dense.bias", "lm_head.decoder.bias",
    ),
    read=lambda values: {"bias": True, "context": whole_number(values, "max_position_embeddings") - 2},
)  # fmt: skip

FORMATS: dict[str, Format] = {
    each.architecture: each for each in (GPT2, LLAMA, MISTRAL, QWEN2, QWEN3, HEADLESS, BERT, ROBERTA, MARIAN, T5, MT5)
}
WRITTEN: tuple[Format, ...] = (GPT2, LLAMA, MISTRAL, QWEN3, BERT, MARIAN, T5)
"""formats to export to; what Qwen2 holds, Llama does too, and what RoBERTa holds, BERT"""

LACKING = {
    "umt5": "learns a table of distances in each layer, where ours have one for each stack",
    "longt5": "attends to nearby tokens, and to summaries of those that are far",
}
"""types of models with what ours lack"""


def format_of(values: Values) -> Format:
    """The format that a config.json names. Raises InteropError for one that clearformer does not read."""
    by_type = {each.model_type: each.architecture for each in FORMATS.values()}
    named = values.get("architectures")
    kind = values.get("model_type")
    found = named[0] if isinstance(named, list) and named else by_type.get(str(kind), kind)
    if str(kind) in LACKING:
        raise InteropError(
            f"a model of {', '.join(FORMATS)} was expected, found {found!r} in config.json, which "
            f"{LACKING[str(kind)]}; no model of clearformer has that"
        )
    if found not in FORMATS:
        raise InteropError(
            f"a model of {', '.join(FORMATS)} was expected, found {found!r} in config.json; clearformer reads no other"
        )
    return FORMATS[found]
