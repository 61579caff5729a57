"""Attention maps: the attention weights of a trained model's layer on a text, and their picture."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray

from clearformer.data.batches import collate
from clearformer.data.labelled import collate_labelled, truncate
from clearformer.data.tokenizers import PAD, Tokenizer
from clearformer.errors import PromptError
from clearformer.generation.fill import Filler
from clearformer.inspection.figures import attention_svg, standalone
from clearformer.inspection.record import record
from clearformer.models.bert import BERT
from clearformer.models.build import Model
from clearformer.models.classifier import Classifier
from clearformer.models.transformer import Transformer
from clearformer.training.device import move

CROSS = ("target token written (T)", "source token (S)")
SELF = ("query (T)", "key (S)")


@dataclass(frozen=True, repr=False)
class AttentionMap:
    """Attention weights, 0 to 1, and the tokens of their rows and columns. Notebooks show it as a picture."""

    weights: Float[NDArray[np.float32], "T S"]
    rows: list[str]
    columns: list[str]
    labels: tuple[str, str]
    """of the two axes"""

    def __repr__(self) -> str:
        return (
            f"AttentionMap({len(self.rows)} x {len(self.columns)} tokens; a notebook draws it, .save(path) writes SVG)"
        )

    def svg(self) -> str:
        """Return the picture as SVG."""
        return attention_svg(self.weights, self.rows, self.columns, self.labels)

    def _repr_svg_(self) -> str:
        """What IPython shows."""
        return self.svg()

    def save(self, path: str | Path) -> None:
        """Write the picture as an SVG file. Raises PromptError if it cannot be written."""
        try:
            Path(path).write_text(standalone(self.svg()), encoding="utf-8")
        except OSError as error:
            raise PromptError(f"a file that can be written to was expected at {path}, but: {error}") from error


def attention_map(
    model: Model, tokenizer: Tokenizer, text: str, target: str = "", *, layer: int = -1, head: int | None = None
) -> AttentionMap:
    """Return one layer's weights: a translator's cross-attention from `target` to the text, else self-attention.

    `layer` counts from 0, or from the end if negative; `head` None is the mean over heads. A classifier's text is
    truncated to the context. Raises PromptError for other longer texts, or a layer or head that does not exist.
    """
    cross = isinstance(model, Transformer)
    inputs, rows, columns = _inputs(model, tokenizer, text, target)
    context = model.config.context
    for ids in (rows, columns):
        if not 0 < len(ids) <= context:
            raise PromptError(f"a text of 1 to {context} tokens was expected, the model's context, found {len(ids)}")
    device = next(model.parameters()).device
    with torch.inference_mode(), record(model.eval()) as trace:
        model(*(move(array, device) for array in inputs))
    layers = [weights[0] for name, weights in trace.attention.items() if not cross or "cross_attention" in name]
    heads = layers[_index("layer", layer, len(layers))]
    weights = heads.mean(0) if head is None else heads[_index("head", head, len(heads))]
    row_labels, column_labels = ([tokenizer.token_text(int(index)) for index in ids] for ids in (rows, columns))
    return AttentionMap(weights.float().cpu().numpy(), row_labels, column_labels, CROSS if cross else SELF)


def _index(what: str, number: int, count: int) -> int:
    if not -count <= number < count:
        raise PromptError(f"{what} must be from {-count} to {count - 1}, found {number}; this model has {count}")
    return number


def _inputs(
    model: Model, tokenizer: Tokenizer, text: str, target: str
) -> tuple[tuple[NDArray[Any], ...], Int[NDArray[np.int64], " T"], Int[NDArray[np.int64], " S"]]:
    """A batch of one, and the tokens of the picture's rows and columns."""
    if isinstance(model, Transformer):
        pair = collate([(tokenizer.encode(text), tokenizer.encode(target))])
        return pair.inputs, pair.targets[0], pair.source[0]
    if isinstance(model, Classifier):
        texts = truncate(list(tokenizer.encode_batch(text.split("\t"))), model.config.context)
        batch = collate_labelled([(texts, 0)], model.config.segments)
        return batch.inputs, batch.tokens[0], batch.tokens[0]
    encode = Filler(model, tokenizer).encode if isinstance(model, BERT) else tokenizer.encode
    ids = np.array(encode(text), dtype=np.int64)
    tokens = ids[None]
    return (tokens, tokens != PAD, np.zeros_like(tokens)) if isinstance(model, BERT) else (tokens,), ids, ids
