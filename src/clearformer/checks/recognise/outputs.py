"""The logits, the loss or the cache in a model's output."""

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from clearformer.checks.outcome import ModelCrashed

LOGITS = ("logit", "prediction", "score", "output")
"""in a key of a dictionary of outputs"""


def extract_logits(out: Any) -> Tensor:
    """The logits in a model's output: a tensor or array, an object with `.logits`, or a tuple that begins with either.

    Before them a tuple may hold the loss, or None or 0 where there are no targets.

    In a dictionary they may have another name, such as "lm_logits" or "predictions". An axis of one head for several
    tokens, [B, T, 1, V], is left out. Raises ModelCrashed.
    """
    for _ in range(4):
        if isinstance(out, Tensor):
            return out.squeeze(2) if out.dim() == 4 else out
        if isinstance(out, np.ndarray):
            return torch.from_numpy(np.array(out))
        if isinstance(out, Mapping) and (name := _name_of_logits(out)) is not None:
            out = out[name]
        elif hasattr(out, "logits"):
            out = out.logits
        elif hasattr(out, "last_hidden_state"):
            out = out.last_hidden_state
        elif isinstance(out, tuple | list) and out:
            out = next((item for item in out if not _is_loss(item)), out[0])
        elif hasattr(out, "numpy"):
            out = out.numpy()
        elif dataclasses.is_dataclass(out):
            out = {field.name: getattr(out, field.name) for field in dataclasses.fields(out)}
        else:
            break
    raise ModelCrashed(f"a tensor of logits was expected, found {type(out).__name__}")


def are_probabilities(out: Tensor) -> bool:
    """Whether all is positive, and each row [*, V] sums to one."""
    return bool((out >= 0).all()) and torch.allclose(out.sum(-1), torch.ones((), dtype=out.dtype), atol=1e-3)


def _is_loss(item: Any) -> bool:
    return item is None or isinstance(item, int | float) or (isinstance(item, Tensor) and item.dim() == 0)


def _name_of_logits(out: Mapping[Any, Any]) -> Any:
    """The key "logits", else one that holds a known word for them, else that of the only tensor of two axes or more.

    Else that of the only one of numbers [B, T, D], where embeddings are returned beside their mean.
    """
    tensors = {name: value for name, value in out.items() if isinstance(value, Tensor) and value.dim() > 1}
    named = [name for name in tensors if isinstance(name, str) and any(word in name.lower() for word in LOGITS)]
    vectors = [name for name, value in tensors.items() if value.is_floating_point() and value.dim() > 2]
    only = next((names[0] for names in ([*tensors], vectors) if len(names) == 1), None)
    return "logits" if "logits" in out else next(iter(named), only)


def tensors_in(out: Any) -> Iterator[Tensor]:
    """The floating-point tensors in an output: a tuple, a dictionary, or an object with attributes."""
    if isinstance(out, Tensor):
        if out.is_floating_point():
            yield out
        return
    attributes = getattr(out, "__dict__", {})  # not of a class with slots
    items = out if isinstance(out, tuple | list) else (out if isinstance(out, Mapping) else attributes).values()
    for item in items:
        if isinstance(item, Tensor | Mapping | tuple | list):
            yield from tensors_in(item)


def in_rows(out: Any, tokens: Tensor) -> Any:
    """The output, or its logits [B, T, V] where it has them as [B * T, V], as some losses want them."""
    with contextlib.suppress(ModelCrashed):
        logits = extract_logits(out)
        if logits.dim() == 2 and len(logits) == tokens.shape[:2].numel():
            return logits.unflatten(0, tokens.shape[:2])
    return out


def extract_loss(out: Any) -> Tensor:
    """The loss in a model's output: a scalar, `.loss`, or the scalar in a tuple. Raises ModelCrashed."""
    if isinstance(out, Mapping):
        out = out["loss"]
    elif hasattr(out, "loss"):
        out = out.loss
    elif isinstance(out, tuple | list):
        out = next((item for item in out if isinstance(item, Tensor) and item.dim() == 0), None)
    if isinstance(out, float):
        return torch.tensor(out)
    if not isinstance(out, Tensor) or out.numel() != 1:
        found = list(out.shape) if isinstance(out, Tensor) else type(out).__name__
        raise ModelCrashed(f"a loss of one number was expected, found {found}")
    return out.squeeze()


CACHES = ("past_key_values", "cache_params")
"""transformers' names of a cache: the second is Mamba's"""


def extract_cache(out: Any) -> Any:
    """The cache in a model's output: by one of CACHES' names, or what is no tensor in a tuple."""
    name = next((name for name in CACHES if hasattr(out, name)), "")
    if isinstance(out, tuple) and not name:
        return next((item for item in out if item is not None and not isinstance(item, Tensor)), None)
    return getattr(out, name, None)
