"""Probe: what a check may do with a subject: make inputs, change them, call the model and read what comes back."""

import copy
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

LENGTH = 12
"""long enough for every pattern that a diagnosis tells apart, short enough for every position to be tried"""


@dataclass(frozen=True)
class Inputs:
    """What a model reads. Where `real` or `source_real` is None, all are real."""

    tokens: Tensor
    """[B, T], or vectors [B, T, D]"""
    source: Tensor | None = None
    real: Tensor | None = None
    source_real: Tensor | None = None

    def row(self, index: int) -> "Inputs":
        """One row as a batch of its own."""
        return self.map(lambda tensor: tensor[index : index + 1])

    def map(self, change: Callable[[Tensor], Tensor]) -> "Inputs":
        """The same change to all tensors, along the rows."""
        others = (self.source, self.real, self.source_real)
        return Inputs(change(self.tokens), *(None if tensor is None else change(tensor) for tensor in others))

    def replace(self, **changes: Any) -> "Inputs":
        """The same with other tensors."""
        return dataclasses.replace(self, **changes)


class Probe:
    """A subject under test. All randomness comes from `seed`."""

    def __init__(self, subject: Subject, seed: int) -> None:
        self.subject = subject
        self.model = subject.model
        self.kind = subject.kind
        self.seed = seed
        self.generator = torch.Generator().manual_seed(seed)

    @property
    def module(self) -> nn.Module:
        """The model, where it is a torch module."""
        if not isinstance(self.model, nn.Module):
            raise DoesNotApply("the model is no torch.nn.Module, so its weights and gradients cannot be seen")
        return self.model

    @cached_property
    def max_length(self) -> int:
        """The longest input that is tried."""
        return min(self.subject.context or MAX_LENGTH, MAX_LENGTH)

    def length(self, wanted: int = LENGTH) -> int:
        """`wanted`, or the context where that is shorter."""
        return min(wanted, self.subject.context or wanted)

    def draw(self, *shape: int) -> Tensor:
        """Random tokens of that shape, or vectors where the model reads vectors; reserved tokens are not drawn."""
        if self.subject.vocab_size is None:
            assert self.subject.width is not None
            return torch.randn(*shape, self.subject.width, generator=self.generator)
        free = [token for token in range(self.subject.vocab_size) if token not in self.subject.reserved]
        return torch.tensor(free)[torch.randint(len(free), shape, generator=self.generator)]

    def inputs(self, rows: int, length: int | None = None, source_length: int | None = None) -> Inputs:
        """Random rows of that length; an encoder-decoder also gets sources, by default two tokens shorter or longer."""
        T = self.length() if length is None else length  # noqa: N806
        if self.kind != "encoder-decoder":
            return Inputs(self.draw(rows, T))
        S = source_length or self.length(LENGTH - 2)  # noqa: N806
        return Inputs(self.draw(rows, T), source=self.draw(rows, S))

    def other(self, tokens: Tensor) -> Tensor:
        """Tokens of the same shape, each of which differs from the one in its place."""
        if self.subject.vocab_size is None:
            return self.draw(*tokens.shape[:-1])
        new = self.draw(*tokens.shape)
        while (same := new == tokens).any():
            new[same] = self.draw(int(same.sum()))
        return new

    def logits(self, inputs: Inputs) -> Tensor:
        """[B, T, V], or [B, C] of a classifier: a copy, so that a model that returns a view cannot change it later.

        Raises ModelCrashed where the model fails or returns something else. Gradients are kept if they are enabled.
        """
        subject = self.subject
        sources = () if inputs.source is None else (inputs.source,)
        if inputs.real is None and inputs.source_real is None:
            out = self.invoke(subject.call, *sources, inputs.tokens)
        else:
            if subject.padded is None:
                raise DoesNotApply("how to pass padding is not known; give Subject(..., padded=...)")
            real = torch.ones(inputs.tokens.shape[:2], dtype=torch.bool) if inputs.real is None else inputs.real
            if inputs.source is None:
                out = self.invoke(subject.padded, inputs.tokens, real)
            else:
                S = inputs.source.shape[:2]  # noqa: N806
                of_source = torch.ones(S, dtype=torch.bool) if inputs.source_real is None else inputs.source_real
                out = self.invoke(subject.padded, inputs.source, inputs.tokens, of_source, real)
        return self.read(out, inputs.tokens)

    def step(self, inputs: Inputs, cache: Any) -> tuple[Tensor, Any]:
        """Logits of tokens that come after those in the cache, and the cache with them; it is None at first."""
        if self.subject.step is None:
            raise DoesNotApply("how to step with a cache is not known; give Subject(..., step=...)")
        sources = () if inputs.source is None else (inputs.source,)
        return self.pair(self.invoke(self.subject.step, *sources, inputs.tokens, cache), inputs.tokens)

    def steps(self, inputs: Inputs, pieces: list[int]) -> Tensor:
        """Logits with a cache, the tokens given in pieces of these lengths."""
        assert sum(pieces) == inputs.tokens.shape[1]
        cache, done = None, []
        for tokens in inputs.tokens.split(pieces, dim=1):
            logits, cache = self.step(inputs.replace(tokens=tokens), cache)
            done.append(logits)
        return torch.cat(done, dim=1)

    def pair(self, out: Any, tokens: Tensor) -> tuple[Tensor, Any]:
        """What `step` or `prefill` gave back: logits and a cache."""
        if not isinstance(out, tuple | list) or len(out) != 2:
            raise ModelCrashed(f"a pair (logits, cache) was expected, found {type(out).__name__}")
        return self.read(out[0], tokens), out[1]

    def read(self, out: Any, tokens: Tensor) -> Tensor:
        """What came back, as a tensor of the right shape."""
        logits = extract_logits(out)
        B, T = tokens.shape[:2]  # noqa: N806
        wanted = "[B, C]" if self.kind == "classifier" else "[B, T, V]"
        right = (B,) if self.kind == "classifier" else (B, T)
        if logits.dim() != len(right) + 1 or tuple(logits.shape[:-1]) != right:
            raise ModelCrashed(
                f"logits {wanted} were expected, {[*right, 'any']} for tokens [{B}, {T}], found {list(logits.shape)}"
            )
        if not logits.is_floating_point():
            raise ModelCrashed(f"logits in floating point were expected, found {logits.dtype}")
        return logits.clone()

    def invoke(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call one of the subject's functions on the model; what it raises becomes ModelCrashed."""
        handed = [argument.clone() if isinstance(argument, Tensor) else argument for argument in arguments]
        try:
            return function(self.model, *handed)
        except (DoesNotApply, ModelCrashed):
            raise
        except Exception as error:
            raise ModelCrashed(describe_error(error)) from error

    def clone(self, dtype: torch.dtype | None = None) -> "Probe":
        """A copy of the model with the same weights, for what cannot be undone: another dtype, or training."""
        try:
            model = copy.deepcopy(self.module)
        except Exception as error:
            raise DoesNotApply(f"the model cannot be copied: {describe_error(error)}") from error
        if dtype is not None:
            model = model.to(dtype)
        return Probe(self.subject.with_model(model), self.seed)


def difference(a: Tensor, b: Tensor) -> Tensor:
    """How far two outputs are apart at each place [B, T] (or [B]), as a share of how far logits spread."""
    spread = max(float(a.double().std()), float(b.double().std()), 1e-12)
    apart = (a.double() - b.double()).abs().amax(-1) / spread
    return apart.nan_to_num(nan=float("inf"), posinf=float("inf"))
