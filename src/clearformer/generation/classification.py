"""Classification: the probability of each class, given a text or several read together.

    p(class | texts) = softmax(logits)

Examples longer than the context are truncated, and counted.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from clearformer.data.labelled import collate_labelled, num_truncated, sequence_length, truncate
from clearformer.data.tokenizers import UNK, Tokenizer
from clearformer.engine import engine_of
from clearformer.generation.sampling import Sampling, probabilities

BATCH_SIZE = 100


@dataclass(frozen=True)
class Classified:
    """The probability of each class for each example; and what the model could not read of them.

    `truncated` counts examples longer than the context, `unknown` counts out-of-vocabulary tokens.
    """

    probabilities: Float[NDArray[np.float64], "N C"]
    truncated: int
    unknown: int


def classify(model: Any, tokenizer: Tokenizer, examples: Sequence[Sequence[str]]) -> Classified:
    """Classify examples of one or more texts, in batches of similar length; results keep their order.

    Raises DataError for an example of more texts than fit into the context.
    """
    config = model.config
    ids = tokenizer.encode_batch(text for texts in examples for text in texts)
    tokens = [[next(ids) for _ in texts] for texts in examples]
    order = sorted(range(len(tokens)), key=lambda i: sequence_length(tokens[i]))
    found = np.zeros((len(tokens), config.num_classes))
    for first in range(0, len(order), BATCH_SIZE):
        indices = order[first : first + BATCH_SIZE]
        batch = collate_labelled([(truncate(tokens[i], config.context), 0) for i in indices], config.segments)
        found[indices] = probabilities(engine_of(model).logits_of(model, batch.inputs), Sampling())
    return Classified(
        found,
        truncated=sum(num_truncated(texts, config.context) > 0 for texts in tokens),
        unknown=sum(text.count(UNK) for texts in tokens for text in texts),
    )
