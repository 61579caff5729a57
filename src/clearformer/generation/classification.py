"""Classification: how likely each class is, given a text, or several that are read together.

    p(class | texts) = softmax(logits)

What the context has no room for is cut and counted, never dropped in silence.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from clearformer.data.labelled import collate_labelled, tokens_cut, truncate, whole_length
from clearformer.data.tokenizers import UNK, Tokenizer
from clearformer.engine import engine_of
from clearformer.generation.sampling import Sampling, probabilities

EXAMPLES_AT_ONCE = 100


@dataclass(frozen=True)
class Classified:
    """The probability of each class of each example; and what of them the model could not read.

    `truncated` counts examples that were cut at the context, `unknown` tokens that the vocabulary lacks.
    """

    probabilities: Float[NDArray[np.float64], "N C"]
    truncated: int
    unknown: int


def classify(model: Any, tokenizer: Tokenizer, examples: Sequence[Sequence[str]]) -> Classified:
    """Classify examples of one or more texts, in their order; those of like length are done together.

    Raises DataError for an example of more texts than the context has room for.
    """
    config = model.config
    ids = tokenizer.encode_many(text for texts in examples for text in texts)
    tokens = [[next(ids) for _ in texts] for texts in examples]
    order = sorted(range(len(tokens)), key=lambda place: whole_length(tokens[place]))
    found = np.zeros((len(tokens), config.num_classes))
    for first in range(0, len(order), EXAMPLES_AT_ONCE):
        places = order[first : first + EXAMPLES_AT_ONCE]
        batch = collate_labelled([(truncate(tokens[place], config.context), 0) for place in places], config.segments)
        found[places] = probabilities(engine_of(model).logits_of(model, batch.inputs), Sampling())
    return Classified(
        found,
        truncated=sum(tokens_cut(texts, config.context) > 0 for texts in tokens),
        unknown=sum(text.count(UNK) for texts in tokens for text in texts),
    )
