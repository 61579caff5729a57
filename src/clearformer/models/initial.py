"""Initial weights: every parameter's name, shape and first value, as a function of (configuration, seed), in NumPy.

    encoder-decoder: matrices U(-a, a), a = sqrt(6 / (fan_in + fan_out))                         Glorot & Bengio 2010
    GPT: matrices N(0, 0.02²); those that write into the residual stream N(0, 0.02² / 2L)     Radford et al. 2019, 2.3
    both: embeddings N(0, 1/D) where they are scaled by sqrt(D), else N(0, 0.02²); biases 0; norms' weights 1

Each parameter has a random stream of its own, named after it, so that its value depends on no other and on no engine.
"""

import math

import numpy as np
from numpy.typing import NDArray

from clearformer.config import GPTConfig, ModelConfig, TransformerConfig

Shapes = dict[str, tuple[int, ...]]

STD = 0.02
"""standard deviation of GPT-2's initial matrices"""

STACKS: dict[str, dict[str, tuple[str, ...]]] = {
    "transformer": {
        "encoder": ("attention", "feed_forward"),
        "decoder": ("attention", "cross_attention", "feed_forward"),
    },
    "gpt": {"decoder": ("attention", "feed_forward")},
}
"""the stacks of each family and the sub-layers of their layers"""


def parameter_shapes(config: TransformerConfig | GPTConfig) -> Shapes:
    """Names and shapes of all parameters. A tied output projection has no entry: it is the embedding's matrix."""
    shapes: Shapes = {"embedding.weight": (config.vocab_size, config.d_model)}
    if config.positions == "learned":
        shapes["positions.weight"] = (config.context, config.d_model)
    for stack, sublayers in STACKS[config.kind].items():
        for index in range(config.num_layers):
            for sublayer in sublayers:
                shapes |= _sublayer(config, f"{stack}.layers.{index}", sublayer)
        if config.norm_order == "pre":
            shapes |= _norm(config, f"{stack}.norm")
    if not config.tie_embeddings:
        shapes["output_projection.weight"] = (config.vocab_size, config.d_model)
    return shapes


def count_parameters(config: TransformerConfig | GPTConfig) -> int:
    """Numbers that training may change; a tied matrix counts once."""
    return sum(math.prod(shape) for shape in parameter_shapes(config).values())


def initial_weights(config: TransformerConfig | GPTConfig, seed: int) -> dict[str, NDArray[np.float32]]:
    """The value of every parameter before training, float32."""
    return {
        name: _draw(config, name, shape, np.random.default_rng([seed, *name.encode()])).astype(np.float32)
        for name, shape in parameter_shapes(config).items()
    }


def _sublayer(config: ModelConfig, layer: str, sublayer: str) -> Shapes:
    D, F = config.d_model, config.d_ff  # noqa: N806
    matrices = {
        "attention": {"qkv_projection": (3 * D, D), "output_projection": (D, D)},
        "cross_attention": {"query_projection": (D, D), "kv_projection": (2 * D, D), "output_projection": (D, D)},
        "feed_forward": {"linear1": (F, D), "linear2": (D, F)},
    }
    shapes: Shapes = {}
    for name, shape in matrices[sublayer].items():
        shapes[f"{layer}.{sublayer}.{name}.weight"] = shape
        if config.bias:
            shapes[f"{layer}.{sublayer}.{name}.bias"] = shape[:1]
    return shapes | _norm(config, f"{layer}.{sublayer}_residual.norm")


def _norm(config: ModelConfig, prefix: str) -> Shapes:
    names = ("weight", "bias") if config.norm == "layer" and config.bias else ("weight",)
    return {f"{prefix}.{name}": (config.d_model,) for name in names}


def _draw(config: ModelConfig, name: str, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float64]:
    if name.endswith("bias"):
        return np.zeros(shape)
    if name.endswith("norm.weight"):
        return np.ones(shape)
    if name in ("embedding.weight", "output_projection.weight"):
        return rng.normal(0.0, config.d_model**-0.5 if config.scale_embeddings else STD, shape)
    if name == "positions.weight":
        return rng.normal(0.0, STD, shape)
    if config.kind == "gpt":
        writes = name.endswith((".output_projection.weight", ".linear2.weight"))
        return rng.normal(0.0, STD / math.sqrt(2 * config.num_layers) if writes else STD, shape)
    # a fused projection is two or three square matrices, one above the other: each has its own fan
    fans = sum(shape) if ".linear" in name else 2 * config.d_model
    return rng.uniform(-math.sqrt(6 / fans), math.sqrt(6 / fans), shape)
