"""Labelled batches: texts and the class of each, padded on the right.

    <bos> text <eos>          or, of several texts,          <bos> text <eos> text <eos>
      0    0     0                                             0    0     0    1     1      segments

As BERT's [CLS] and [SEP] stand.                                    Devlin et al. 2018, arXiv:1810.04805, figure 2
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
"""the texts of an example as numbers, without begin and end, and its class, from 0 on"""


@dataclass(frozen=True)
class LabelledBatch(EncoderBatch):
    """Examples, and the class of each; or, of each token, that of its example."""

    targets: Int[NDArray[np.int64], " B *T"]

    def of_each_token(self) -> "LabelledBatch":
        """The same, with a class to be told by every real token."""
        return replace(self, targets=np.where(self.real, self.targets[:, None], IGNORE))


class LabelledBuckets(Buckets[LabelledTokens, LabelledBatch]):
    """Examples of like length side by side, as many as fit into `batch_tokens` with their padding.

    Nothing is cut here: give texts that went through `truncate`. `segments` is how many texts are told apart.
    """

    def __init__(self, examples: Sequence[LabelledTokens], batch_tokens: int, seed: int, segments: int) -> None:
        lengths = np.array([[whole_length(texts)] for texts, _ in examples])
        super().__init__(examples, lengths, lambda some: collate_labelled(some, segments), batch_tokens, seed)


def whole_length(texts: Sequence[Sequence[int]]) -> int:
    """Tokens of an example with its begin, and an end behind each text."""
    return 1 + sum(len(text) + 1 for text in texts)


def tokens_cut(texts: Sequence[Sequence[int]], context: int) -> int:
    """How many tokens `truncate` takes away: callers count them, and say so."""
    return max(0, whole_length(texts) - context)


def truncate(texts: Sequence[Sequence[int]], context: int) -> list[list[int]]:
    """The texts cut at their ends, always the longest of them, until the example has room in `context` tokens.

    Of texts that are equally long, the later is cut. Raises DataError if not even one token of each has room.
    """
    if context < 1 + 2 * len(texts):
        raise DataError(
            f"a context of at least {1 + 2 * len(texts)} tokens was expected, for {len(texts)} texts with begin and "
            f"ends, found {context}; raise --model.context"
        )
    room = context - 1 - len(texts)
    level = bisect_right(range(context), room, key=lambda most: sum(min(len(text), most) for text in texts)) - 1
    spare = room - sum(min(len(text), level) for text in texts)
    kept = []
    for text in texts:
        longer = len(text) > level and spare > 0
        kept.append(list(text[: level + longer]))
        spare -= longer
    return kept


def collate_labelled(examples: Sequence[LabelledTokens], segments: int) -> LabelledBatch:
    """Put examples into a rectangle. Where `segments` > 0, the texts beyond the last one told apart count as that."""
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
