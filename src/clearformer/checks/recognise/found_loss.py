"""A model's own loss, in the form of `Subject.loss`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from clearformer.checks.outcome import DoesNotApply
from clearformer.checks.recognise.loss_forms import LossForm
from clearformer.checks.recognise.loss_values import IGNORE, PLAIN, Shares, Terms, read_terms
from clearformer.checks.recognise.outputs import extract_loss
from clearformer.checks.subject import Kind

Convention = Literal["given", "inside", "alone", "aligned", "whole", "three", "labels"]
DESCRIPTIONS: dict[Convention, str] = {
    "given": "labels belong to the tokens in their place, so the caller shifts them by one",
    "inside": "it shifts the labels by one itself",
    "alone": "it makes the labels from the tokens",
    "aligned": "each label belongs to the token in its place",
    "whole": "it reads the whole target and shifts it by one itself",
    "three": "the decoder's tokens and the labels are given apart",
    "labels": "it makes the decoder's tokens from the labels",
}
MaskMeaning = Literal["1 is real", "True hides", "lengths"]


@dataclass(frozen=True)
class FoundLoss:
    """A form of call, and what it expects of its labels."""

    form: LossForm
    convention: Convention
    kind: Kind
    forward: Callable[..., Any]
    """the subject's call, for the model's own logits"""
    ignored: int | None = None
    """the label that it ignores"""
    mask: MaskMeaning | None = None
    """what its mask says of the labels, if it takes one"""
    pad: int = 0
    start: int = 0
    shares: Shares | None = None
    """of its terms; None where it is no cross-entropy of the model's logits"""
    is_added_to: bool = False
    """whether something that no label changes is added, as what balances experts; it is taken out"""

    def __call__(self, model: Any, *arguments: Tensor) -> Tensor:
        """(model, tokens, labels) or (model, source, labels) -> mean loss. Raises DoesNotApply, ModelCrashed.

        A smoothing that PyTorch's cross-entropy does not have is taken out, and so is what is added to it.
        """
        inputs, labels = arguments
        if (labels == IGNORE).any() and self.ignored is None and self.mask is None:
            raise DoesNotApply(f"{self.form.description} was tried with {IGNORE}, -1 and padding, and ignores no label")
        value = self.value(model, inputs, labels)
        if self.is_added_to:
            return value - self.added(model, inputs, labels.masked_fill(labels == IGNORE, int(labels.max())))
        if self.shares is None or self.smoothing is not None:
            return value
        return self.shares.label_loss(value, self.terms(model, inputs, labels))

    def value(self, model: Any, inputs: Tensor, labels: Tensor) -> Tensor:
        """What the model itself computes, of tensors that `view` can read, as those of a data loader."""
        masks = {} if self.mask is None else {"mask": self.arrange_mask(labels)}
        arguments = [tensor.contiguous() for tensor in self.arrange(inputs, labels)]
        return extract_loss(self.form.run(model, *arguments, **masks))

    def added(self, model: Any, inputs: Tensor, labels: Tensor) -> float:
        """What the value is above the cross-entropy of these labels, of which all count."""
        return float(self.value(model, inputs, labels).detach()) - self.terms(model, inputs, labels).label

    def terms(self, model: Any, inputs: Tensor, labels: Tensor) -> Terms:
        """The terms of what it should be."""
        return read_terms(self.forward, self.kind, model, inputs, labels, self.start, self.pad)

    @property
    def smoothing(self) -> float | None:
        return (self.shares or PLAIN).smoothing

    @property
    def matched(self) -> bool:
        """Whether its value is the cross-entropy of the model's logits."""
        return self.shares is not None

    def arrange(self, tokens: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
        """What the form is given: for a causal model the tokens and their labels, for an encoder-decoder the source."""
        hidden = labels == IGNORE
        if self.convention == "alone" and self.mask is not None:
            return (tokens.masked_fill(hidden, self.pad),)
        if self.mask is not None:  # only the mask says which labels do not count
            labels = labels.masked_fill(hidden, int(tokens[0, 0]))
        elif self.ignored is not None:
            labels = labels.masked_fill(hidden, self.ignored)
        if self.convention == "given":
            return tokens[:, :-1], labels[:, 1:]
        if self.convention == "alone":
            return (tokens if self.ignored is None else tokens.masked_fill(hidden, self.ignored),)
        if self.kind != "encoder-decoder" or self.convention == "labels":
            return tokens, labels
        start = torch.full_like(labels[:, :1], self.start)
        if self.convention == "whole":
            if (labels < 0).any():
                raise DoesNotApply(f"{self.form.description} reads its labels, and has no padding token to hide one")
            return tokens, torch.cat([start, labels], dim=1)
        decoder_tokens = torch.cat([start, labels[:, :-1]], dim=1)
        return tokens, decoder_tokens.masked_fill(decoder_tokens < 0, self.pad), labels

    def arrange_mask(self, labels: Tensor) -> Tensor:
        """The mask that goes with the labels."""
        real = labels[:, 1:] != IGNORE if self.convention == "given" else labels != IGNORE
        if self.mask == "lengths":
            if (real[:, 1:] & ~real[:, :-1]).any():
                raise DoesNotApply(f"{self.form.description} takes lengths, which cannot hide labels inside a row")
            return real.sum(-1)
        return ~real if self.mask == "True hides" else real.long()

    @property
    def by_forward(self) -> bool:
        """Whether it is the model's call and no method."""
        return self.form.description.startswith("model(")

    @property
    def description(self) -> str:
        hides = " A mask says which count." if self.mask else ""
        added = " Something is added that no label changes." if self.is_added_to else ""
        smoothing = " Its targets are smoothed." if (self.shares or PLAIN).vocabulary > 0 else ""
        return f"{self.form.description}: {DESCRIPTIONS[self.convention]}.{hides}{smoothing}{added}"
