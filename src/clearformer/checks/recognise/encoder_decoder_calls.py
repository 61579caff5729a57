"""Ways to call an encoder-decoder, and which of them it understands."""

import inspect
import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from clearformer.checks.recognise import introspection, masks
from clearformer.checks.recognise.outputs import extract_logits

OF_SOURCE = ("src", "source", "enc", "memory")
OF_TARGET = ("tgt", "trg", "target", "dec")


def is_of(name: str, words: tuple[str, ...]) -> bool:
    """Whether one of the parts of a name begins so, as in `src_mask`; "sequence" is not of "enc"."""
    return any(part.startswith(words) for part in name.lower().split("_"))


def of_target(names: Iterable[str]) -> set[str]:
    """Which of these masks are the target's: so named, or, beside one of the source's, named after neither."""
    names = set(names)
    of_source = {name for name in names if is_of(name, OF_SOURCE) and not is_of(name, OF_TARGET)}
    return {name for name in names - of_source if of_source or is_of(name, OF_TARGET)}


def is_of_padding(name: str) -> bool:
    return "pad" in name or "real" in name


@dataclass(frozen=True)
class Way:
    """What the source and the target are called, and the masks that are given, each with its convention."""

    source: str
    target: str
    forms: Mapping[str, masks.Convention]

    def __call__(self, model: Any, source: Tensor, target: Tensor, source_real: Tensor, real: Tensor) -> Any:
        given = {name: form.build(self.mask(name, form, source_real, real)) for name, form in self.forms.items()}
        return model(**{self.source: source, self.target: target}, **given)

    def mask(self, name: str, form: masks.Convention, source_real: Tensor, real: Tensor) -> Tensor:
        """The target's for each query is causal; the source's for each query hides nothing."""
        if name in of_target(self.forms):
            return masks.causal(real) if form.each else masks.of_real(real)
        S = source_real.shape[1]  # noqa: N806
        return torch.ones(1, 1, S, S, dtype=torch.bool) if form.each else masks.of_real(source_real)

    def unpadded(self, model: Any, source: Tensor, target: Tensor) -> Any:
        return self(model, source, target, *(torch.ones(x.shape[:2], dtype=torch.bool) for x in (source, target)))

    @property
    def words(self) -> str:
        masks = (f"{name} {form.words}" for name, form in self.forms.items())
        return f"model({', '.join((self.source, self.target, *masks))})"


class Finder:
    """Looks for a way to call the model that runs, and hides what it should."""

    def __init__(
        self, model: Any, source: Tensor, tokens: Tensor, names: tuple[str, str], takes: Mapping[str, inspect.Parameter]
    ) -> None:
        self.model, self.source, self.tokens, self.names = model, source, tokens, names
        self.masks = [name for name in takes if name not in names and ("mask" in name or is_of_padding(name))]
        self.of_source = set(self.masks) - of_target(self.masks)
        self.needed = [name for name in self.masks if takes[name].default is inspect.Parameter.empty]
        self.words = ""

    def called(self) -> Way | None:
        """With the masks that must be given, unless only others hide the future."""
        plain = self.choose(self.needed)
        if self.masks != self.needed and (plain is None or not self.hides_the_future(plain)):
            full = self.choose(self.masks)
            if full is not None and (plain is None or self.hides_the_future(full)):
                return full
        return plain

    def padded(self) -> Way | None:
        """With all masks, if there is one for the source."""
        return self.choose(self.masks) if self.of_source else None

    def choose(self, names: list[str]) -> Way | None:
        return masks.choose(
            self.ways(names), self.runs, lambda way: self.hides_the_future(way) and self.hides_padding(way)
        )

    def ways(self, names: list[str]) -> Iterator[Way]:
        if not names:
            yield Way(*self.names, {})
            return
        ranks = sorted(itertools.product((4, 3, 2), repeat=2), key=lambda pair: pair[0] != pair[1])
        for by_itself, meaning, (of_all, of_each) in itertools.product((False, True), masks.MEANINGS, ranks):
            each = {name for name in names if self.is_for_each_query(name, by_itself)}
            yield Way(
                *self.names,
                {name: masks.Convention(meaning, of_each if name in each else of_all, name in each) for name in names},
            )

    def is_for_each_query(self, name: str, by_itself: bool) -> bool:
        """A target's is, unless the model hides the future `by_itself`; a source's, if another is for its padding."""
        if name not in self.of_source:
            return not is_of_padding(name) and not by_itself
        return not is_of_padding(name) and any(is_of_padding(other) for other in self.of_source)

    def runs(self, way: Way) -> bool:
        out, said = introspection.tried(partial(way.unpadded, self.model), self.source, self.tokens)
        self.words = self.words or f"  {way.words}: {said}"
        return out is not None and out.is_floating_point() and out.dim() == 3 and out.shape[:2] == self.tokens.shape[:2]

    def hides_the_future(self, way: Way) -> bool:
        return masks.hides_the_future(
            lambda given: extract_logits(way.unpadded(self.model, self.source, given)), self.tokens
        )

    def hides_padding(self, way: Way) -> bool:
        """Of the source, where the way has a mask for it."""
        real = torch.ones(self.tokens.shape[:2], dtype=torch.bool)
        return not way.forms.keys() & self.of_source or masks.hides_padding(
            lambda given, given_real: extract_logits(way(self.model, given, self.tokens, given_real, real)), self.source
        )
