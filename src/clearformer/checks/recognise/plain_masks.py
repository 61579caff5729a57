"""The mask that a plain model takes beside its tokens."""

import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from clearformer.checks.recognise import heads, masks, signature, trial
from clearformer.checks.recognise.outputs import extract_logits
from clearformer.checks.subject import Kind

SAYING_REAL = ("real", "is_real", "valid", "valid_mask", "non_pad_mask", "input_mask")
"""names that leave no doubt that what is True is a token"""
SAYING_PADDING = (
    "attention_mask",
    *SAYING_REAL,
    "padding_mask",
    "pad_mask",
    "key_padding_mask",
    "src_key_padding_mask",
)
"""names that leave no doubt that it is about padding"""
NAMES = (
    *("attention_mask", *SAYING_REAL),
    *("mask", "attn_mask", "causal_mask", "src_mask", "padding_mask", "pad_mask"),
)
NAMES_OF_PADDING = (*SAYING_PADDING, "mask")


@dataclass(frozen=True)
class MaskedCall:
    """A call with a padding mask, or with a causal mask where the convention is per query."""

    name: str
    convention: masks.Convention
    others: Mapping[str, Callable[[Tensor], Any]] = field(default_factory=dict)
    """what else is required, as functions of the tokens"""
    arrange: heads.Arrange = heads.as_it_is

    def __call__(self, model: Any, tokens: Tensor, real: Tensor) -> Any:
        """A row of a mask per query says who sees whom, and a caller leaves each query something: at least itself."""
        if self.convention.per_query:
            mask = masks.causal_mask(real)
            mask = mask | torch.eye(mask.shape[-1], dtype=torch.bool)
        else:
            mask = masks.padding_mask(real)
        others = {name: value(tokens) for name, value in self.others.items()}
        out = signature.give(model, tokens, **{self.name: self.convention.convert(mask)}, **others)
        return self.arrange(model, out, tokens)

    def without_padding(self, model: Any, tokens: Tensor) -> Any:
        return self(model, tokens, torch.ones(tokens.shape[:2], dtype=torch.bool))

    @property
    def can_hide_padding(self) -> bool:
        """Not by a mask [T, S], which all rows share."""
        return not (self.convention.per_query and self.convention.rank == 2)

    def hides(self, model: Any, tokens: Tensor, kind: Kind) -> bool:
        """As `hides_what_it_should`; False where the model raises an error."""
        try:
            return self.hides_what_it_should(model, tokens, kind)
        except Exception:  # the checks will say what is wrong
            return False

    def hides_what_it_should(self, model: Any, tokens: Tensor, kind: Kind) -> bool:
        """Whether the model hides the future, if it is causal, and padding, if the mask can say it."""
        if kind == "causal" and not masks.hides_the_future(
            lambda x: extract_logits(self.without_padding(model, x)), tokens
        ):
            return False
        return not self.can_hide_padding or masks.hides_padding(
            lambda x, real: extract_logits(self(model, x, real)), tokens
        )


def find_masked_call(
    model: Any,
    name: str,
    kind: Kind,
    tokens: Tensor,
    per_query: Iterable[bool],
    others: Mapping[str, Callable[[Tensor], Any]] | None = None,
    arrange: heads.Arrange = heads.as_it_is,
    of_rows: bool = False,
) -> MaskedCall | None:
    """The convention with which this mask hides what it should; else the first that runs.

    `of_rows`: only those in which each row has a mask of its own. Beside `input_ids`, an `attention_mask` that
    may be left out is 1 for real tokens, as in transformers.
    """
    ranks = (2, 3, 4) if name in SAYING_PADDING else (4, 3, 2)
    parameters = signature.parameters(model)
    like_transformers = name == "attention_mask" and "input_ids" in parameters
    says_real = name in SAYING_REAL or (like_transformers and name not in signature.required(parameters))
    meanings = [meaning for meaning in masks.MEANINGS if not says_real or "may attend" in meaning]
    candidates = [
        MaskedCall(name, masks.Convention(meaning, rank, each), others or {}, arrange)
        for each, meaning, rank in itertools.product(per_query, meanings, ranks)
    ]
    candidates = [one for one in candidates if one.can_hide_padding or not of_rows]
    return masks.first_correct(
        candidates,
        lambda call: trial.try_call(partial(call.without_padding, model), tokens)[0] is not None,
        lambda call: call.hides_what_it_should(model, tokens, kind),
    )
