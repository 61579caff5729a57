"""What a model computes for all p x p equations "a b =": logits, neurons and attention at the last position.

Number n has the token FIRST + n, and "=" has FIRST + p. Of the logits, those of the p numbers are taken.
"""

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clearformer.blocks.encoder import EncoderLayer
from clearformer.errors import InspectionError
from clearformer.inspection.record import Trace, record
from clearformer.models.gpt import GPT

FIRST = 4
"""the token of number 0, behind the special ones"""
ROWS = 16
"""values of a in a batch, which bounds memory"""


def modulus(model: GPT) -> int:
    """p, from the vocabulary: special tokens, p numbers and "=". Raises InspectionError for another kind of model."""
    p = model.config.vocab_size - FIRST - 1
    if model.config.context < 3 or p < 3:
        expected = "a vocabulary of 3 numbers and 5 more and a context of 3 tokens"
        found = f"{model.config.vocab_size} and {model.config.context}"
        raise InspectionError(
            f"a model of equations a b =, with at least {expected}, was expected, found {found}; train one with `grok`"
        )
    return p


def number_rows(weight: Float[Tensor, "V D"]) -> Float[Tensor, "p D"]:
    """The rows of an embedding or unembedding that belong to the numbers 0 … p - 1."""
    return weight.detach().cpu().double()[FIRST:-1]


def every_equation(p: int) -> Int[Tensor, "p p 3"]:
    """Tokens of "a b =", at [a, b]."""
    numbers = torch.arange(p) + FIRST
    a, b = torch.meshgrid(numbers, numbers, indexing="ij")
    return torch.stack((a, b, torch.full_like(a, FIRST + p)), dim=-1)


def last_logits(model: GPT, tokens: Int[Tensor, "B T"]) -> Float[Tensor, "B V"]:
    """`model(tokens)[:, -1]`, in 0.6 of its time: the last layer's feed-forward layer sees the last position alone."""
    x, mask = model.embed(tokens), model.attention_mask(tokens)
    *earlier, last = model.decoder.layers
    assert isinstance(last, EncoderLayer)
    for layer in earlier:
        x = layer(x, mask)
    x = last.attention_residual(x, lambda x: last.attention(x, mask))[:, -1:]
    x = last.feed_forward_residual(x, last.feed_forward)
    return model.output_projection(model.decoder.norm(x))[:, -1]


def batches(model: GPT, *kinds: str) -> Iterator[tuple[Float[Tensor, "B V"], Trace]]:
    """Logits of the last position, and what was recorded, of ROWS values of a at a time with every b."""
    device = model.embedding.weight.device
    for tokens in every_equation(modulus(model)).split(ROWS):
        with torch.no_grad(), record(model, *kinds) as trace:
            logits = last_logits(model, tokens.flatten(0, 1).to(device))
        yield logits, trace


def number_logits(model: GPT) -> Float[Tensor, "p p p"]:
    """The logit of each number c as the answer to "a b =", at [a, b, c]."""
    p = modulus(model)
    logits = torch.cat([logits[:, FIRST:-1] for logits, _ in batches(model, "logits")])
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
