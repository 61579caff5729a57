"""Parameters that the logits do not need: those of another output, such as a pooler's or a second head's."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from clearformer.checks.recognise import signature
from clearformer.checks.recognise.experiment import Experiment, attempt
from clearformer.checks.recognise.outputs import extract_logits


def find(experiment: Experiment) -> tuple[str, ...]:
    """Names of parameters with a gradient from another output and none from the logits.

    It is an output of the same call, or of one with a flag set that is off by default, as `return_all_heads=False`.
    """
    named = {name: weight for name, weight in experiment.model.named_parameters() if weight.requires_grad}
    with torch.enable_grad():
        sources = (experiment.source,) if experiment.kind == "encoder-decoder" else ()
        out = attempt(experiment.subject.call, experiment.model, *sources, experiment.tokens)
        logits = attempt(extract_logits, out)
        if logits is None or not logits.requires_grad or not named:
            return ()
        flagged = [attempt(_with_flag, name, experiment, sources) for name in _flags(experiment.model)]
        others = [one for one in _tensors([out, *flagged]) if one.requires_grad and one is not logits]
        if not others:
            return ()
        by_others, by_logits = attempt(_reached, _sum(others), named), attempt(_reached, logits, named)
        return () if None in (by_others, by_logits) else tuple(sorted(by_others - by_logits))


def _flags(model: Any) -> list[str]:
    return [name for name, parameter in signature.parameters(model).items() if parameter.default is False]


def _with_flag(name: str, experiment: Experiment, sources: tuple[Tensor, ...]) -> Any:
    return experiment.model(*sources, experiment.tokens, **{name: True})


def _sum(tensors: list[Tensor]) -> Tensor:
    return torch.stack([tensor.float().square().sum() for tensor in tensors]).sum()


def _reached(out: Tensor, named: Mapping[str, Tensor]) -> set[str]:
    weights = list(named.values())
    gradients = torch.autograd.grad(out.sum(), weights, retain_graph=True, allow_unused=True)
    return {name for name, gradient in zip(named, gradients, strict=True) if gradient is not None}


def _tensors(out: Any) -> Iterator[Tensor]:
    """The floating-point tensors in an output: a tuple, a dictionary, or an object with attributes."""
    if isinstance(out, Tensor):
        if out.is_floating_point():
            yield out
        return
    attributes = getattr(out, "__dict__", {})  # not of a class with slots
    items = out if isinstance(out, tuple | list) else (out if isinstance(out, Mapping) else attributes).values()
    for item in items:
        if isinstance(item, Tensor | Mapping | tuple | list):
            yield from _tensors(item)
