"""The feed-forward network: the same small network for each token."""

from functools import partial
from typing import Any

import torch

from clearformer.checks.outcome import Outcome, failed, passed
from clearformer.checks.parts.probe import SAME, PartProbe, PartSubject, apart

LINEAR = 0.999
"""an affine function gives 1 up to 1e-6; ReLU, GELU and gated layers with random weights gave less than 0.6"""
ALONE = 1e-4
"""products of other shapes are summed in another order: 2e-6 seen"""


class FeedForward(PartProbe):
    """x [B, T, D] -> [B, T, D]."""

    def __init__(self, meant: PartSubject, seed: int, memory: dict[str, Any]) -> None:
        super().__init__(meant, seed, memory)
        wanted = "a function or module x [B, T, D] -> [B, T, D]"
        self.width = self.find((partial(self.fits, width) for width in self.widths()), wanted)

    def fits(self, width: int) -> int:
        self.call(self.draw(3, 5, width), shape=(3, 5, width))
        return width

    def example(self) -> tuple[object, ...]:
        return (self.draw(3, 5, self.width),)


def activation(part: FeedForward) -> Outcome:
    """There is an activation between the two products.

    Without one, two matrices in a row are one matrix, and most of the model's parameters do nothing. It trains all the
    same, only worse.

    An affine function has f(a + b) - f(a) = f(b) - f(0) for all a and b. Measured is the share of the output for which
    this holds: 1 means that the whole part is affine.
    """
    a, b = part.draw(4, 8, part.width), part.draw(4, 8, part.width)
    f = [part.call(x, shape=x.shape) for x in (a + b, a, b, 0 * a)]
    step = float((f[0] - f[1]).norm())
    if step == 0.0:
        diagnosis = "the output does not depend on the input"
        return failed("constant", 1.0, LINEAR, case="all inputs give the same output", diagnosis=diagnosis)
    measured = max(0.0, 1.0 - float((f[0] - f[1] - f[2] + f[3]).norm()) / step)
    if measured <= LINEAR:
        return passed(measured, LINEAR)
    diagnosis = "no activation between the two linear layers: together they are one"
    return failed("no-activation", measured, LINEAR, case="f(a + b) - f(a) = f(b) - f(0)", diagnosis=diagnosis)


def tokens(part: FeedForward) -> Outcome:
    """No token sees another.

    The feed-forward network works on each token alone; tokens meet in attention only, where the mask is. One that mixes
    positions lets a decoder see the future past every mask.

    Each token's output in a batch is compared with its output alone. Keep products and softmaxes on the last axis.
    """
    x = part.draw(3, 5, part.width)
    together = part.call(x, shape=x.shape)
    rows = [part.call(row[None], shape=(1, 5, part.width)) for row in x]
    by_rows = max(apart(row[0], together[index]) for index, row in enumerate(rows))
    single = part.call(x[:1, :1], shape=(1, 1, part.width))
    by_tokens = apart(single[0, 0], rows[0][0, 0])
    if by_rows > ALONE:
        diagnosis = "a row's output depends on the other rows of its batch"
        return failed("mixes-rows", by_rows, ALONE, case="a row alone and in a batch of 3", diagnosis=diagnosis)
    if by_tokens > ALONE:
        diagnosis = "a token's output depends on the other tokens of its row: something runs over the axis of tokens"
        return failed("mixes-tokens", by_tokens, ALONE, case="a token alone and in a row of 5", diagnosis=diagnosis)
    return passed(max(by_rows, by_tokens), ALONE)


def used(part: FeedForward) -> Outcome:
    """Every element of the input has influence, and every element of the output has it from somewhere.

    A slice or reshape that goes wrong leaves part of the vector unread, or part of the output constant.

    Each element of a random vector is set to 3 and to -1 in turn. Measured is the number of elements
    without any influence, and of outputs that never move.
    """
    i, x = torch.arange(part.width), part.draw(1, 2, part.width).repeat(part.width, 1, 1)
    outs = []
    for value in (3.0, -1.0):
        x[i, 0, i] = value
        outs.append(part.call(x, shape=x.shape)[:, 0])
    influence = (outs[0] - outs[1]).abs() > SAME * outs[0].abs().mean()
    unread, still = int((~influence.any(1)).sum()), int((~influence.any(0)).sum())
    if unread + still == 0:
        return passed(0, 0)
    cause = "input-unread" if unread else "output-constant"
    case = f"of {part.width} elements {unread} have no influence, and {still} never move"
    diagnosis = "a part of the vector is cut off by a slice, a chunk or a reshape"
    return failed(cause, unread + still, 0, case=case, diagnosis=diagnosis)
