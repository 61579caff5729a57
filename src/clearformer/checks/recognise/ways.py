"""The ways into a model beside its call, which is known by now: losses, steps, writing, and paths to logits."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn

from clearformer.checks.recognise import (
    competing,
    elsewhere,
    generation,
    heads,
    hugging_face_calls,
    losses,
    pair_steps,
    paths,
    separators,
    signature,
    steps,
)
from clearformer.checks.recognise.experiment import Experiment, attempt
from clearformer.checks.subject import Subject

WRITERS = ("causal", "encoder-decoder")
"""kinds of models that write text"""


def complete(subject: Subject) -> Subject:
    """The subject with what its model offers and its recogniser did not find.

    Models of libraries, those that read vectors, those that read tokens [T, B] and those whose logits stand at what
    they predict are returned unchanged.
    """
    if (
        not isinstance(subject.model, nn.Module)
        or subject.vocab_size is None
        or signature.is_of_a_library(subject.model)
        or heads.changes_axes_or_places(subject.call)
    ):
        return subject
    experiment = Experiment(subject)
    if attempt(lambda: experiment.own_logits) is None:  # the checks will say how it crashes
        return subject
    if apart := separators.find(experiment):
        said = (f"token {', '.join(map(str, apart))}: begins a new text, which does not see what came before",)
        subject = dataclasses.replace(subject, reserved=(*subject.reserved, *apart), ways=(*subject.ways, *said))
        experiment = Experiment(subject)
    if by_rows := competing.alone(subject, experiment):
        found_losses = [one for one in losses.find(experiment) if one.matched][:1]
        loss = partial(competing.loss_of_rows, found_losses[0]) if found_losses else None
        elsewhere_learned = elsewhere.find(experiment)
        return dataclasses.replace(by_rows, loss=loss, learned_elsewhere=elsewhere_learned)
    found = [
        loss_fields(experiment) if subject.loss is None else _added_to(experiment),
        step_fields(experiment) if subject.step is None and subject.kind in WRITERS else {},
        generate_fields(experiment) if subject.generate is None and subject.kind in WRITERS else {},
        path_fields(experiment),
        paths.find_filling(experiment) if subject.kind == "bidirectional" else {},
        {} if subject.learned_elsewhere else {"learned_elsewhere": elsewhere.find(experiment)},
    ]
    sentences = [sentence for fields in found for sentence in fields.pop("ways", ())]
    together: dict[str, Any] = {name: value for fields in found for name, value in fields.items()}
    if {"loss", "start"} <= together.keys():  # a loss that is given the decoder's tokens takes any for the first
        together["loss"] = dataclasses.replace(together["loss"], start=together["start"])
    return dataclasses.replace(subject, ways=(*subject.ways, *sentences), **together)


def loss_fields(experiment: Experiment, only: str | None = None) -> dict[str, Any]:
    """The fields of Subject for the losses that are found; empty where there are none. So are the functions below."""
    found = losses.find(experiment, only)
    if not found:
        return {}
    first, *others = found
    if first.mask is not None:  # its labels are all tokens, so that no method needs to ignore one
        others = [one if one.by_forward else dataclasses.replace(one, ignored=None) for one in others]
    fields: dict[str, Any] = {
        "loss": first,
        "smoothing": first.smoothing or 0.0,
        "losses": {one.form.description: one for one in others},
        "ways": tuple(one.description for one in found),
    }
    if experiment.kind == "encoder-decoder":
        start = first.start if first.matched else signature.declared(experiment.model, generation.START_TOKENS)
        fields |= {} if start is None else {"start": start, "reserved": (*{*experiment.subject.reserved, start},)}
    reserved = experiment.subject.reserved
    if first.ignored is not None and first.ignored >= 0 and first.ignored not in reserved:
        fields |= {"reserved": (*fields.get("reserved", reserved), first.ignored)}
        fields |= {} if reserved else {"pad": first.ignored}
    return fields


def _added_to(experiment: Experiment) -> dict[str, Any]:
    """The loss of a model in the manner of transformers, where something else is added to it, as for experts."""
    if experiment.subject.loss is not hugging_face_calls.loss:
        return {}
    found = [one for one in losses.find(experiment, "forward") if one.is_added_to]
    return {"loss": found[0], "ways": (found[0].description,)} if found else {}


def step_fields(experiment: Experiment, only: str | None = None) -> dict[str, Any]:
    candidates = pair_steps.candidates if experiment.kind == "encoder-decoder" else steps.candidates
    found = steps.find(experiment, only, candidates)
    if not found:
        return {}
    first, *others = found
    return {
        "step": first,
        "keeps_cache": first.keeps_cache,
        "steps": {one.description: one for one in others},
        "ways": tuple(f"{one.description}: {steps.describe(one)}" for one in found),
    }


def generate_fields(experiment: Experiment, only: str | None = None) -> dict[str, Any]:
    found, errors = generation.find(experiment, only)
    if prefix := next(filter(signature.is_prefix, signature.parameters(experiment.model)), ""):
        return {"ways": tuple(f"{one.description}: not compared, since it may give {prefix}" for one in found)}
    said = [f"{one.description}: writes text" for one in found]
    said += [f"model.{method} was not understood: {error}" for method, error in errors.items()]
    if not found:
        return {"ways": tuple(said)}
    first, *others = found
    fields: dict[str, Any] = {
        "generate": first,
        "generators": {one.description: one for one in others},
        "samplers": {name: one for each in found for name, one in generation.samplers(experiment, each).items()},
        "end": generation.end_token(experiment.model),
        "ways": tuple(said),
    }
    if first.start is not None:
        fields |= {"start": first.start}
    return fields


def path_fields(experiment: Experiment) -> dict[str, Any]:
    found = paths.find(experiment) if experiment.kind == "causal" else []
    return {
        "paths": {one.description: one for one in found},
        "positions": paths.find_positions(experiment),
        "ways": tuple(f"{one.description}: another path to the logits" for one in found),
    }


FIELDS: dict[str, Callable[[Experiment, str | None], dict[str, Any]]] = {
    "loss": loss_fields,
    "step": step_fields,
    "generate": generate_fields,
}
"""by the field of Subject; the second argument is the only method that is tried"""
