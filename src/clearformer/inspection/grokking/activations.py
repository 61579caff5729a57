"""What a model computes for all p x p equations "a b =": logits, neurons and attention at the last position.

Of the logits, those of the p numbers are taken. All logits take 8 p³ bytes, and measuring them about four times that.
"""

from collections.abc import Iterator
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clearformer.data.modular import FIRST_NUMBER
from clearformer.errors import InspectionError
from clearformer.inspection.record import Trace, record
from clearformer.models.gpt import GPT
from clearformer.models.last import has_last_logits, last_logits

ROWS = 16
"""values of a in a batch, which bounds memory"""


def modulus(model: GPT) -> int:
    """p, from the vocabulary: special tokens, p numbers and "=". Raises InspectionError for another kind of model."""
    p = model.config.vocab_size - FIRST_NUMBER - 1
    if model.config.context < 3 or p < 3:
        expected = "a vocabulary of 3 numbers and 5 more and a context of 3 tokens"
        found = f"{model.config.vocab_size} and {model.config.context}"
        raise InspectionError(
            f"a model of equations a b =, with at least {expected}, was expected, found {found}; train one with `grok`"
        )
    return p


def number_rows(weight: Float[Tensor, "V D"]) -> Float[Tensor, "p D"]:
    """The rows of an embedding or unembedding that belong to the numbers 0 … p - 1."""
    return weight.detach().cpu().double()[FIRST_NUMBER:-1]


def every_equation(p: int) -> Int[Tensor, "p p 3"]:
    """Tokens of "a b =", at [a, b]."""
    numbers = torch.arange(p) + FIRST_NUMBER
    a, b = torch.meshgrid(numbers, numbers, indexing="ij")
    return torch.stack((a, b, torch.full_like(a, FIRST_NUMBER + p)), dim=-1)


def batches(model: GPT, *kinds: str) -> Iterator[tuple[Float[Tensor, "B V"], Trace]]:
    """Logits of the last position, and what was recorded, of ROWS values of a at a time with every b."""
    device = model.embedding.weight.device
    shortcut = "attention" not in kinds and has_last_logits(model)
    logits_of = partial(last_logits, model) if shortcut else model
    for tokens in every_equation(modulus(model)).split(ROWS):
        with torch.no_grad(), record(model, *kinds) as trace:
            logits = logits_of(tokens.flatten(0, 1).to(device))[:, -1]
        yield logits, trace


def number_logits(model: GPT) -> Float[Tensor, "p p p"]:
    """The logit of each number c as the answer to "a b =", at [a, b, c]."""
    p = modulus(model)
    logits = torch.cat([logits[:, FIRST_NUMBER:-1] for logits, _ in batches(model, "logits")])
    return logits.cpu().double().view(p, p, p)


def neurons(model: GPT) -> Float[Tensor, "p p F"]:
    """What enters the second matrix of the last feed-forward layer at "=", at [a, b]."""
    p = modulus(model)
    found = [list(trace["neurons"].values())[-1][:, -1] for _, trace in batches(model, "neurons")]
    return torch.cat(found).cpu().double().view(p, p, -1)


def attention(model: GPT) -> Float[Tensor, "H p p 3"]:
    """The last layer's weights from "=" to a, b and itself, at [head, a, b]."""
    p = modulus(model)
    found = [list(trace.attention.values())[-1][:, :, -1] for _, trace in batches(model, "attention")]
    return torch.cat(found).cpu().double().view(p, p, -1, 3).permute(2, 0, 1, 3)
