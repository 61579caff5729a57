"""What is measured: the same work for every system, with the sizes that the field compares.

S and M are nanoGPT's settings for a CPU and for a small GPU, G is GPT-2 small; `small` and `base` are encoder-decoders
on batches as long as Multi30k's.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clearformer.config import GPTConfig, TransformerConfig

GPTS = {
    "S": GPTConfig(vocab_size=65, context=64, d_model=128, num_heads=4, num_layers=4, d_ff=512, dropout=0.0),
    "M": GPTConfig(vocab_size=65, context=256, d_model=384, num_heads=6, num_layers=6, d_ff=1536, dropout=0.0),
    "G": GPTConfig(vocab_size=50257, context=1024, d_model=768, num_heads=12, num_layers=12, d_ff=3072, dropout=0.0),
}
WINDOWS = {"S": 12, "M": 16, "G": 16}
"""of a training batch"""
PROMPT, NEW = 32, 128
"""tokens read and generated"""
PAIRS = {
    "small": TransformerConfig(
        vocab_size=8000, context=128, d_model=256, num_heads=4, num_layers=3, d_ff=1024, dropout=0.0
    ),
    "base": TransformerConfig(
        vocab_size=8000, context=128, d_model=512, num_heads=8, num_layers=6, d_ff=2048, dropout=0.0
    ),
}
ROWS, LENGTHS = 64, (12, 19)
"""sentences of a training batch, and their tokens from and below: Multi30k's, which have about as many in a batch"""
SENTENCES, BEAM, TRANSLATED = 32, 5, 15
"""translated at once, hypotheses of each, and tokens that are read and written"""
FIRST_WORD = 4
"""the first token that is no special one"""


@dataclass(frozen=True)
class Work:
    """Work that is repeated: `run` does it once, and returns once it is done."""

    run: Callable[[], Any]
    units: int
    """tokens, or sentences, of one `run`"""
    parameters: int
    facts: Mapping[str, float]
    """what must agree between systems"""


def windows(size: str) -> NDArray[np.int64]:
    """Token ids [B, T + 1] of a training batch."""
    config = GPTS[size]
    return np.random.default_rng(1).integers(FIRST_WORD, config.vocab_size, (WINDOWS[size], config.context + 1))


def prompts(size: str, batch: int) -> NDArray[np.int64]:
    """Token ids [B, PROMPT]."""
    return np.random.default_rng(1).integers(FIRST_WORD, GPTS[size].vocab_size, (batch, PROMPT))


def sentences(seed: int) -> list[list[int]]:
    """Rows of token ids of a training batch, longest first."""
    rng = np.random.default_rng(seed)
    lengths = sorted(rng.integers(*LENGTHS, ROWS), reverse=True)
    return [rng.integers(FIRST_WORD, PAIRS["small"].vocab_size, length).tolist() for length in lengths]


def sources() -> NDArray[np.int64]:
    """Token ids [SENTENCES, TRANSLATED], to be translated."""
    return np.random.default_rng(1).integers(FIRST_WORD, PAIRS["small"].vocab_size, (SENTENCES, TRANSLATED))
