"""The mask that a plain model takes beside its tokens."""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from clearformer.checks.recognise import introspection, masks
from clearformer.checks.recognise.outputs import extract_logits
from clearformer.checks.subject import Kind

NAMES = ("attention_mask", "real", "mask", "attn_mask", "causal_mask", "src_mask", "padding_mask", "pad_mask")
NAMES_OF_PADDING = (*("attention_mask", "real", "mask", "padding_mask", "pad_mask"), "key_padding_mask")


@dataclass(frozen=True)
class Masked:
    """A call with a mask of the real tokens, or, for each query, of those up to it."""

    name: str
    convention: masks.Convention

    def __call__(self, model: Any, tokens: Tensor, real: Tensor) -> Any:
        may = masks.causal(real) if self.convention.each else masks.of_real(real)
        return model(tokens, **{self.name: self.convention.build(may)})

    def whole(self, model: Any, tokens: Tensor) -> Any:
        return self(model, tokens, torch.ones(tokens.shape[:2], dtype=torch.bool))

    @property
    def tells_of_padding(self) -> bool:
        return not (self.convention.each and self.convention.rank == 2)

    def is_understood(self, model: Any, tokens: Tensor, kind: Kind) -> bool:
        """Whether the model does with the mask what is meant by it."""
        if kind == "causal" and not masks.hides_the_future(lambda given: extract_logits(self.whole(model, given)), tokens):
            return False
        return not self.tells_of_padding or masks.hides_padding(
            lambda given, real: extract_logits(self(model, given, real)), tokens
        )


def find(model: Any, name: str, kind: Kind, tokens: Tensor, each: Iterable[bool]) -> Masked | None:
    """The convention by which the model understands this mask; if none, the first by which it runs."""
    ranks = (2, 3, 4) if name == "attention_mask" else (4, 3, 2)
    ways = [
        Masked(name, masks.Convention(meaning, rank, of_each))
        for of_each, meaning, rank in itertools.product(each, masks.MEANINGS, ranks)
    ]
    return masks.choose(
        ways,
        lambda way: introspection.tried(partial(way.whole, model), tokens)[0] is not None,
        lambda way: way.is_understood(model, tokens, kind),
    )
