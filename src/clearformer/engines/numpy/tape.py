"""The tape: every operation records a node, and the backward pass visits nodes in reverse order.

    dL/dx = Σ over all uses of x        a gradient is complete when every later operation has sent its part

Nodes are numbered in order of creation, and users of a result are created after it. So the pending node with the
largest number is always complete, without sorting or recursion. A node frees what it saved when it is visited.
"""

import heapq
import itertools
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from clearformer.engines.numpy.modes import DEBUG_ENABLED, GradientError, check_finite
from clearformer.engines.numpy.rules import Array, Part, Rule

_numbers = itertools.count()


@dataclass
class Version:
    """How often an array was changed in place; tensors that share memory share it."""

    count: int = 0


class Target(NamedTuple):
    """The node that a gradient goes to, and its required shape and dtype."""

    node: "Node"
    shape: tuple[int, ...]
    dtype: DTypeLike


class Call(NamedTuple):
    """A backward function with its saved values; a target is None if that argument needs no gradient."""

    function: Callable[..., Any]
    saved: dict[str, Any]
    targets: Sequence[Target | None]


class Node:
    """One recorded operation or, without calls, a leaf, which stores its gradient."""

    def __init__(self, name: str, calls: Sequence[Call] = (), versions: Sequence[Version] = ()) -> None:
        self.name = name
        self.number = next(_numbers)
        self.grad: Array | None = None
        self._owned = False
        self.is_leaf = not calls
        self._calls: Sequence[Call] | None = calls
        self._versions = [(version, version.count) for version in versions]
        self._checksums = self._checksum() if DEBUG_ENABLED.get() else None

    def receive(self, g: Array | Part, *, owned: bool) -> bool:
        """Add to the gradient; return whether it was the first. `owned`: `g` has no other users and may be changed."""
        first = self.grad is None
        if isinstance(g, Part):
            if self.grad is None:
                self.grad, self._owned = np.zeros(g.shape, g.g.dtype), True
            elif not self._owned:
                self.grad, self._owned = self.grad.copy(), True
            self.grad[g.at] += g.g
        elif self.grad is None:
            copied = self.is_leaf and not owned
            self.grad, self._owned = g.copy() if copied else g, owned or copied
        elif self._owned:
            self.grad += g
        else:
            self.grad, self._owned = np.add(self.grad, g, out=g if owned else None), True
        return first

    def replace(self, g: Array | None) -> None:
        """Set the gradient; the caller may keep a reference to it."""
        self.grad, self._owned = g, False

    def send(self) -> Iterator[tuple["Node", Array | Part, bool]]:
        """Yield the gradients of the operation's inputs, and free everything saved."""
        if self.is_leaf:
            return
        g, self.grad = self.grad, None
        self._check()
        calls, self._calls = self._calls, None
        assert calls is not None
        assert g is not None, "a pending node has a gradient"
        for function, saved, targets in calls:
            found = function(g, **saved)
            # the last argument may have been left out
            for target, raw in zip(targets, found if len(targets) > 1 else (found,), strict=False):
                if target is not None:
                    sent = raw if isinstance(raw, Part) else fit(raw, target.shape, target.dtype)
                    if DEBUG_ENABLED.get():
                        array = sent.g if isinstance(sent, Part) else sent
                        check_finite(f"in a gradient from '{self.name}'", array)
                    yield target.node, sent, not isinstance(sent, Part) and sent is not g and sent.base is None

    def _check(self) -> None:
        if self._calls is None:
            raise GradientError(
                f"one backward through '{self.name}' was expected, found a second; the first has freed what it needs: "
                "compute the loss again"
            )
        changed = any(version.count != count for version, count in self._versions)
        if changed or (self._checksums is not None and self._checksums != self._checksum()):
            raise GradientError(
                f"the numbers that '{self.name}' was computed with were expected, found some that were changed in "
                "place since; change them after backward, or change a copy"
            )

    def _checksum(self) -> list[int]:
        assert self._calls is not None
        saved = [value for call in self._calls for value in call.saved.values()]
        return [zlib.crc32(value.tobytes()) for value in saved if isinstance(value, np.ndarray)]


def calls_of(rule: Rule, nodes: Mapping[str, Node | None], values: Mapping[str, Any]) -> list[Call]:
    """The functions of a rule that have a gradient to compute, each with what it asks for.

    `nodes` has the arguments that were given, with None for one that needs no gradient.
    """
    calls = []
    for names, function, needed in rule.backward:
        targets = [
            Target(node, values[name].shape, values[name].dtype) if (node := nodes[name]) is not None else None
            for name in names
            if name in nodes
        ]
        if any(targets):
            saved = {name: np.shape(values[names[0]]) if name == "shape" else values[name] for name in needed}
            calls.append(Call(function, saved, targets))
    return calls


def fit(g: Array | np.floating[Any], shape: tuple[int, ...], dtype: DTypeLike) -> Array:
    """Undo broadcasting: sum over the broadcast axes."""
    g = np.asarray(g, dtype)  # NumPy reduces to a scalar, not an array
    if g.shape == shape:
        return g
    new = g.ndim - len(shape)
    stretched = tuple(axis for axis in range(g.ndim) if axis < new or shape[axis - new] != g.shape[axis])
    return g.sum(stretched, keepdims=True).reshape(shape)


def backpropagate(start: Node, g: Array) -> None:
    """Backpropagate a gradient from a node to all leaves."""
    start.receive(g, owned=False)
    pending = [(-start.number, start)]
    while pending:
        for node, part, owned in heapq.heappop(pending)[1].send():
            if node.receive(part, owned=owned):
                heapq.heappush(pending, (-node.number, node))
