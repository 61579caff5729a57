"""A step of an encoder-decoder with a cache: it takes the decoder's tokens, and the source or what encodes it."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from clearformer.checks.recognise import signature, steps
from clearformer.checks.recognise.encoder_decoder_calls import SOURCE_WORDS, has_word, is_padding_mask
from clearformer.checks.recognise.experiment import Experiment, attempt
from clearformer.checks.recognise.steps import FoundStep, Given, StepForm, Unit

ENCODERS = ("encode", "encoder", "encoding")
ENCODED = ("enc", "memory")
MaskForm = Callable[[Tensor], Tensor | None]
MASKS: tuple[MaskForm, ...] = (
    lambda source: torch.ones(len(source), 1, 1, source.shape[1], dtype=torch.bool),
    lambda source: torch.ones_like(source, dtype=torch.bool),
    lambda _source: None,
)
"""what a mask of the source may be, where it is required and there is no padding"""


@dataclass(frozen=True)
class FoundPairStep:
    """A step in the form of `Subject.step`. Its cache is what stays the same, and the cache of the step itself."""

    step: FoundStep
    prepare: Callable[[Any, Tensor], Given]
    """(model, source) -> what each step is given beside the tokens, and what an empty cache is made of"""

    @property
    def description(self) -> str:
        return self.step.description

    @property
    def unit(self) -> Unit:
        return self.step.unit

    @property
    def keeps_cache(self) -> bool:
        return self.step.keeps_cache

    def __call__(self, model: Any, source: Tensor, tokens: Tensor, cache: Any) -> tuple[Tensor, Any]:
        given, kept = (self.prepare(model, source), None) if cache is None else cache
        logits, kept = self.step(model, tokens, kept, given)
        return logits, (given, kept)


def candidates(experiment: Experiment, name: str, certain: bool) -> Iterator[tuple[FoundPairStep, bool]]:
    """Forms of a step by this method, and whether they surely take a cache."""
    parameters = signature.parameters(signature.method(experiment.model, name))
    required = signature.required(parameters)
    rest = [one for one in parameters if not _is_of_source(one)]
    caches = [one for one in rest if steps.may_be_cache(one, parameters)]
    positions = [one for one in rest if signature.has_word(one, steps.POSITIONS) and one not in caches]
    tokens = next((one for one in rest if one not in {*caches, *positions}), "")
    others = tuple(one for one in required if one not in {tokens, *caches, *positions})
    spread = [partial(_spread, encoder, others) for encoder in _encoders_of(experiment, len(others))]
    if len(caches) != 1 or not tokens or not (spread or all(map(_is_of_source, others))):
        return
    flags = tuple(one for one in rest if steps.is_flag(one, parameters))
    certain = certain or (steps.is_step(name) and signature.has_word(caches[0], steps.CACHES))
    for prepare, unit, initial, position in itertools.product(
        spread or _preparations(experiment, others),
        steps.UNITS,
        [*steps.initial_caches(experiment, takes_cache=True)],
        [*positions[:1], ""],
    ):
        form = StepForm(name, tokens, caches[0], position, flags, others)
        yield FoundPairStep(FoundStep(form, initial, experiment.own_logits.shape[-1], unit), prepare), certain


def _is_of_source(name: str) -> bool:
    return "mask" in name or is_padding_mask(name) or has_word(name, SOURCE_WORDS)


def _encoders_of(experiment: Experiment, count: int) -> list[str]:
    """Methods that turn the source into a tuple of so many tensors, such as what is encoded and its mask."""
    made = {
        name: attempt(signature.method(experiment.model, name), experiment.source)
        for name in signature.methods(experiment.model, ENCODERS)
    }
    return [name for name, out in made.items() if isinstance(out, tuple) and len(out) == count > 1]


def _spread(encoder: str, names: tuple[str, ...], model: Any, source: Tensor) -> Given:
    """What a method makes of the source, under the names that the step gives to it."""
    return dict(zip(names, signature.method(model, encoder)(source), strict=True))


def _preparations(experiment: Experiment, others: tuple[str, ...]) -> Iterator[Callable[[Any, Tensor], Given]]:
    """With each method or part of the model that may encode the source, and each form of a mask."""
    model = experiment.model
    makers = steps.factories(model)
    made_of = [one for maker in makers for one in _required(model, maker) if _is_of_source(one)]
    names = (*others, *made_of)
    parts = [name for name, _ in model.named_children() if name in ENCODERS]
    encoders = [*signature.methods(model, ENCODERS), *parts] if any(has_word(one, ENCODED) for one in names) else [None]
    for encoder in encoders:
        masked = [*names, *([] if encoder is None else _required(model, encoder))]
        for form in MASKS if any("mask" in one for one in masked) else MASKS[:1]:
            prepare = partial(_prepare, encoder, form, names)
            if attempt(prepare, model, experiment.source) is not None:
                yield prepare


def _required(model: Any, name: str) -> list[str]:
    return signature.required(signature.parameters(signature.method(model, name)))


def _prepare(encoder: str | None, form: MaskForm, names: tuple[str, ...], model: Any, source: Tensor) -> Given:
    """The arguments of these names: masks, the encoded source, or the source itself."""
    memory: Any = None
    if encoder is not None:
        masks = {one: form(source) for one in _required(model, encoder) if "mask" in one}
        memory = signature.method(model, encoder)(source, **masks)
    return {
        one: form(source) if "mask" in one or is_padding_mask(one) else memory if has_word(one, ENCODED) else source
        for one in names
    }
