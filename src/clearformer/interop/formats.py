"""What a format of Hugging Face's calls our settings and parameters: one table each, for import and export alike.

A format computes what a model of ours computes with certain settings. Settings that it has a key for are in `keys`;
of the others, `ours` has the values that it can mean, and `theirs` the values of its keys that ours can mean.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from clearformer.config import ModelConfig
from clearformer.errors import InteropError

Values = Mapping[str, Any]
"""of a config.json"""


@dataclass(frozen=True)
class Format:
    """A class of transformers, and the models of ours that it can hold."""

    architecture: str
    model_type: str
    kind: str
    """our family"""
    body: str
    """the prefix of the names of the body's modules, which some files leave out"""
    keys: Mapping[str, str]
    """a setting of ours, and its key"""
    defaults: Values
    activation_key: str
    activations: Mapping[str, str]
    """ours and theirs"""
    ours: Mapping[str, tuple[Any, ...]]
    theirs: Values
    modules: Mapping[str, str | tuple[str, ...]]
    """a module of ours, # being the number of a layer, and theirs; several have its rows in this order"""
    aliases: Mapping[str, str] = field(default_factory=dict)
    """other names of their activations, and ours"""
    transposed: bool = False
    """whether the matrices of layers are [in, out]"""
    completed: Mapping[str, Any] = field(default_factory=dict)
    """settings of every model of the format, which are reached by parameters that are zero"""
    unused: tuple[str, ...] = ()
    """ends of names of tensors that have no part in the logits"""
    read: Callable[[Values], dict[str, Any]] = lambda _: {}
    """further settings of ours. Raises InteropError for what our models lack"""
    write: Callable[[Any], dict[str, Any]] = lambda _: {}
    """further keys of theirs"""
    biased: Callable[[Values], tuple[str, ...]] = lambda _: ("",)
    """ends of the names of our modules that have biases there"""


def lacks(key: str, found: Any, needed: str) -> InteropError:
    """The error of a config.json that asks for what our models do not compute."""
    return InteropError(
        f"{key} {needed} was expected in config.json, found {found!r}; no model of clearformer has that"
    )


LAYER = "decoder.layers.#."
PLAIN: dict[str, tuple[Any, ...]] = {
    "norm_order": ("pre",),
    "scale_embeddings": (False,),
    "ngram_buckets": (0,),
    "logit_cap": (0.0,),
}

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
        "qk_norm": (False,),
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
    read=lambda values: {"bias": True, "d_ff": values.get("n_inner") or 4 * values["n_embd"]},
    write=lambda config: {"n_inner": config.d_ff, "embd_pdrop": config.dropout, "attn_pdrop": config.dropout},
)  # fmt: skip

FORMATS: dict[str, Format] = {each.architecture: each for each in (GPT2,)}
WRITTEN: tuple[Format, ...] = (GPT2,)
"""formats to export to"""


def format_of(values: Values) -> Format:
    """The format that a config.json names. Raises InteropError for one that clearformer does not read."""
    by_type = {each.model_type: each.architecture for each in FORMATS.values()}
    named = values.get("architectures")
    kind = values.get("model_type")
    found = named[0] if isinstance(named, list) and named else by_type.get(str(kind), kind)
    if found not in FORMATS:
        raise InteropError(
            f"a model of {', '.join(FORMATS)} was expected, found {found!r} in config.json; clearformer reads no other"
        )
    return FORMATS[found]


def read_settings(format_: Format, values: Values) -> dict[str, Any]:
    """Our model's settings, from a config.json. Raises InteropError, naming the key, for what our models lack."""
    if values.get("quantization_config"):
        raise lacks("quantization_config", values["quantization_config"], "none")
    for key, needed in format_.theirs.items():
        if values.get(key, needed) != needed:
            raise lacks(key, values[key], repr(needed))
    theirs = {**format_.defaults, **values}
    named = theirs.get(format_.activation_key, next(iter(format_.activations.values())))
    activations = {name: ours for ours, name in format_.activations.items()} | dict(format_.aliases)
    if named not in activations:
        raise lacks(format_.activation_key, named, f"of {', '.join(activations)}")
    fixed = {name: allowed[0] for name, allowed in format_.ours.items() if len(allowed) == 1}
    settings = {name: theirs[key] for name, key in format_.keys.items()}
    return fixed | settings | {"kind": format_.kind, "activation": activations[named]} | format_.read(theirs)


def misfits(format_: Format, config: ModelConfig) -> list[str]:
    """The settings of a model that the format cannot hold."""
    if config.kind != format_.kind:
        return [f"kind {config.kind}"]
    allowed = {**format_.ours, "activation": tuple(format_.activations)}
    return [
        f"{name} {getattr(config, name)}" for name, values in allowed.items() if getattr(config, name) not in values
    ]


def write_values(format_: Format, config: ModelConfig) -> dict[str, Any]:
    """The config.json of a model that the format can hold."""
    return {
        "architectures": [format_.architecture],
        "model_type": format_.model_type,
        "dtype": "float32",
        **format_.theirs,
        **{key: getattr(config, name) for name, key in format_.keys.items()},
        format_.activation_key: format_.activations[config.activation],
        **format_.write(config),
    }
