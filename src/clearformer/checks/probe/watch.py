"""What the methods of a model write into the arguments that they are given, watched from outside."""

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor, nn

from clearformer.checks.recognise import signature
from clearformer.checks.recognise.steps import CACHES, STATES

Contents = dict[str, tuple[Any, Any]]
"""tensors and dictionaries by their place in a call, each with what tells whether it has changed"""


@contextlib.contextmanager
def watched(model: Any) -> Iterator[list[str]]:
    """A list that grows by each argument that a public method, called from outside, has written to.

    Such as "forward(targets)" or "training_step(batch['tokens'])". Caches are there to be written to, and left out.
    """
    written: list[str] = []
    if not isinstance(model, nn.Module):
        yield written
        return
    attributes = vars(model)
    before = dict(attributes)
    depth = [0]
    for name in ("forward", *signature.methods(model)):
        attributes[name] = _watch(name, getattr(model, name), written, depth)
    try:
        yield written
    finally:
        for name in [name for name in attributes if name not in before]:
            del attributes[name]
        attributes.update(before)


def _watch(name: str, method: Callable[..., Any], written: list[str], depth: list[int]) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        contents = _contents_of_call(method, args, kwargs) if depth[0] == 0 else {}
        depth[0] += 1
        try:
            return method(*args, **kwargs)
        finally:
            depth[0] -= 1
            written.extend(f"{name}({place})" for place, (one, state) in contents.items() if _state(one) != state)

    return call


def _contents_of_call(method: Callable[..., Any], args: Any, kwargs: Any) -> Contents:
    try:
        arguments = inspect.signature(method).bind(*args, **kwargs).arguments
    except (TypeError, ValueError):  # the call itself will say so
        return {}
    return {place: (one, _state(one)) for name, value in arguments.items() for place, one in _parts(name, value, name)}


def _parts(name: str, value: Any, place: str) -> Iterator[tuple[str, Any]]:
    """Tensors and dictionaries in an argument, those of caches left out."""
    if signature.has_word(name, (*CACHES, *STATES)):
        return
    if isinstance(value, Tensor | dict):
        yield place, value
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _parts(str(key), item, f"{place}[{key!r}]")
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            yield from _parts("", item, f"{place}[{number}]")


def _state(one: Any) -> Any:
    """PyTorch's count of what was written to a tensor; the items of a dictionary."""
    return one._version if isinstance(one, Tensor) else [(key, id(value)) for key, value in one.items()]
