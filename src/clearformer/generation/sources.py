"""Source sentences as a padded batch, and the length limits of their targets."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int
from numpy.typing import NDArray

from clearformer.data.batches import pad
from clearformer.data.tokenizers import BOS, EOS, PAD, UNK
from clearformer.errors import PromptError

EXTRA_TOKENS = 50
"""a target may be this many tokens longer than its source; Vaswani et al. 2017, arXiv:1706.03762, section 6.1"""
NEVER_GENERATED = [PAD, BOS, UNK]


def padded_sources(sources: Sequence[Sequence[int]], context: int) -> Int[NDArray[np.int64], "B S"]:
    """Append EOS to sources (token ids without BOS and EOS) and pad. Raises PromptError for one without room for it."""
    for source in sources:
        if len(source) >= context:
            raise PromptError(
                f"a source of fewer than {context} tokens was expected, the model's context, found {len(source)}; "
                "split it into sentences"
            )
    return pad([[*source, EOS] for source in sources], PAD)


def max_target_lengths(sources: Sequence[Sequence[int]], context: int) -> Int[NDArray[np.int64], " B"]:
    """The maximum length of each source's target, EOS included."""
    return np.array([min(context, len(source) + EXTRA_TOKENS) for source in sources])
