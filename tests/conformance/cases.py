"""The cases of the suite: families in all their variants, blocks, weights, batches."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clearformer.config import (
    AnyModelConfig,
    BERTConfig,
    ClassifierConfig,
    Config,
    GPTConfig,
    ModelConfig,
    TrainConfig,
    TransformerConfig,
)
from clearformer.data.batches import IGNORE, Batch, TextBatch, collate
from clearformer.data.labelled import collate_labelled
from clearformer.data.masked import MaskedBatch
from clearformer.data.tokenizers import SPECIAL
from clearformer.models.initial import initial_weights

SIZES: dict[str, Any] = {
    "vocab_size": 23, "context": 16, "d_model": 16, "num_heads": 4, "num_layers": 2, "d_ff": 24, "dropout": 0.0,
}  # fmt: skip
FAMILIES: dict[str, type[AnyModelConfig]] = {
    "gpt": GPTConfig,
    "bert": BERTConfig,
    "classifier": ClassifierConfig,
    "transformer": TransformerConfig,
}
VARIANTS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "RMSNorm": {"norm": "rms"},
    "no norm": {"norm": "none", "d_model": 8, "scale_embeddings": False},  # larger vectors would saturate the softmax
    "pre-norm": {"norm_order": "pre"},
    "post-norm": {"norm_order": "post"},
    "ReLU": {"activation": "relu"},
    "GELU": {"activation": "gelu"},
    "squared ReLU": {"activation": "squared_relu"},
    "GELU by tanh": {"activation": "gelu_tanh"},
    "SwiGLU": {"activation": "swiglu"},
    "GEGLU": {"activation": "geglu"},
    "GEGLU by tanh": {"activation": "geglu_tanh"},
    "sinusoidal positions": {"positions": "sinusoidal"},
    "learned positions": {"positions": "learned"},
    "rotary positions": {"positions": "rotary"},
    "rotary positions of a larger base": {"positions": "rotary", "rotary_base": 500.0},
    "rotary positions, all slower": {"positions": "rotary", "rotary_factor": 3.0},
    "rotary positions, the slow ones slower": {
        "positions": "rotary",
        "rotary_base": 60.0,
        "head_width": 12,
        "rotary_factor": 8.0,
        "rotary_context": 14,
        "rotary_high": 2.0,
    },
    "another epsilon": {"norm_epsilon": 0.1},
    "ALiBi": {"positions": "alibi"},
    "relative positions": {"positions": "relative"},
    "no positions": {"positions": "none"},
    "grouped-query attention": {"num_kv_heads": 2},
    "multi-query attention": {"num_kv_heads": 1},
    "wider heads": {"head_width": 10, "positions": "rotary", "num_kv_heads": 2},
    "heads of a width that does not divide": {"num_heads": 3, "head_width": 5, "qk_norm": True},
    "sliding window": {"window": 3},
    "QK-norm": {"qk_norm": True},
    "no biases": {"bias": False},
    "tied embeddings": {"tie_embeddings": True},
    "untied embeddings": {"tie_embeddings": False},
    "scaled embeddings": {"scale_embeddings": True},
    "n-grams": {"ngram_buckets": 29},
    "logit cap": {"logit_cap": 5.0},
}
TRANSFORMERS: dict[str, dict[str, Any]] = {"output bias": {"output_bias": True}}
GPTS: dict[str, dict[str, Any]] = {
    "for modular arithmetic": {"norm": "none", "num_layers": 1, "activation": "relu", "tie_embeddings": False},
}
CLASSIFIERS: dict[str, dict[str, Any]] = {
    "mean pooling": {"pooling": "mean"},
    "segments": {"segments": 2},
    "on a GPT, last token": {"body": "gpt", "pooling": "last"},
}
MODELS = [
    *((family, variant) for family in FAMILIES for variant in VARIANTS),
    *(("transformer", variant) for variant in TRANSFORMERS),
    *(("gpt", variant) for variant in GPTS),
    *(("classifier", variant) for variant in CLASSIFIERS),
]
TRAIN = TrainConfig(steps=100, label_smoothing=0.1, epsilon=1e-4, seed=3)
"""epsilon exceeds float32's rounding errors: else Adam would make whole steps of them, as of the keys' biases"""


def config_of(family: str, variant: str) -> AnyModelConfig:
    return FAMILIES[family](**(SIZES | (VARIANTS | TRANSFORMERS | GPTS | CLASSIFIERS)[variant]))


def config_for(config: AnyModelConfig, engine: Any = "torch") -> Config:
    return Config(dataset="", model=config, train=TRAIN, engine=engine)


def weights_for(config: AnyModelConfig) -> dict[str, NDArray[np.float32]]:
    """Initial weights with noise, so that every bias, norm and zero-initialised layer has an effect."""
    rng = np.random.default_rng(5)
    return {
        name: (value + rng.normal(0, 0.2, value.shape)).astype(np.float32)
        for name, value in initial_weights(config, 1).items()
    }


def batch_for(config: AnyModelConfig, seed: int = 7) -> Batch:
    """A batch with rows of unequal length, if the family pads."""
    rng = np.random.default_rng(seed)

    def text(length: int) -> list[int]:
        return rng.integers(len(SPECIAL), config.vocab_size, length).tolist()

    if isinstance(config, GPTConfig):
        rows = np.array([text(13) for _ in range(4)])
        return TextBatch(rows[:, :-1], rows[:, 1:])
    if isinstance(config, TransformerConfig):
        return collate([(text(9), text(5)), (text(4), text(10)), (text(1), text(2))])
    if isinstance(config, ClassifierConfig):
        return collate_labelled([([text(9)], 0), ([text(3)], 1), ([text(6)], 1)], config.segments)
    tokens = np.array([text(12) for _ in range(3)])
    real = np.arange(12) < np.array([[12], [7], [3]])
    targets = np.where(real & (rng.random(tokens.shape) < 0.5), tokens, IGNORE)
    segments = np.where(real, np.arange(12) > 5, 0)
    return MaskedBatch(np.where(real, tokens, 0), real, segments, targets)


@dataclass(frozen=True)
class BlockCase:
    """A block of `ports`, changes of its configuration, and its inputs."""

    block: str
    changes: dict[str, Any]
    inputs: tuple[str, ...] = ("x",)

    @property
    def config(self) -> ModelConfig:
        return TransformerConfig(**(SIZES | self.changes))


BLOCKS: dict[str, BlockCase] = {
    "token embedding": BlockCase("TokenEmbedding", {"scale_embeddings": True}, ("tokens",)),
    "sinusoidal positions": BlockCase("SinusoidalPositions", {}, ("tokens",)),
    "learned positions": BlockCase("LearnedPositions", {}, ("tokens",)),
    "n-grams": BlockCase("NGramEmbedding", {"ngram_buckets": 29}, ("tokens",)),
    "LayerNorm": BlockCase("norm", {"norm": "layer"}),
    "LayerNorm without bias": BlockCase("norm", {"norm": "layer", "bias": False}),
    "RMSNorm": BlockCase("norm", {"norm": "rms"}),
    **{
        f"feed-forward, {name}": BlockCase("FeedForward", VARIANTS[name])
        for name in ("ReLU", "GELU", "GELU by tanh", "squared ReLU", "SwiGLU")
    },
    "self-attention": BlockCase("MultiHeadAttention", {}, ("x", "mask")),
    "masked self-attention": BlockCase("MultiHeadAttention, causal", {}, ("x", "mask")),
    **{
        f"masked self-attention, {name}": BlockCase("MultiHeadAttention, causal", VARIANTS[name])
        for name in (
            "rotary positions",
            "ALiBi",
            "grouped-query attention",
            "multi-query attention",
            "QK-norm",
            "wider heads",
        )
    },
    "cross-attention": BlockCase("CrossAttention", {}, ("x", "memory", "memory mask")),
    "cross-attention, wider heads": BlockCase("CrossAttention", {"head_width": 10}, ("x", "memory", "memory mask")),
    "encoder layer, post-norm": BlockCase("EncoderLayer", {"norm_order": "post"}, ("x", "mask")),
    "encoder layer, pre-norm": BlockCase("EncoderLayer", {"norm_order": "pre"}, ("x", "mask")),
    "decoder layer": BlockCase("DecoderLayer", {}, ("x", "memory", "mask", "memory mask")),
    "output projection": BlockCase("OutputProjection", {}),
    "output projection, capped": BlockCase("OutputProjection", {"logit_cap": 5.0}),
}


def block_inputs(case: BlockCase) -> list[NDArray[Any]]:
    """The inputs of a block: two rows; a query of the second may attend to nothing."""
    rng = np.random.default_rng(11)
    T, S, D = 6, 8, SIZES["d_model"]  # noqa: N806
    mask, memory_mask = np.ones((2, 1, T, T), np.bool_), np.ones((2, 1, 1, S), np.bool_)
    mask[1, :, 2], mask[0, :, :, 4:], memory_mask[1, ..., 3:] = False, False, False
    inputs = {
        "tokens": np.stack((np.arange(T), np.arange(T))) if "Positions" in case.block else rng.integers(0, 16, (2, T)),
        "x": rng.normal(size=(2, T, D)).astype(np.float32),
        "memory": rng.normal(size=(2, S, D)).astype(np.float32),
        "mask": mask,
        "memory mask": memory_mask,
    }
    return [inputs[name] for name in case.inputs]
