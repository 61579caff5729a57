"""An encoder-decoder whose source and target come in one argument: a tuple, or a dictionary."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from clearformer.checks.recognise import masks, signature, trial
from clearformer.checks.recognise.encoder_decoder_calls import TARGET_WORDS, has_word
from clearformer.checks.recognise.loss_forms import MASKS, TARGETS
from clearformer.checks.recognise.outputs import extract_logits, in_rows


class PairBatch(dict[str, Tensor]):
    """A batch in which every key is found: a mask, the target under a name of targets, else the source."""

    def __init__(self, source: Tensor, target: Tensor) -> None:
        super().__init__()
        self.source, self.target = source, target

    def __missing__(self, name: str) -> Tensor:
        tokens = self.target if has_word(name, TARGET_WORDS) or signature.has_word(name, TARGETS) else self.source
        return torch.ones_like(tokens) if signature.has_word(name, MASKS) else tokens


@dataclass(frozen=True)
class BatchCall:
    """A call with one argument that holds both."""

    description: str
    make: Callable[[Tensor, Tensor], Any]
    begins_itself: bool = False
    """whether the model puts its own first token in front of the target, and leaves the last one out"""

    def without_padding(self, model: Any, source: Tensor, target: Tensor) -> Any:
        if not self.begins_itself:
            return in_rows(model(self.make(source, target)), target)
        longer = torch.cat([target, target[:, -1:]], dim=1)
        return extract_logits(in_rows(model(self.make(source, longer)), longer))[:, 1:]


CALLS = (
    BatchCall("model((source, tokens))", lambda source, target: (source, target)),
    BatchCall("model({source, tokens})", PairBatch),
)


def find(model: Any, source: Tensor, tokens: Tensor) -> BatchCall | None:
    """The form that gives logits of the target's length which depend on the source too."""
    if len(signature.required(signature.parameters(model))) != 1:
        return None
    for call in CALLS:
        pairs = [(source, tokens), (trial.replace_token(source, 0), tokens), (source, trial.replace_token(tokens, 0))]
        outputs = [trial.try_call(partial(call.without_padding, model), *pair)[0] for pair in pairs]
        if any(out is None or out.dim() != 3 or out.shape[:2] != tokens.shape for out in outputs):
            continue
        before, *after = (out for out in outputs if out is not None)
        by_source, by_token = ((out - before).abs().amax((0, 2)) > masks.MIN_CHANGE * before.std() for out in after)
        if by_source.any() and by_token.any():
            return replace(call, begins_itself=not by_token[0])
    return None
