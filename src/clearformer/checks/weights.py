"""A model's state is put back after a check, and its weights are randomised for most checks.

Initial weights hide bugs: much is zero or nearly so, and attention is uniform.
"""

import contextlib
import math
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


def tensors_in(value: Any, name: str = "", depth: int = 3) -> Iterator[tuple[str, Tensor]]:
    """Tensors inside nested lists, tuples, dicts and modules, with a name such as `heads[0].weight`."""
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, nn.Module):
        yield from ((f"{name}.{inner}", weight) for inner, weight in value.named_parameters())
    elif depth and isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from tensors_in(item, f"{name}[{index}]", depth - 1)
    elif depth and isinstance(value, dict):
        for key, item in value.items():
            yield from tensors_in(item, f"{name}[{key!r}]", depth - 1)


def unregistered_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Tensors in the attributes of modules that are neither parameters nor buffers, so that no optimizer sees them."""
    registered = {id(tensor) for tensor in (*model.parameters(), *model.buffers())}
    found = {}
    for path, module in model.named_modules():
        for attribute, value in vars(module).items():
            if attribute.startswith("_") and attribute in nn.Module().__dict__:
                continue
            submodules = {id(part) for part in module.modules()}
            if isinstance(value, nn.Module) and id(value) in submodules:
                continue
            for name, tensor in tensors_in(value, ".".join(filter(None, (path, attribute)))):
                if id(tensor) not in registered:
                    found[name] = tensor
    return found


@contextlib.contextmanager
def preserve_state(model: Any) -> Iterator[None]:
    """Restore weights, buffers, gradients, training mode, module attributes and all random states on exit.

    A cache that the model has put on itself is removed again.
    """
    random_states = torch.get_rng_state(), random.getstate(), np.random.get_state()
    tensors: list[Tensor] = []
    gradients: list[tuple[Tensor, Tensor | None]] = []
    attributes: list[tuple[dict[str, Any], dict[str, Any]]] = []
    if isinstance(model, nn.Module):
        tensors = [*model.parameters(), *model.buffers(), *unregistered_tensors(model).values()]
        gradients = [(weight, weight.grad) for weight in model.parameters()]
        for module in model.modules():
            dicts = (vars(module), module._parameters, module._buffers, module._modules)
            attributes += [(live, dict(live)) for live in dicts]
        for weight, _ in gradients:
            weight.grad = None
    copies = [tensor.detach().clone() for tensor in tensors]
    try:
        yield
    finally:
        for live, saved in attributes:
            live.clear()
            live.update(saved)
        with torch.no_grad():
            for tensor, values in zip(tensors, copies, strict=True):
                if not torch.equal(tensor, values):
                    tensor.copy_(values)
        for weight, gradient in gradients:
            weight.grad = gradient
        torch.set_rng_state(random_states[0])
        random.setstate(random_states[1])
        np.random.set_state(random_states[2])


@torch.no_grad()
def randomise_weights(model: Any, seed: int, factor: float = 1.0) -> None:
    """Fill matrices with normal values of standard deviation factor / sqrt(columns), and add a tenth to vectors.

    Attention is then neither uniform nor one-hot, nothing is zero, and no two heads or layers are alike. Embeddings get
    standard deviation 1, as their rows are looked up and not summed.
    """
    if not isinstance(model, nn.Module):
        return
    generator = torch.Generator().manual_seed(seed)
    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    weights = [weight for weight in model.parameters() if weight.is_floating_point()]
    trainable = [weight for weight in weights if weight.requires_grad]  # a frozen one may be a table of sinusoids
    for weight in trainable or weights:
        noise = torch.randn(weight.shape, generator=generator).to(weight)
        if weight.dim() < 2:
            weight.add_(0.1 * noise)
        else:
            root = 1.0 if id(weight) in embeddings else math.sqrt(weight.shape[-1])
            weight.copy_(noise * (factor / root))
