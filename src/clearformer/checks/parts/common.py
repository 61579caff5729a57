"""Checks that all parts share."""

from torch import Tensor

from clearformer.checks.outcome import Outcome, failed, passed
from clearformer.checks.parts.probe import TOLERANCE, PartProbe, copied, first_tensor, relative_error


def repeatable(probe: PartProbe) -> Outcome:
    """The same input gives the same output, in evaluation mode.

    Dropout that is active outside training makes every output of the model a little random. It is often `F.dropout(x,
    p)` without `training=self.training`, or a `dropout_p` that is always passed to the kernel.

    The part is called twice in evaluation mode. Fix it with `nn.Dropout`, or pass on `self.training`. If the part is a
    function around a module, its mode cannot be set from outside: return the module, or call `.eval()`.
    """
    arguments = probe.example()
    first, second = (first_tensor(probe.call_raw(*copied(arguments))) for _ in range(2))
    measured = relative_error(second, first)
    if measured <= TOLERANCE:
        return passed(measured, TOLERANCE)
    case = "two calls on the same input, in evaluation mode"
    diagnosis = (
        "dropout is on in evaluation: it ignores `self.training`, or an inner module was not set to evaluation mode"
    )
    return failed("dropout", measured, TOLERANCE, case=case, diagnosis=diagnosis)


def finite(probe: PartProbe) -> Outcome:
    """Ordinary inputs give finite outputs: no NaN, no infinity.

    One NaN in a part makes every later logit NaN, and after one step every weight.

    Measured is the number of outputs that are not finite, on random vectors. Look for a division by zero, a root of a
    negative number, or a softmax over minus infinity alone.
    """
    out = first_tensor(probe.call_raw(*copied(probe.example())))
    bad = int((~out.isfinite()).sum())
    if bad == 0:
        return passed(0, 0)
    diagnosis = "a division by zero, a root of a negative number, or a softmax over minus infinity alone"
    return failed("not-finite", bad, 0, case=f"{bad} of {out.numel()} outputs, on random vectors", diagnosis=diagnosis)


def unchanged_input(probe: PartProbe) -> Outcome:
    """The part does not change its input.

    A part that writes into its input changes the residual stream without the caller's knowledge, and what is added to
    it later is wrong. `x += y`, `x *= y` and `nn.ReLU(inplace=True)` as a first step do so.

    The input is compared with a copy of it. Fix it with `x = x + y`.
    """
    arguments = probe.example()
    tensors = [argument for argument in arguments if isinstance(argument, Tensor)]
    copies = [tensor.clone() for tensor in tensors]
    probe.call_raw(*arguments)
    measured = max((relative_error(after, before) for after, before in zip(tensors, copies, strict=True)), default=0.0)
    if measured == 0.0:
        return passed(measured, 0.0)
    diagnosis = "the part changes its input by an in-place operation such as += or ReLU(inplace=True)"
    return failed("in-place", measured, 0.0, case="the input differs after one call", diagnosis=diagnosis)
