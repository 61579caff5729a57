"""Sources: the tokens that every step of their targets looks at, padded, each with its target's limit."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int
from numpy.typing import NDArray

from clearformer.data.batches import pad
from clearformer.data.tokenizers import BOS, EOS, PAD, UNK
from clearformer.errors import PromptError

EXTRA_TOKENS = 50
"""a target may be longer than its source by so many tokens; Vaswani et al. 2017, arXiv:1706.03762, section 6.1"""
NEVER_WRITTEN = [PAD, BOS, UNK]


def padded_sources(sources: Sequence[Sequence[int]], context: int) -> Int[NDArray[np.int64], "B S"]:
    """Sources (numbers without begin and end) with their ends. Raises PromptError for one longer than the context."""
    for source in sources:
        if len(source) >= context:
            raise PromptError(
                f"a source of fewer than {context} tokens was expected, the model's context, found {len(source)}; "
                "split it into sentences"
            )
    return pad([[*source, EOS] for source in sources], PAD)


def longest_targets(sources: Sequence[Sequence[int]], context: int) -> Int[NDArray[np.int64], " B"]:
    """How many tokens the target of each source may have, its end among them."""
    return np.array([min(context, len(source) + EXTRA_TOKENS) for source in sources])
