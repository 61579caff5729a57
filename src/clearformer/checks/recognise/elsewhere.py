"""Parameters that the logits do not need: those of another output, such as a pooler's, a second head's or a loss's."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from clearformer.checks.recognise import heads, loss_forms, signature
from clearformer.checks.recognise.experiment import Experiment, attempt
from clearformer.checks.recognise.outputs import extract_logits, tensors_in


def find(experiment: Experiment) -> tuple[str, ...]:
    """Names of parameters with a gradient from another output and none from the logits.

    It is an output of the same call, or of one with a flag set that is off by default, as `return_all_heads=False`; or
    one of the model's losses, as where a random field scores labels that follow each other.
    """
    named = {name: weight for name, weight in experiment.model.named_parameters() if weight.requires_grad}
    with torch.enable_grad():
        sources = (experiment.source,) if experiment.kind == "encoder-decoder" else ()
        calls = (experiment.subject.call, heads.unarranged(experiment.subject.call))
        read, out = (attempt(call, experiment.model, *sources, experiment.tokens) for call in calls)
        logits = attempt(extract_logits, read)
        if logits is None or not logits.requires_grad or not named:
            return ()
        flagged = [attempt(_with_flag, name, experiment, sources) for name in _flags(experiment.model)]
        compared = [attempt(_of_pairs, experiment)] if heads.gives_its_loss(experiment.subject.call) else []
        found = [out, *flagged, *compared, *_losses(experiment, sources)]
        others = [one for one in tensors_in(found) if one.requires_grad]
        by_others, by_logits = attempt(_reached, _sum([*others, logits]), named), attempt(_reached, logits, named)
        return () if None in (by_others, by_logits) else tuple(sorted(by_others - by_logits))


def _flags(model: Any) -> list[str]:
    return [name for name, parameter in signature.parameters(model).items() if parameter.default is False]


def _with_flag(name: str, experiment: Experiment, sources: tuple[Tensor, ...]) -> Any:
    return signature.give(experiment.model, *sources, experiment.tokens, **{name: True})


def _of_pairs(experiment: Experiment) -> Any:
    """What the model gives where it takes several texts and compares them, each with the method that is called."""
    required = signature.required(signature.parameters(experiment.model))
    return experiment.model(*(experiment.tokens for _ in required))


def _losses(experiment: Experiment, sources: tuple[Tensor, ...]) -> list[Any]:
    """What each form of a loss gives, of labels for which the logits have a place; None where it fails."""
    places = experiment.own_logits.shape[-1]
    rows = torch.arange(len(experiment.tokens))
    labels = (rows if experiment.kind == "classifier" else experiment.labels) % places
    found = []
    for form in loss_forms.forms(experiment.subject):
        masks = {"mask": torch.ones_like(experiment.tokens)} if form.needs_mask else {}
        targets = (labels,) if form.takes_labels else ()
        found.append(attempt(partial(form.run, **masks), experiment.model, *sources, experiment.tokens, *targets))
    for name in signature.methods(experiment.model, loss_forms.METHODS) if experiment.kind == "classifier" else ():
        method = signature.method(experiment.model, name)
        texts = signature.required(signature.parameters(method))  # two or more, which are compared with each other
        found.append(attempt(method, *(experiment.tokens for _ in texts)))
    return found


def _sum(tensors: list[Tensor]) -> Tensor:
    return torch.stack([tensor.float().square().sum() for tensor in tensors]).sum()


def _reached(out: Tensor, named: Mapping[str, Tensor]) -> set[str]:
    weights = list(named.values())
    gradients = torch.autograd.grad(out.sum(), weights, retain_graph=True, allow_unused=True)
    return {name for name, gradient in zip(named, gradients, strict=True) if gradient is not None}
