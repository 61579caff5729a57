"""The feed-forward network: the same small network for each token."""

from functools import partial
from typing import Any

import torch

from clearformer.checks.outcome import Outcome, failed, passed
from clearformer.checks.parts.probe import TOLERANCE, PartProbe, relative_error
from clearformer.checks.subject import PartSubject

MAX_AFFINE = 0.999
"""an affine function gives 1 within 1e-6; ReLU, GELU and gated layers with random weights gave less than 0.6"""
ALONE_TOLERANCE = 1e-4
"""relative error: products of other shapes are summed in another order, which gave 2e-6"""


class FeedForwardProbe(PartProbe):
    """x [B, T, D] -> [B, T, D]."""

    def __init__(self, subject: PartSubject, seed: int, shared: dict[str, Any]) -> None:
        super().__init__(subject, seed, shared)
        expected = "a function or module x [B, T, D] -> [B, T, D]"
        self.width = self.find_form((partial(self.try_width, width) for width in self.widths()), expected)

    def try_width(self, width: int) -> int:
        self.call(self.draw(3, 5, width), shape=(3, 5, width))
        return width

    def example(self) -> tuple[object, ...]:
        return (self.draw(3, 5, self.width),)


def activation(probe: FeedForwardProbe) -> Outcome:
    """There is an activation between the two linear layers.

    Without one, the two matrices are equivalent to one, and most of the model's parameters do nothing. It trains all
    the same, only worse.

    An affine function has f(a + b) - f(a) = f(b) - f(0) for all a and b. Measured is the fraction of the output for
    which this holds: 1 means that the whole part is affine.
    """
    a, b = probe.draw(4, 8, probe.width), probe.draw(4, 8, probe.width)
    f = [probe.call(x, shape=x.shape) for x in (a + b, a, b, 0 * a)]
    step = float((f[0] - f[1]).norm())
    if step == 0.0:
        diagnosis = "the output does not depend on the input"
        return failed("constant", 1.0, MAX_AFFINE, case="all inputs give the same output", diagnosis=diagnosis)
    measured = max(0.0, 1.0 - float((f[0] - f[1] - f[2] + f[3]).norm()) / step)
    if measured <= MAX_AFFINE:
        return passed(measured, MAX_AFFINE)
    diagnosis = "no activation between the two linear layers: together they are one"
    return failed("no-activation", measured, MAX_AFFINE, case="f(a + b) - f(a) = f(b) - f(0)", diagnosis=diagnosis)


def tokens(probe: FeedForwardProbe) -> Outcome:
    """Tokens do not influence each other.

    The feed-forward network processes each token alone; tokens meet in attention only, where the mask is. One that
    mixes positions lets a decoder see the future, whatever the mask.

    Each token's output in a batch is compared with its output alone. Apply products and softmaxes to the last axis.
    """
    x = probe.draw(3, 5, probe.width)
    together = probe.call(x, shape=x.shape)
    rows = [probe.call(row[None], shape=(1, 5, probe.width)) for row in x]
    by_rows = max(relative_error(row[0], together[index]) for index, row in enumerate(rows))
    single = probe.call(x[:1, :1], shape=(1, 1, probe.width))
    by_tokens = relative_error(single[0, 0], rows[0][0, 0])
    if by_rows > ALONE_TOLERANCE:
        diagnosis = "a row's output depends on the other rows of its batch"
        return failed(
            "mixes-rows", by_rows, ALONE_TOLERANCE, case="a row alone and in a batch of 3", diagnosis=diagnosis
        )
    if by_tokens > ALONE_TOLERANCE:
        diagnosis = "a token's output depends on the other tokens of its row: an operation runs over the axis of tokens"
        return failed(
            "mixes-tokens", by_tokens, ALONE_TOLERANCE, case="a token alone and in a row of 5", diagnosis=diagnosis
        )
    return passed(max(by_rows, by_tokens), ALONE_TOLERANCE)


def used(probe: FeedForwardProbe) -> Outcome:
    """Every element of the input has influence, and every element of the output is influenced.

    A wrong slice or reshape leaves part of the vector unread, or part of the output constant.

    Each element of a random vector is set to 3 and to -1 in turn. Measured is the number of elements without any
    influence, plus the number of outputs that never change.
    """
    i, x = torch.arange(probe.width), probe.draw(1, 2, probe.width).repeat(probe.width, 1, 1)
    outs = []
    for value in (3.0, -1.0):
        x[i, 0, i] = value
        outs.append(probe.call(x, shape=x.shape)[:, 0])
    influence = (outs[0] - outs[1]).abs() > TOLERANCE * outs[0].abs().mean()
    unread, constant = int((~influence.any(1)).sum()), int((~influence.any(0)).sum())
    if unread + constant == 0:
        return passed(0, 0)
    cause = "input-unread" if unread else "output-constant"
    case = f"of {probe.width} elements {unread} have no influence, and {constant} never change"
    diagnosis = "a part of the vector is cut off by a slice, a chunk or a reshape"
    return failed(cause, unread + constant, 0, case=case, diagnosis=diagnosis)
