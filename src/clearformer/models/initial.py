"""Initial weights: every parameter's name, shape and initial value, as a function of (configuration, seed), in NumPy.

    encoder-decoder: matrices U(-a, a), a = sqrt(6 / (fan_in + fan_out))                         Glorot & Bengio 2010
    GPT: matrices N(0, σ²); those that write to the residual stream N(0, σ² / 2L)             Radford et al. 2019, 2.3
    BERT: matrices N(0, σ²)                                                     Devlin et al. 2018, arXiv:1810.04805
    all: embeddings N(0, 1/D) if they are scaled by sqrt(D), else N(0, σ²); n-gram embeddings and biases 0; norms 1

σ is `initial_std`, by default 0.02 as in GPT-2 and BERT.

With `zero_outputs`, two kinds of matrices are zero: those that write to the residual stream, so that every pre-norm
layer is the identity at first (Zhang et al. 2019, arXiv:1901.09321), and an output projection that is not tied. Each
parameter has a random generator seeded with (seed, name), so its value does not depend on other parameters.
"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from clearformer.config import BUCKETS, AnyModelConfig, BERTConfig, ClassifierConfig, ModelConfig, TransformerConfig

Shapes = dict[str, tuple[int, ...]]

STACKS: dict[str, dict[str, tuple[str, ...]]] = {
    "transformer": {
        "encoder": ("attention", "feed_forward"),
        "decoder": ("attention", "cross_attention", "feed_forward"),
    },
    "gpt": {"decoder": ("attention", "feed_forward")},
    "bert": {"encoder": ("attention", "feed_forward")},
}
"""the stacks of each family, and the sub-layers of each of their layers"""

RESIDUAL_OUTPUTS = (".output_projection.weight", ".linear2.weight")
"""suffixes of the names of matrices that write to the residual stream"""


def parameter_shapes(config: AnyModelConfig) -> Shapes:
    """Names and shapes of all parameters; a tied output projection has no weight besides the embedding's."""
    V, D = config.vocab_size, config.d_model  # noqa: N806
    if isinstance(config, ClassifierConfig):
        body = {f"body.{name}": shape for name, shape in _body(config, config.body, config.segments).items()}
        return body | _linear("class_projection", D, config.num_classes, bias=True)
    shapes = _body(config, config.kind, config.segments if isinstance(config, BERTConfig) else 0)
    if isinstance(config, BERTConfig):
        shapes |= _linear("transform", D, D, bias=True) | _norm(config, "transform_norm", D)
    if isinstance(config, BERTConfig) or (isinstance(config, TransformerConfig) and config.output_bias):
        shapes["output_projection.bias"] = (V,)
    if not config.tie_embeddings:
        shapes["output_projection.weight"] = (V, D)
    return shapes


def count_parameters(config: AnyModelConfig) -> int:
    """The number of trainable parameters; a tied matrix counts once."""
    return sum(math.prod(shape) for shape in parameter_shapes(config).values())


def initial_weights(
    config: AnyModelConfig, seed: int, place: Callable[[tuple[int, ...]], tuple[slice, ...]] = lambda _shape: ()
) -> dict[str, NDArray[np.float32]]:
    """The initial value of every parameter, or of its part at `place` of its shape, float32; one is drawn at a time."""
    return {
        name: _draw(config, name, shape, np.random.default_rng([seed, *name.encode()]))[place(shape)].astype(np.float32)
        for name, shape in parameter_shapes(config).items()
    }


def _body(config: ModelConfig, kind: str, segments: int) -> Shapes:
    """Of all layers but those that compute logits."""
    D = config.d_model  # noqa: N806
    shapes: Shapes = {"embedding.weight": (config.vocab_size, D)}
    if config.positions == "learned":
        shapes["positions.weight"] = (config.context, D)
    if config.ngram_buckets:
        shapes |= {f"ngrams.{name}": (config.ngram_buckets, D) for name in ("pairs", "triples")}
    if segments:
        shapes["segments.weight"] = (segments, D)
    if kind == "bert":
        shapes |= _norm(config, "embedding_norm", D)
    for stack, sublayers in STACKS[kind].items():
        if config.positions == "relative":
            shapes[f"{stack}.relative.weight"] = (BUCKETS, config.num_heads)
        for index in range(config.num_layers):
            for sublayer in sublayers:
                shapes |= _sublayer(config, f"{stack}.layers.{index}", sublayer)
        if config.norm_order == "pre":
            shapes |= _norm(config, f"{stack}.norm", D)
    return shapes


def _sublayer(config: ModelConfig, layer: str, sublayer: str) -> Shapes:
    D, F, E = config.d_model, config.d_ff, config.key_width  # noqa: N806
    queries, keys_values = config.num_heads * E, 2 * config.kv_heads * E
    matrices = {
        "attention": {"qkv_projection": (D, queries + keys_values), "output_projection": (queries, D)},
        "cross_attention": {
            "query_projection": (D, queries),
            "kv_projection": (D, keys_values),
            "output_projection": (queries, D),
        },
        "feed_forward": {"linear1": (D, config.linear1_width), "linear2": (F, D)},
    }
    shapes: Shapes = {}
    for name, (fan_in, fan_out) in matrices[sublayer].items():
        shapes |= _linear(f"{layer}.{sublayer}.{name}", fan_in, fan_out, bias=config.bias)
    if config.qk_norm and sublayer != "feed_forward":
        for name in ("query_norm", "key_norm"):
            shapes |= _norm(config, f"{layer}.{sublayer}.{name}", E)
    return shapes | _norm(config, f"{layer}.{sublayer}_residual.norm", D)


def _linear(prefix: str, fan_in: int, fan_out: int, *, bias: bool) -> Shapes:
    return {f"{prefix}.weight": (fan_out, fan_in)} | ({f"{prefix}.bias": (fan_out,)} if bias else {})


def _norm(config: ModelConfig, prefix: str, width: int) -> Shapes:
    layer = ("weight", "bias") if config.bias else ("weight",)
    names = {"layer": layer, "rms": ("weight",), "none": ()}[config.norm]
    return {f"{prefix}.{name}": (width,) for name in names}


def _draw(config: AnyModelConfig, name: str, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float64]:
    if name.endswith("bias") or "ngrams." in name:
        return np.zeros(shape)
    if name.endswith("norm.weight"):
        return np.ones(shape)
    if config.zero_outputs and name.endswith((*RESIDUAL_OUTPUTS, "class_projection.weight")):
        return np.zeros(shape)
    if name == "output_projection.weight":
        return np.zeros(shape) if config.zero_outputs else rng.normal(0.0, _embedding_std(config), shape)
    if name.endswith("embedding.weight"):
        return rng.normal(0.0, _embedding_std(config), shape)
    if name.endswith(("positions.weight", "relative.weight", "segments.weight")):
        return rng.normal(0.0, config.initial_std, shape)
    if config.kind != "transformer":
        in_gpt = "decoder.layers." in name  # a GPT, or a classifier on the body of one
        scaled = in_gpt and name.endswith(RESIDUAL_OUTPUTS)
        return rng.normal(0.0, config.initial_std / math.sqrt(2 * config.num_layers if scaled else 1), shape)
    # a fused matrix is several stacked ones, each of which has its own fans
    fans = config.d_model + (config.d_ff if ".linear" in name else config.num_heads * config.key_width)
    return rng.uniform(-math.sqrt(6 / fans), math.sqrt(6 / fans), shape)


def _embedding_std(config: ModelConfig) -> float:
    return config.d_model**-0.5 if config.scale_embeddings else config.initial_std
