"""A model's state is put back after a check, and its weights are randomised for most checks.

Initial weights hide bugs: much is zero or nearly so, and attention is uniform.
"""

import contextlib
import copy
import math
import random
import sys
import types
from collections.abc import Collection, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

LIBRARIES = ("torch", "numpy", "transformers", "builtins", "collections", "functools", "typing")
"""packages whose objects hold no state of the user's model"""
INTERNAL = frozenset(name for name in vars(nn.Module()) if name.startswith("_"))
"""PyTorch's own attributes of a module"""


def tensors_in(value: Any, name: str = "", depth: int = 3) -> Iterator[tuple[str, Tensor]]:
    """Tensors inside nested lists, tuples, dicts, modules and plain objects, with a name such as `heads[0].weight`."""
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, nn.Module):
        yield from ((f"{name}.{inner}", weight) for inner, weight in value.named_parameters())
    elif depth:
        for part, item in _parts_of(value):
            yield from tensors_in(item, name + part, depth - 1)


def _parts_of(value: Any) -> list[tuple[str, Any]]:
    """What a list, tuple, dict or plain object holds, by `[0]`, `['key']` or `.name`; nothing for anything else."""
    if isinstance(value, list | tuple):
        return [(f"[{index}]", item) for index, item in enumerate(value)]
    if isinstance(value, dict):
        return [(f"[{key!r}]", item) for key, item in value.items()]
    return [(f".{name}", item) for name, item in vars(value).items()] if _is_plain_object(value) else []


def _is_plain_object(value: Any) -> bool:
    """Whether it is an instance of a class of the user's: no module, function or class, and nothing of a library's."""
    others = type | types.ModuleType | types.FunctionType | types.MethodType | nn.Module | Tensor
    of_library = type(value).__module__.split(".")[0] in LIBRARIES
    return hasattr(value, "__dict__") and not isinstance(value, others) and not of_library


def _attributes(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """The module's own attributes, without its parameters, buffers and submodules."""
    for name, value in vars(module).items():
        is_submodule = isinstance(value, nn.Module) and any(value is part for part in module.modules())
        if name not in INTERNAL and not is_submodule:
            yield name, value


def unregistered_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Tensors in the attributes of modules that are neither parameters nor buffers, so that no optimizer sees them."""
    registered = {id(tensor) for tensor in (*model.parameters(), *model.buffers())}
    found = {}
    for path, module in model.named_modules():
        for attribute, value in _attributes(module):
            for name, tensor in tensors_in(value, ".".join(filter(None, (path, attribute)))):
                if id(tensor) not in registered:
                    found[name] = tensor
    return found


def unregistered_modules(model: nn.Module) -> list[nn.Module]:
    """Modules inside lists, dicts and plain objects, which `train`, `eval` and `parameters` do not reach."""
    registered = {id(module) for module in model.modules()}
    held = (item for module in model.modules() for _, value in _attributes(module) for item in _values_in(value))
    return [item for item in held if isinstance(item, nn.Module) and id(item) not in registered]


def plain_objects(module: nn.Module) -> dict[str, dict[str, Any]]:
    """The attributes of the plain objects that a module holds itself, such as its configuration, by their name."""
    return {name: vars(value) for name, value in _attributes(module) if _is_plain_object(value)}


def _values_in(value: Any, depth: int = 3) -> Iterator[Any]:
    """The value, and what lists, tuples, dicts and plain objects in it hold."""
    yield value
    for _, item in _parts_of(value) if depth else ():
        yield from _values_in(item, depth - 1)


def as_written() -> contextlib.AbstractContextManager[Any]:
    """Inside, compiled code runs as it was written: each new shape would be compiled anew, which takes seconds."""
    is_imported = "torch._dynamo" in sys.modules  # which itself takes seconds
    return torch.compiler.set_stance("force_eager") if is_imported else contextlib.nullcontext()


@contextlib.contextmanager
def preserve_state(model: Any) -> Iterator[None]:
    """Restore weights, buffers, gradients, training mode, module attributes and all random states on exit.

    So are lists, dicts and plain objects in the attributes: a cache that the model has put there is removed again.
    """
    random_states = torch.get_rng_state(), random.getstate(), np.random.get_state()
    tensors: list[Tensor] = []
    gradients: list[tuple[Tensor, Tensor | None]] = []
    attributes: list[tuple[dict[Any, Any], dict[Any, Any]]] = []
    lists: list[tuple[list[Any], list[Any]]] = []
    if isinstance(model, nn.Module):
        tensors = [*model.parameters(), *model.buffers(), *unregistered_tensors(model).values()]
        gradients = [(weight, weight.grad) for weight in model.parameters()]
        for module in model.modules():
            dicts = (vars(module), module._parameters, module._buffers, module._modules)
            attributes += [(live, dict(live)) for live in dicts]
            for held in (item for _, value in _attributes(module) for item in _values_in(value)):
                if isinstance(held, list):
                    lists.append((held, list(held)))
                elif isinstance(held, dict) or _is_plain_object(held):
                    live = held if isinstance(held, dict) else vars(held)
                    attributes.append((live, dict(live)))
        for weight, _ in gradients:
            weight.grad = None
    copies = [tensor.detach().clone() for tensor in tensors]
    try:
        yield
    finally:
        for live, saved in attributes:
            live.clear()
            live.update(saved)
        for changed, items in lists:
            changed[:] = items
        with torch.no_grad():
            for tensor, values in zip(tensors, copies, strict=True):
                if not torch.equal(tensor, values):
                    tensor.copy_(values)
        for weight, gradient in gradients:
            weight.grad = gradient
        torch.set_rng_state(random_states[0])
        random.setstate(random_states[1])
        np.random.set_state(random_states[2])


def independent_copy(model: nn.Module) -> nn.Module:
    """A deep copy, of which functions that modules hold, such as a lambda that reads `self.embedding`, refer to it too.

    `copy.deepcopy` keeps functions as they are, so that the copy would compute with the weights of the original.
    """
    copies: dict[int, Any] = {}
    copied = copy.deepcopy(model, copies)
    for module in copied.modules():
        for name, value in [*vars(module).items()]:
            if isinstance(value, types.FunctionType) and value.__closure__:
                held = [cell.cell_contents for cell in value.__closure__]
                cells = tuple(types.CellType(copies.get(id(item), item)) for item in held)
                code, defaults = value.__code__, value.__defaults__
                function = types.FunctionType(code, value.__globals__, value.__name__, defaults, cells)
                function.__kwdefaults__ = value.__kwdefaults__
                vars(module)[name] = function
    return copied


@torch.no_grad()
def randomise_weights(model: Any, seed: int, factor: float = 1.0) -> None:
    """Fill matrices with normal values of standard deviation factor / sqrt(columns), and add a tenth to vectors.

    Attention is then neither uniform nor one-hot, nothing is zero, and no two heads or layers are alike. Embeddings get
    standard deviation 1 whatever the factor, as their rows are looked up and not summed.
    """
    generator = enlarge_matrices(model, seed, factor)
    for weight in _to_randomise(model):
        if weight.dim() < 2:
            weight.add_(0.1 * torch.randn(weight.shape, generator=generator).to(weight))


@torch.no_grad()
def enlarge_matrices(model: Any, seed: int, factor: float, tables: Collection[str] = ()) -> torch.Generator:
    """Fill the matrices as `randomise_weights` does, and leave vectors; the generator that has drawn the values.

    Parameters that are named in `tables` are not multiplied by the factor, since their rows are looked up.
    """
    generator = torch.Generator().manual_seed(seed)
    modules = model.modules() if isinstance(model, nn.Module) else ()
    embeddings = {id(module.weight) for module in modules if isinstance(module, nn.Embedding)}
    named = dict(model.named_parameters()) if tables else {}
    looked_up = {id(named[name]) for name in tables}
    for weight in _to_randomise(model):
        if weight.dim() > 1:
            noise = torch.randn(weight.shape, generator=generator).to(weight)
            size = (1.0 if id(weight) in looked_up else factor) / math.sqrt(weight.shape[-1])
            weight.copy_(noise if id(weight) in embeddings else noise * size)
    return generator


def _to_randomise(model: Any) -> list[Tensor]:
    """Weights that are trained, or all where none is; a frozen one may be a table of sinusoids."""
    parameters = model.parameters() if isinstance(model, nn.Module) else ()
    weights: list[Tensor] = [weight for weight in parameters if weight.is_floating_point()]
    return [weight for weight in weights if weight.requires_grad] or weights
