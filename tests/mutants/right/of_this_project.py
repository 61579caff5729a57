"""Models of this project, of all families and in the variants that a configuration offers."""

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn

from clearformer.config import AnyModelConfig, BERTConfig, ClassifierConfig, GPTConfig, TransformerConfig
from clearformer.models.build import build

SMALL: dict[str, Any] = {
    **{"vocab_size": 37, "context": 24, "d_model": 32, "num_heads": 4, "num_layers": 2, "d_ff": 64},
}


def make(family: type[AnyModelConfig], **settings: Any) -> nn.Module:
    return build(family(**SMALL, **settings), seed=0)


LLAMA: dict[str, Any] = {
    **{"norm": "rms", "activation": "swiglu", "positions": "rotary", "bias": False, "tie_embeddings": False},
}
MODELS: dict[str, Callable[[], nn.Module]] = {
    "GPT": partial(make, GPTConfig),
    "GPT, post-norm": partial(make, GPTConfig, norm_order="post"),
    "GPT, sinusoidal": partial(make, GPTConfig, positions="sinusoidal", scale_embeddings=True),
    "GPT, no positions": partial(make, GPTConfig, positions="none"),
    "GPT, ALiBi": partial(make, GPTConfig, positions="alibi"),
    "GPT, window": partial(make, GPTConfig, window=8),
    "GPT, hashed embeddings": partial(make, GPTConfig, ngram_buckets=16),
    "GPT, cap and zero outputs": partial(make, GPTConfig, logit_cap=15.0, zero_outputs=True, tie_embeddings=False),
    "Llama-like": partial(make, GPTConfig, **LLAMA),
    "Llama-like, two groups": partial(make, GPTConfig, **LLAMA, num_kv_heads=2),
    "Llama-like, one group, normed heads": partial(make, GPTConfig, **LLAMA, num_kv_heads=1, qk_norm=True),
    "Transformer": partial(make, TransformerConfig),
    "Transformer, pre-norm": partial(make, TransformerConfig, norm_order="pre", activation="geglu"),
    "Transformer, rotary": partial(make, TransformerConfig, positions="rotary", tie_embeddings=False),
    "BERT": partial(make, BERTConfig),
    "BERT, no segments": partial(make, BERTConfig, segments=0, positions="rotary"),
    "classifier": partial(make, ClassifierConfig, num_classes=3),
    "classifier, mean": partial(make, ClassifierConfig, num_classes=3, pooling="mean"),
    "classifier, last token of a GPT": partial(make, ClassifierConfig, num_classes=3, body="gpt", pooling="last"),
}
