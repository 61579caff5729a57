"""Does the optimizer that the model makes train all of its weights, each once?"""

from collections import Counter
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from clearformer.checks.models.gradients import list_names
from clearformer.checks.outcome import DoesNotApply, Outcome, failed, passed
from clearformer.checks.probe.probe import Probe
from clearformer.checks.recognise import signature
from clearformer.checks.recognise.experiment import attempt

METHODS = ("optimizer", "optimizers", "optim")
"""words in the name of a method that makes one, as `configure_optimizers`"""
SETTINGS: dict[str, Any] = {
    **dict.fromkeys(("learning_rate", "lr", "max_lr"), 1e-3),
    **dict.fromkeys(("weight_decay", "wd"), 0.1),
    **dict.fromkeys(("device_type", "device"), "cpu"),
    **{"betas": (0.9, 0.95), "beta1": 0.9, "beta2": 0.95, "eps": 1e-8},
}
"""what such methods take, by its name"""
OBJECTS = (*signature.CONFIGS, "train_config", "training_config", "train_args")
"""names of an object that holds them"""


def optimizer(probe: Probe) -> Outcome:
    """The optimizer that the model makes trains all of its weights, each once.

    A method such as `configure_optimizers` sorts parameters into groups, or passes those of one part. What it leaves
    out stays as it was at the start; nothing fails, and the loss falls by what the other weights can do.

    The method is called with usual settings, and every parameter that is not frozen must be in a group of one of its
    optimizers.
    """
    names = signature.methods(probe.module, METHODS)
    if not names:
        raise DoesNotApply("it has no method that makes an optimizer")
    for name in names:
        made = [*_optimizers(_call(probe.module, name))]
        if made:
            return _compare(probe.module, name, made)
    raise DoesNotApply(f"model.{names[0]} could not be called with usual settings, or makes no optimizer")


def _call(model: nn.Module, name: str) -> Any:
    method = signature.method(model, name)
    required = signature.required(signature.parameters(method))
    settings = SETTINGS | dict.fromkeys(OBJECTS, SimpleNamespace(**SETTINGS))
    return attempt(method, *(settings.get(each) for each in required))


def _optimizers(made: Any, depth: int = 3) -> Iterator[torch.optim.Optimizer]:
    """All in what the method returns: one, or some in a tuple, a list or a dictionary, perhaps beside schedules."""
    if isinstance(made, torch.optim.Optimizer):
        yield made
    elif isinstance(made, tuple | list | Mapping) and depth:
        for item in made.values() if isinstance(made, Mapping) else made:
            yield from _optimizers(item, depth - 1)


def _compare(model: nn.Module, name: str, made: list[torch.optim.Optimizer]) -> Outcome:
    counts = Counter(id(weight) for one in made for group in one.param_groups for weight in group["params"])
    learned = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    missing = [each for each, weight in learned.items() if not counts[id(weight)]]
    twice = [each for each, weight in learned.items() if counts[id(weight)] > 1]
    if missing:
        return failed(
            "left-out",
            len(missing),
            0,
            case=f"model.{name}() leaves out {len(missing)} of {len(learned)} parameters: {list_names(missing)}",
            diagnosis="They are never trained: pass the parameters of the whole model, or freeze them by "
            "requires_grad_(False) if that is meant.",
        )
    if twice:
        return failed(
            "twice",
            len(twice),
            0,
            case=f"model.{name}() has {len(twice)} parameters in two optimizers: {list_names(twice)}",
            diagnosis="Each step changes them twice.",
        )
    return passed(0, 0, f"model.{name}() has all {len(learned)} parameters")
