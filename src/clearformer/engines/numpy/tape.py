"""The tape: every operation leaves a node that knows how to take a gradient back, and backward visits them in reverse.

    dL/dx = Σ over all uses of x        a gradient is complete once every later operation has sent its part

Nodes are numbered as they are made, and what uses a result is made after it. So the waiting node with the largest
number is always complete: no sorting beforehand and no recursion. A node forgets what it kept once it was visited.
"""

import heapq
import itertools
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from clearformer.engines.numpy.modes import DEBUGGING, GradientError, check_finite
from clearformer.engines.numpy.rules import Array, Part, Rule

_numbers = itertools.count()


@dataclass
class Version:
    """How often an array was changed in place; tensors that share memory share it."""

    count: int = 0


class Target(NamedTuple):
    """The node that a gradient goes to, and what it must look like there."""

    node: "Node"
    shape: tuple[int, ...]
    dtype: DTypeLike


class Call(NamedTuple):
    """One function of a rule, with all it asked for; no target: that argument needs no gradient."""

    function: Callable[..., Any]
    kept: dict[str, Any]
    targets: Sequence[Target | None]


class Node:
    """One operation that was done, or with no calls a leaf, which keeps its gradient."""

    def __init__(self, name: str, calls: Sequence[Call] = (), versions: Sequence[Version] = ()) -> None:
        self.name = name
        self.number = next(_numbers)
        self.grad: Array | None = None
        self._own = False
        self.is_leaf = not calls
        self._calls: Sequence[Call] | None = calls
        self._versions = [(version, version.count) for version in versions]
        self._checksums = self._checksum() if DEBUGGING.get() else None

    def receive(self, g: Array | Part, *, own: bool) -> bool:
        """Add to the gradient; whether it was the first. `own`: nobody else holds `g`, so it may be added into."""
        first = self.grad is None
        if isinstance(g, Part):
            if self.grad is None:
                self.grad, self._own = np.zeros(g.shape, g.g.dtype), True
            elif not self._own:
                self.grad, self._own = self.grad.copy(), True
            self.grad[g.at] += g.g
        elif self.grad is None:
            copied = self.is_leaf and not own
            self.grad, self._own = g.copy() if copied else g, own or copied
        elif self._own:
            self.grad += g
        else:
            self.grad, self._own = np.add(self.grad, g, out=g if own else None), True
        return first

    def replace(self, g: Array | None) -> None:
        """Forget the gradient, or take that of somebody else, who may still hold it."""
        self.grad, self._own = g, False

    def send(self) -> Iterator[tuple["Node", Array | Part, bool]]:
        """Take the gradient on to what the operation was done with, and forget everything."""
        if self.is_leaf:
            return
        g, self.grad = self.grad, None
        self._check()
        calls, self._calls = self._calls, None
        assert calls is not None
        assert g is not None, "a node waits only once it has a gradient"
        for function, kept, targets in calls:
            found = function(g, **kept)
            # the last argument may have been left out
            for target, raw in zip(targets, found if len(targets) > 1 else (found,), strict=False):
                if target is not None:
                    sent = raw if isinstance(raw, Part) else fit(raw, target.shape, target.dtype)
                    if DEBUGGING.get():
                        array = sent.g if isinstance(sent, Part) else sent
                        check_finite(f"in a gradient that '{self.name}' made", array)
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
        kept = [value for call in self._calls for value in call.kept.values()]
        return [zlib.crc32(value.tobytes()) for value in kept if isinstance(value, np.ndarray)]


def calls_of(rule: Rule, nodes: Mapping[str, Node | None], values: Mapping[str, Any]) -> list[Call]:
    """The functions of a rule that have a gradient to compute, each with what it asks for.

    `nodes` has the arguments that were given, with None for one that needs no gradient.
    """
    calls = []
    for names, function, asked in rule.backward:
        targets = [
            Target(node, values[name].shape, values[name].dtype) if (node := nodes[name]) is not None else None
            for name in names
            if name in nodes
        ]
        if any(targets):
            kept = {name: np.shape(values[names[0]]) if name == "shape" else values[name] for name in asked}
            calls.append(Call(function, kept, targets))
    return calls


def fit(g: Array | np.floating[Any], shape: tuple[int, ...], dtype: DTypeLike) -> Array:
    """Undo broadcasting: sum over the axes along which one number was used many times."""
    g = np.asarray(g, dtype)  # of a single number, NumPy makes no array
    if g.shape == shape:
        return g
    new = g.ndim - len(shape)
    stretched = tuple(axis for axis in range(g.ndim) if axis < new or shape[axis - new] != g.shape[axis])
    return g.sum(stretched, keepdims=True).reshape(shape)


def walk_back(start: Node, g: Array) -> None:
    """Send a gradient from a node to all leaves."""
    start.receive(g, own=False)
    waiting = [(-start.number, start)]
    while waiting:
        for node, part, own in heapq.heappop(waiting)[1].send():
            if node.receive(part, own=own):
                heapq.heappush(waiting, (-node.number, node))
