"""Batches for a classifier: texts, padded on the right, and the class of each example.

    <bos> text <eos>          or, of several texts,          <bos> text <eos> text <eos>
      0    0     0                                             0    0     0    1     1      segments

<bos> and <eos> have the roles of BERT's [CLS] and [SEP].        Devlin et al. 2018, arXiv:1810.04805, figure 2
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Int
from numpy.typing import NDArray

from clearformer.data.batches import IGNORE, EncoderBatch, pad
from clearformer.data.buckets import Buckets
from clearformer.data.tokenizers import BOS, EOS, PAD
from clearformer.errors import DataError

LabelledTokens = tuple[list[list[int]], int]
"""token ids of the texts of an example, without BOS and EOS, and its class, from 0 on"""


@dataclass(frozen=True)
class LabelledBatch(EncoderBatch):
    """Examples and their classes: one target per example, or per token."""

    targets: Int[NDArray[np.int64], " B *T"]

    def with_token_targets(self) -> "LabelledBatch":
        """The same batch with the class of the example as the target of each real token."""
        return replace(self, targets=np.where(self.real, self.targets[:, None], IGNORE))


class LabelledBuckets(Buckets[LabelledTokens, LabelledBatch]):
    """Examples of similar length, as many in a batch as fit into `batch_tokens`, padding included.

    The texts must have been through `truncate`. `segments` as in `collate_labelled`.
    """

    def __init__(self, examples: Sequence[LabelledTokens], batch_tokens: int, seed: int, segments: int) -> None:
        lengths = np.array([[sequence_length(texts)] for texts, _ in examples])
        super().__init__(examples, lengths, lambda batch: collate_labelled(batch, segments), batch_tokens, seed)


def sequence_length(texts: Sequence[Sequence[int]]) -> int:
    """Number of tokens of an example, with BOS and an EOS behind each text."""
    return 1 + sum(len(text) + 1 for text in texts)


def num_truncated(texts: Sequence[Sequence[int]], context: int) -> int:
    """Number of tokens that `truncate` removes; callers report it."""
    return max(0, sequence_length(texts) - context)


def truncate(texts: Sequence[Sequence[int]], context: int) -> list[list[int]]:
    """Remove tokens from the end of the longest text, one at a time, until the example fits into `context` tokens.

    Of equally long texts the last is shortened. Raises DataError if there is no room for one token of each text.
    """
    if context < 1 + 2 * len(texts):
        raise DataError(
            f"a context of at least {1 + 2 * len(texts)} tokens was expected, for {len(texts)} texts with <bos> and an "
            f"<eos> each, found {context}; raise --model.context"
        )
    room = context - 1 - len(texts)
    level = bisect_right(range(context), room, key=lambda limit: sum(min(len(text), limit) for text in texts)) - 1
    spare = room - sum(min(len(text), level) for text in texts)
    kept = []
    for text in texts:
        longer = len(text) > level and spare > 0
        kept.append(list(text[: level + longer]))
        spare -= longer
    return kept


def collate_labelled(examples: Sequence[LabelledTokens], segments: int) -> LabelledBatch:
    """Pad examples into a batch. If `segments` > 0, segment numbers stop there: further texts share the last one."""
    joined = [_join(texts) for texts, _ in examples]
    tokens = pad([tokens for tokens, _ in joined], PAD)
    numbers = pad([numbers for _, numbers in joined], 0)
    real = np.arange(tokens.shape[1]) < np.array([[len(tokens)] for tokens, _ in joined])
    targets = np.array([target for _, target in examples], dtype=np.int64)
    return LabelledBatch(tokens, real, np.minimum(numbers, segments - 1) if segments else numbers, targets)


def _join(texts: Sequence[Sequence[int]]) -> tuple[list[int], list[int]]:
    tokens, segments = [BOS], [0]
    for number, text in enumerate(texts):
        tokens += [*text, EOS]
        segments += [number] * (len(text) + 1)
    return tokens, segments
