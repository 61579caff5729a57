"""From a text to what a model takes, as each family's training and use make it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from clearformer.data.batches import collate
from clearformer.data.labelled import collate_labelled, truncate
from clearformer.data.tokenizers import Tokenizer
from clearformer.generation.fill import Filler
from clearformer.models.bert import BERT
from clearformer.models.build import Model
from clearformer.models.classifier import Classifier
from clearformer.models.transformer import Transformer


def model_inputs(
    model: Model, tokenizer: Tokenizer, text: str, target: str
) -> tuple[tuple[NDArray[Any], ...], list[NDArray[np.int64]], NDArray[np.int64]]:
    """A batch of one, the tokens of each text, and those that a translator writes."""
    nothing = np.array([], dtype=np.int64)
    if isinstance(model, Transformer):
        pair = collate([(tokenizer.encode(text), tokenizer.target.encode(target))])
        return pair.inputs, [pair.source[0], pair.target[0]], pair.targets[0]
    if isinstance(model, Classifier):
        texts = truncate(list(tokenizer.encode_batch(text.split("\t"))), model.config.context)
        batch = collate_labelled([(texts, 0)], model.config.segments)
        return batch.inputs, [batch.tokens[0]], nothing
    encode = Filler(model, tokenizer).encode if isinstance(model, BERT) else tokenizer.encode
    ids = np.array(encode(text), dtype=np.int64)
    tokens = ids[None]
    if isinstance(model, BERT):
        return (tokens, tokens != tokenizer.special.pad, np.zeros_like(tokens)), [ids], nothing
    return (tokens,), [ids], nothing
