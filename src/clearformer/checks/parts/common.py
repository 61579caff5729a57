"""Checks that every part gets."""

from torch import Tensor

from clearformer.checks.outcome import Outcome, failed, passed
from clearformer.checks.parts.probe import SAME, PartProbe, apart, copied, tensor_of


def repeatable(given: PartProbe) -> Outcome:
    """The same input gives the same output, in evaluation mode.

    Dropout that is still at work outside training makes every answer of the model a little random. It is often
    `F.dropout(x, p)` without `training=self.training`, or a `dropout_p` handed to the kernel at all times.

    The part is called twice in evaluation mode. Mend it with `nn.Dropout`, or hand on `self.training`. A part that is a
    function with a module inside cannot be set to evaluation mode from outside: return the module, or call `.eval()`.
    """
    arguments = given.example()
    first, second = (tensor_of(given.raw(*copied(arguments))) for _ in range(2))
    measured = apart(second, first)
    if measured <= SAME:
        return passed(measured, SAME)
    case = "two calls on the same input, in evaluation mode"
    diagnosis = "dropout is on in evaluation: it does not ask for `self.training`, or a module inside was not set to eval"
    return failed("dropout", measured, SAME, case=case, diagnosis=diagnosis)


def finite(given: PartProbe) -> Outcome:
    """Ordinary numbers give numbers: no NaN, no infinity.

    One NaN in a part is NaN in every logit behind it, and after one step in every weight.

    Measured is how many outputs are not finite, on random vectors. Look for a division by zero, a root of a negative
    number, or a softmax over minus infinity alone.
    """
    out = tensor_of(given.raw(*copied(given.example())))
    bad = int((~out.isfinite()).sum())
    if bad == 0:
        return passed(0, 0)
    diagnosis = "a division by zero, a root of a negative number, or a softmax over minus infinity alone"
    return failed("not-finite", bad, 0, case=f"{bad} of {out.numel()} outputs, on random vectors", diagnosis=diagnosis)


def untouched(given: PartProbe) -> Outcome:
    """The input is as it was after the call.

    A part that writes into its input changes the residual stream behind the caller's back, and what is added to it
    later is no longer what it should be. `x += y`, `x *= y` and `nn.ReLU(inplace=True)` as a first step do so.

    The input is compared with a copy of it. Mend it with `x = x + y`.
    """
    arguments = given.example()
    tensors = [argument for argument in arguments if isinstance(argument, Tensor)]
    copies = [tensor.clone() for tensor in tensors]
    given.raw(*arguments)
    measured = max((apart(now, before) for now, before in zip(tensors, copies, strict=True)), default=0.0)
    if measured == 0.0:
        return passed(measured, 0.0)
    diagnosis = "the part writes into its input, with an operation in place such as += or ReLU(inplace=True)"
    return failed("in-place", measured, 0.0, case="the input differs after one call", diagnosis=diagnosis)
