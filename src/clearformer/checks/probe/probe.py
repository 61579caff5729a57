"""Probe: make inputs for a subject, call its model, and read what comes back."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from clearformer.checks.load.errors import describe_error
from clearformer.checks.outcome import DoesNotApply, ModelCrashed
from clearformer.checks.recognise.outputs import extract_logits
from clearformer.checks.subject import MAX_LENGTH, Subject
from clearformer.checks.weights import independent_copy

CASTS: dict[torch.dtype, Callable[[nn.Module], nn.Module]] = {
    torch.float64: nn.Module.double,
    torch.float16: nn.Module.half,
}
"""unlike `to`, these leave complex tables of rotations as they are"""
LENGTH = 12
"""long enough for every pattern that a diagnosis distinguishes, short enough to try every position"""


@dataclass(frozen=True)
class Inputs:
    """What a model reads. Where `real` or `source_real` is None, there is no padding."""

    tokens: Tensor
    """[B, T], or vectors [B, T, D]"""
    source: Tensor | None = None
    real: Tensor | None = None
    source_real: Tensor | None = None

    def row(self, index: int) -> "Inputs":
        """One row as a batch of its own."""
        return self.map(lambda tensor: tensor[index : index + 1])

    def map(self, function: Callable[[Tensor], Tensor]) -> "Inputs":
        """Apply a function of the batch axis to all tensors."""
        others = (self.source, self.real, self.source_real)
        return Inputs(function(self.tokens), *(None if tensor is None else function(tensor) for tensor in others))

    def replace(self, **changes: Any) -> "Inputs":
        """The same inputs with other tensors."""
        return dataclasses.replace(self, **changes)


class Probe:
    """A subject under test. All its random numbers come from `seed`."""

    def __init__(self, subject: Subject, seed: int) -> None:
        self.subject = subject
        self.model = subject.model
        self.kind = subject.kind
        self.seed = seed
        self.generator = torch.Generator().manual_seed(seed)

    @property
    def module(self) -> nn.Module:
        """The model as a torch module. Raises DoesNotApply where it is none."""
        if not isinstance(self.model, nn.Module):
            raise DoesNotApply("the model is no torch.nn.Module, so its weights and gradients cannot be read")
        return self.model

    @cached_property
    def max_length(self) -> int:
        """The longest input that is tried, in tokens."""
        return min(self.subject.context or MAX_LENGTH, MAX_LENGTH)

    def length(self, wanted: int = LENGTH) -> int:
        """`wanted`, or the context where that is shorter."""
        return min(wanted, self.subject.context or wanted)

    def draw(self, *shape: int) -> Tensor:
        """Random unreserved tokens of that shape; random vectors [*shape, width] where the model reads vectors."""
        if self.subject.vocab_size is None:
            assert self.subject.width is not None
            return torch.randn(*shape, self.subject.width, generator=self.generator)
        unreserved = [token for token in range(self.subject.vocab_size) if token not in self.subject.reserved]
        return torch.tensor(unreserved)[torch.randint(len(unreserved), shape, generator=self.generator)]

    def inputs(self, rows: int, length: int | None = None, source_length: int | None = None) -> Inputs:
        """Random rows of that length; for an encoder-decoder also sources, whose length differs by default."""
        T = self.length() if length is None else length  # noqa: N806
        if self.kind != "encoder-decoder":
            return Inputs(self.draw(rows, T))
        S = source_length or self.length(LENGTH - 2)  # noqa: N806
        return Inputs(self.draw(rows, T), source=self.draw(rows, S))

    def replacements(self, tokens: Tensor) -> Tensor:
        """Random tokens of the same shape, each different from the one that it replaces."""
        if self.subject.vocab_size is None:
            return self.draw(*tokens.shape[:-1])
        new = self.draw(*tokens.shape)
        while (same := new == tokens).any():
            new[same] = self.draw(int(same.sum()))
        return new

    def logits(self, inputs: Inputs) -> Tensor:
        """Logits [B, T, V], or [B, C] of a classifier: a copy, so that a model that reuses its output cannot change it.

        Raises ModelCrashed where the model fails or returns something else. Gradients are kept where they are enabled.
        """
        subject = self.subject
        sources = () if inputs.source is None else (inputs.source,)
        if inputs.real is None and inputs.source_real is None:
            return self.read_logits(self.invoke(subject.call, *sources, inputs.tokens), inputs.tokens)
        if subject.padded is None:
            raise DoesNotApply("how to pass padding is not known; give Subject(..., padded=...)")
        masks = [_all_real(inputs.tokens) if inputs.real is None else inputs.real]
        if inputs.source is not None:
            masks.insert(0, _all_real(inputs.source) if inputs.source_real is None else inputs.source_real)
        return self.read_logits(self.invoke(subject.padded, *sources, inputs.tokens, *masks), inputs.tokens)

    def step(self, inputs: Inputs, cache: Any) -> tuple[Tensor, Any]:
        """Logits [B, T, V] of tokens that follow those in the cache, and the cache extended by them; None is empty."""
        if self.subject.step is None:
            raise DoesNotApply("how to step with a cache is not known; give Subject(..., step=...)")
        sources = () if inputs.source is None else (inputs.source,)
        return self.read_step(self.invoke(self.subject.step, *sources, inputs.tokens, cache), inputs.tokens)

    def cached_logits(self, inputs: Inputs, chunks: list[int]) -> Tensor:
        """Logits [B, T, V] computed with a cache, from chunks of these lengths."""
        assert sum(chunks) == inputs.tokens.shape[1]
        cache, outputs = None, []
        for tokens in inputs.tokens.split(chunks, dim=1):
            logits, cache = self.step(inputs.replace(tokens=tokens), cache)
            outputs.append(logits)
        return torch.cat(outputs, dim=1)

    def read_step(self, out: Any, tokens: Tensor) -> tuple[Tensor, Any]:
        """The logits and the cache that `step` or `prefill` returned. Raises ModelCrashed."""
        if not isinstance(out, tuple | list) or len(out) != 2:
            raise ModelCrashed(f"a pair (logits, cache) was expected, found {type(out).__name__}")
        return self.read_logits(out[0], tokens), out[1]

    def read_logits(self, out: Any, tokens: Tensor) -> Tensor:
        """The logits in what the model returned for these tokens, copied. Raises ModelCrashed for another shape."""
        logits = extract_logits(out)
        B, T = tokens.shape[:2]  # noqa: N806
        axes = "[B, C]" if self.kind == "classifier" else "[B, T, V]"
        expected = (B,) if self.kind == "classifier" else (B, T)
        if logits.dim() != len(expected) + 1 or tuple(logits.shape[:-1]) != expected:
            raise ModelCrashed(
                f"logits {axes} were expected, {[*expected, 'any']} for tokens [{B}, {T}], found {list(logits.shape)}"
            )
        if not logits.is_floating_point():
            raise ModelCrashed(f"logits in floating point were expected, found {logits.dtype}")
        return logits.clone()

    def invoke(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call one of the subject's functions on the model and copies of the tensors.

        Raises ModelCrashed for any error of the model.
        """
        copies = [argument.clone() if isinstance(argument, Tensor) else argument for argument in arguments]
        try:
            return function(self.model, *copies)
        except (DoesNotApply, ModelCrashed):
            raise
        except Exception as error:
            raise ModelCrashed(describe_error(error)) from error

    def clone(self, dtype: torch.dtype | None = None) -> "Probe":
        """A probe of a deep copy of the model, for what cannot be undone: another dtype, or training."""
        try:
            model = independent_copy(self.module)
        except Exception as error:
            raise DoesNotApply(f"the model cannot be copied: {describe_error(error)}") from error
        if dtype is not None:
            model = CASTS[dtype](model)
        return Probe(self.subject.with_model(model), self.seed)


def _all_real(tokens: Tensor) -> Tensor:
    return torch.ones(tokens.shape[:2], dtype=torch.bool)


def difference(a: Tensor, b: Tensor) -> Tensor:
    """The largest difference between two outputs [*, V] at each place *, in standard deviations of the logits.

    Of one number, which has no deviation, in its size.
    """
    sizes = [float(x.double().abs() if x.numel() == 1 else x.double().std()) for x in (a, b)]
    deviation = max(*sizes, 1e-12)
    largest = (a.double() - b.double()).abs().amax(-1) / deviation
    return largest.nan_to_num(nan=float("inf"), posinf=float("inf"))
