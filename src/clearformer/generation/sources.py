"""Sources: encoded once into the memory that every step of their targets looks at, each with its target's limit."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor

from clearformer.data.batches import pad
from clearformer.data.tokenizers import BOS, EOS, PAD, UNK
from clearformer.errors import PromptError
from clearformer.models.transformer import Transformer
from clearformer.training.device import autocast, move

EXTRA_TOKENS = 50
"""a target may be longer than its source by so many tokens; Vaswani et al. 2017, arXiv:1706.03762, section 6.1"""
NEVER_WRITTEN = [PAD, BOS, UNK]


@dataclass(frozen=True)
class Memory:
    """What is known of each source; `longest` is how many tokens its target may have."""

    vectors: Float[Tensor, "B S D"]
    real: Bool[Tensor, "B S"]
    longest: Int[NDArray[np.int64], " B"]


def encode_sources(model: Transformer, sources: Sequence[Sequence[int]]) -> Memory:
    """Read sources (numbers without begin and end). Raises PromptError for one longer than the context."""
    context = model.config.context
    for source in sources:
        if len(source) >= context:
            raise PromptError(
                f"a source of fewer than {context} tokens was expected, the model's context, found {len(source)}; "
                "split it into sentences"
            )
    device = next(model.parameters()).device
    padded = pad([[*source, EOS] for source in sources], PAD)
    real = torch.arange(padded.shape[1], device=device) < torch.tensor(
        [[len(source) + 1] for source in sources], device=device
    )
    with torch.inference_mode(), autocast(device):
        vectors = model.encode(move(padded, device), real)
    return Memory(vectors, real, np.array([min(context, len(source) + EXTRA_TOKENS) for source in sources]))
