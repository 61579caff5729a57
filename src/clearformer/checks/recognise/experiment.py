"""What is tried on a model whose call is known, to find its other ways in: a batch, labels, and the logits of both."""

import contextlib
from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from clearformer.checks.outcome import ModelCrashed
from clearformer.checks.recognise import trial
from clearformer.checks.recognise.outputs import extract_logits
from clearformer.checks.subject import MAX_LENGTH, Subject

SPECIAL = 4
"""the tokens below are avoided where the vocabulary is large enough, since models give them meanings"""


class Experiment:
    """A subject that reads tokens, with a batch drawn for it. Runs inside `trial.trial_mode`."""

    def __init__(self, subject: Subject) -> None:
        assert subject.vocab_size is not None
        self.subject, self.model, self.kind = subject, subject.model, subject.kind
        self.length = min(trial.LENGTH, subject.context or MAX_LENGTH)
        self.generator = torch.Generator().manual_seed(0)
        self.tokens, self.labels = self.draw(self.length), self.draw(self.length)
        self.source = self.draw(min(self.length + 2, subject.context or MAX_LENGTH))

    def draw(self, length: int) -> Tensor:
        """[2, length] of random tokens that are not reserved."""
        V = self.subject.vocab_size or 0  # noqa: N806
        tokens = [token for token in range(V) if token not in self.subject.reserved]
        tokens = tokens[SPECIAL:] if len(tokens) > 2 * SPECIAL else tokens
        return torch.tensor(tokens)[torch.randint(len(tokens), (trial.ROWS, length), generator=self.generator)]

    def logits(self, tokens: Tensor) -> Tensor:
        """The logits that the subject's call gives; of an encoder-decoder for the experiment's source."""
        sources = (self.source.clone(),) if self.kind == "encoder-decoder" else ()
        return extract_logits(self.subject.call(self.model, *sources, tokens.clone())).detach()

    @cached_property
    def own_logits(self) -> Tensor:
        """Of the experiment's tokens."""
        return self.logits(self.tokens)


def attempt(function: Callable[..., Any], *arguments: Any) -> Any:
    """What the function returns for copies of the tensors; None where it raises."""
    copies = [argument.clone() if isinstance(argument, Tensor) else argument for argument in arguments]
    try:
        return function(*copies)
    except (Exception, SystemExit):  # this is not how it is called
        return None


def same(found: Tensor, expected: Tensor) -> bool:
    """Whether two outputs agree but for rounding."""
    if found.shape != expected.shape:
        return False
    return bool((found.double() - expected.double()).abs().amax() <= 1e-4 * expected.double().std().clamp(min=1e-12))


def logits_in(out: Any, vocabulary: int | None = None) -> Tensor | None:
    """The logits in an output, if there are any, and of that width."""
    with contextlib.suppress(ModelCrashed):
        logits = extract_logits(out)
        if logits.is_floating_point() and logits.dim() > 1 and vocabulary in (None, logits.shape[-1]):
            return logits
    return None
