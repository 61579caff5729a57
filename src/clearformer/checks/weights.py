"""A model's weights, borrowed: everything a check may change is put back, and a model fresh from its initial values,
in which much is zero or nearly so, is stirred, so that what it computes can be told apart.
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
    """Tensors inside lists, tuples, dicts and modules among them, by a name such as `heads[0].weight`."""
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


def unregistered(model: nn.Module) -> dict[str, Tensor]:
    """Tensors, and weights of modules, that a model holds but does not know as its own: no optimizer ever sees them."""
    known = {id(tensor) for tensor in (*model.parameters(), *model.buffers())}
    hidden = {}
    for path, module in model.named_modules():
        for attribute, value in vars(module).items():
            if attribute.startswith("_") and attribute in nn.Module().__dict__:
                continue
            inside = {id(part) for part in module.modules()}
            if isinstance(value, nn.Module) and id(value) in inside:
                continue
            for name, tensor in tensors_in(value, ".".join(filter(None, (path, attribute)))):
                if id(tensor) not in known:
                    hidden[name] = tensor
    return hidden


@contextlib.contextmanager
def borrowed(model: Any) -> Iterator[None]:
    """Afterwards weights, buffers, gradients, training mode and all random states are as they were before.

    So is what each module holds: a cache that a model kept to itself is gone again.
    """
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()
    tensors: list[Tensor] = []
    gradients: list[tuple[Tensor, Tensor | None]] = []
    holdings: list[tuple[dict[str, Any], dict[str, Any]]] = []
    if isinstance(model, nn.Module):
        tensors = [*model.parameters(), *model.buffers(), *unregistered(model).values()]
        gradients = [(weight, weight.grad) for weight in model.parameters()]
        for module in model.modules():
            holders = (vars(module), module._parameters, module._buffers, module._modules)
            holdings += [(holder, dict(holder)) for holder in holders]
        for weight, _ in gradients:
            weight.grad = None
    kept = [tensor.detach().clone() for tensor in tensors]
    try:
        yield
    finally:
        for holder, held in holdings:
            holder.clear()
            holder.update(held)
        with torch.no_grad():
            for tensor, values in zip(tensors, kept, strict=True):
                if not torch.equal(tensor, values):
                    tensor.copy_(values)
        for weight, gradient in gradients:
            weight.grad = gradient
        torch.set_rng_state(states[0])
        random.setstate(states[1])
        np.random.set_state(states[2])


@torch.no_grad()
def stir(model: Any, seed: int, factor: float = 1.0) -> None:
    """Give every matrix normal values of deviation factor / sqrt(columns), and move vectors by a tenth.

    So attention is neither uniform nor a single token, nothing is zero, and no two heads or layers are alike.
    Embeddings get deviation 1, as their rows are looked up and not summed.
    """
    if not isinstance(model, nn.Module):
        return
    generator = torch.Generator().manual_seed(seed)
    tables = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    weights = [weight for weight in model.parameters() if weight.is_floating_point()]
    trained = [weight for weight in weights if weight.requires_grad]  # a frozen one may be a table of sinusoids
    for weight in trained or weights:
        noise = torch.randn(weight.shape, generator=generator).to(weight)
        if weight.dim() < 2:
            weight.add_(0.1 * noise)
        else:
            root = 1.0 if id(weight) in tables else math.sqrt(weight.shape[-1])
            weight.copy_(noise * (factor / root))
