"""What inspection has to know about each family: its stack, what follows it, and which tokens are padding."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from clearformer.blocks.decoder import Decoder
from clearformer.blocks.encoder import Encoder
from clearformer.errors import InspectionError
from clearformer.models.bert import BERT, BERTBody
from clearformer.models.build import Model
from clearformer.models.classifier import Classifier
from clearformer.models.gpt import GPT, GPTBody
from clearformer.models.transformer import Transformer


def family(model: nn.Module) -> Model:
    """The model. Raises InspectionError if it is of none of the families."""
    if not isinstance(model, Transformer | GPT | BERT | Classifier):
        raise InspectionError(
            f"a Transformer, GPT, BERT or Classifier of this package was expected, found {type(model).__name__}"
        )
    return model


def last_stack(model: Model) -> tuple[str, Encoder | Decoder]:
    """The name and the module of the stack whose vectors become logits."""
    prefix, body = ("body.", model.body) if isinstance(model, Classifier) else ("", model)
    if isinstance(body, BERTBody):
        return f"{prefix}encoder", body.encoder
    assert isinstance(body, GPTBody | Transformer)
    return f"{prefix}decoder", body.decoder


def unembed(model: Model, x: Float[Tensor, "*tokens D"]) -> Float[Tensor, "*tokens _"]:
    """Logits of the stream as it enters the final norm, each token's alone: of tokens, or a classifier's classes."""
    x = last_stack(model)[1].norm(x)
    if isinstance(model, Classifier):
        return model.class_projection(x)
    if isinstance(model, BERT):
        x = model.transform_norm(F.gelu(model.transform(x)))
    return model.output_projection(x)


def real_tokens(model: Model, inputs: Sequence[Tensor], name: str) -> Bool[Tensor, "B T"]:
    """Which tokens are not padding, of the text whose vectors pass the place `name`."""
    if isinstance(model, GPT):
        return torch.ones_like(inputs[0], dtype=torch.bool)
    if isinstance(model, Transformer):
        return inputs[2] if name.startswith("encoder.") else inputs[3]
    return inputs[1]


def in_range(what: str, number: int, count: int) -> int:
    """The number, from 0 or, if negative, from the end. Raises InspectionError if there are not so many."""
    if not -count <= number < count:
        raise InspectionError(f"{what} must be from {-count} to {count - 1}, found {number}; there are {count}")
    return number
