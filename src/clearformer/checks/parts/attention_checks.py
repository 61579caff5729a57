"""Checks of attention without a mask."""

import math

import torch

from clearformer.checks.outcome import DoesNotApply, Outcome, failed, passed
from clearformer.checks.parts.attention import AttentionProbe, B, E, H, T
from clearformer.checks.parts.probe import relative_error

TOLERANCE = 1e-4
"""relative error: float32 attention differs from the formula by 2e-6; mistakes give 1e-2 and more"""
MIN_INFLUENCE = 1e-7
"""relative to the largest influence: hidden tokens have none at all"""
SCALE_TOLERANCE = 1e-2
"""the scale is read from weights to 1e-4; a wrong one is off by half or more"""


def rows(probe: AttentionProbe) -> Outcome:
    """Rows of a batch and heads do not influence each other.

    A reshape in the wrong order mixes heads with tokens, and a softmax over the axis of heads makes them compete. With
    the wrong axis for the batch (`batch_first=False`), sequences of one batch attend to each other.

    One row, and then one head, is replaced, and the others must not change.
    """
    if probe.is_core:
        inputs, axes = probe.qkv(), ("rows", "heads") if probe.form != "[B, T, E]" else ("rows",)
        function = probe.attend
    else:
        inputs, axes, function = (probe.draw(B, T, probe.width),), ("rows",), probe.self_attend  # type: ignore[assignment]
    before, changes = function(*inputs), {}
    for axis, name in enumerate(axes):
        changed = [tensor.clone() for tensor in inputs]
        for tensor in changed:
            tensor.select(axis, 1).copy_(probe.draw(*tensor.select(axis, 1).shape))
        after = function(*changed)
        changes[name] = relative_error(after.select(axis, 0), before.select(axis, 0))
    worst = max(changes, key=lambda name: changes[name])
    if changes[worst] <= TOLERANCE:
        return passed(changes[worst], TOLERANCE)
    case = f"with other {worst} replaced, the output changes by {changes[worst]:.2g} of its size"
    only_rows = not probe.is_core and float(probe.influence().fill_diagonal_(0.0).max()) <= TOLERANCE
    cause = "sequence-first" if only_rows else worst
    return failed(cause, changes[worst], TOLERANCE, case=case, diagnosis=ROW_DIAGNOSES[cause])


ROW_DIAGNOSES = {
    "rows": "rows of the batch influence each other: a reshape in the wrong order, or a softmax over the batch",
    "sequence-first": "rows see each other and tokens do not: x is read as [T, B, D] (batch_first=False); if that is "
    "intended, return lambda x: attention(x.transpose(0, 1)).transpose(0, 1)",
    "heads": "heads influence each other: the softmax runs over the axis of heads, or heads and tokens are swapped",
}


def values(probe: AttentionProbe) -> Outcome:
    """The output is the weights times the values, and nothing else.

    Values are what attention carries from token to token. A typo takes the keys for them, and the model still trains.

    The weights are read with one-hot values, and their product with random values is compared with the output.
    """
    probe.require_core()
    q, k, v = probe.qkv()
    weights, out = probe.weights(q, k), probe.attend(q, k, v)
    measured = relative_error(out, weights @ v.double())
    if measured <= TOLERANCE:
        return passed(measured, TOLERANCE)
    zero = probe.attend(q, k, torch.zeros_like(v))
    case = "random values against weights times values"
    if float(weights.abs().max()) == 0.0:
        diagnosis = "the values have no effect: keys, or queries, are used instead"
        return failed("values-unused", measured, TOLERANCE, case=case, diagnosis=diagnosis)
    if float(zero.abs().max()) > 0.0:
        diagnosis = "something is added to the weighted values: with values of zero the output is not zero"
        return failed("adds", measured, TOLERANCE, case=case, diagnosis=diagnosis)
    return failed("other", measured, TOLERANCE, case=case, diagnosis="the output is not linear in the values")


def softmax(probe: AttentionProbe) -> Outcome:
    """Each query's weights are positive and sum to one, over the keys.

    So the output is a mean of the values. A softmax over another axis gives sums other than one, and lets each key
    choose its queries, future ones included.

    The sums of the weights over the keys are compared with one.
    """
    if not probe.is_core:
        attention = probe.recorded
        sums, applied = attention.weights.sum(-1).double(), attention.applied.sum(-1).double()
        if attention.dim != -1:
            axis = {-2: "queries", -3: "heads"}.get(attention.dim, "batch")
            error = relative_error(sums, torch.ones_like(sums))
            return failed(
                f"over-{axis}",
                error,
                TOLERANCE,
                case=f"the softmax has dim={attention.dim}",
                diagnosis=AXIS_DIAGNOSES[axis],
            )
        measured = relative_error(applied, torch.ones_like(applied))
        if measured <= TOLERANCE:
            return passed(measured, TOLERANCE)
        diagnosis = "the values are not weighted by the output of the softmax: a mask or dropout comes after it"
        return failed(
            "after-softmax",
            measured,
            TOLERANCE,
            case="the weights that the values are multiplied by",
            diagnosis=diagnosis,
        )
    W = probe.weights(*probe.qkv()[:2])  # noqa: N806
    if not W.isfinite().all():
        diagnosis = "NaN or infinity among the weights"
        return failed("not-finite", torch.inf, TOLERANCE, case="random queries and keys", diagnosis=diagnosis)
    sums = W.sum(-1)
    measured = relative_error(sums, torch.ones_like(sums)) + max(0.0, -float(W.min()))
    if measured <= TOLERANCE:
        return passed(measured, TOLERANCE)
    over = {"queries": W.sum(2), "heads": W.sum(1), "batch": W.sum(0), "all": W.sum((2, 3))}
    axis = next(
        (name for name, total in over.items() if relative_error(total, torch.ones_like(total)) <= TOLERANCE), ""
    )
    case = f"the weights of a query sum to {float(sums.min()):.3g} to {float(sums.max()):.3g}"
    if axis:
        return failed(f"over-{axis}", measured, TOLERANCE, case=case, diagnosis=AXIS_DIAGNOSES[axis])
    diagnosis = "the weights are not a softmax; if values are wrong too, see attention.values"
    return failed("no-softmax", measured, TOLERANCE, case=case, diagnosis=diagnosis)


AXIS_DIAGNOSES = {
    "queries": "the softmax runs over the queries: it should be softmax(scores, dim=-1)",
    "heads": "the softmax runs over the heads: it should be softmax(scores, dim=-1)",
    "batch": "the softmax runs over the batch: it should be softmax(scores, dim=-1)",
    "all": "the softmax runs over all pairs of a head at once: it should be softmax(scores, dim=-1)",
}


def scale(probe: AttentionProbe) -> Outcome:
    """Scores are queries times keys over the root of a head's width, 1/sqrt(E).

    Without it scores grow with the width, the softmax picks one token, and its gradient vanishes. Dividing by E, or by
    the root of the model's width, makes attention nearly uniform.

    The scale is the slope of log weights over queries times keys; of a module it is read from the operations that
    PyTorch reports. Declare another one with `PartSubject(part, {"scale": ...})`.
    """
    if probe.is_core:
        width, found, heads = E, _slope(probe), 1 if probe.form == "[B, T, E]" else H
    else:
        width, found = probe.recorded.queries.shape[-1], probe.recorded.scale
        heads = max(probe.width // width, 1)
    if found is None:
        diagnosis = "scores are no multiple of queries times keys; if the function has weights, return the module"
        return failed("no-product", torch.inf, SCALE_TOLERANCE, case="random queries and keys", diagnosis=diagnosis)
    expected = float(probe.declared.get("scale", 1 / math.sqrt(width)))
    measured = abs(found / expected - 1)
    if measured <= SCALE_TOLERANCE:
        return passed(measured, SCALE_TOLERANCE, f"scale {found:.4g}")
    known = {
        "no-scale": (1.0, "scores are not scaled"),
        "squared": (1 / width, "scores are divided by E instead of its root"),
        "inverted": (math.sqrt(width), "scores are multiplied by sqrt(E) instead of divided"),
        "twice": (1 / (math.sqrt(width) * width), "scores are scaled more than once"),
        "model-width": (
            1 / math.sqrt(heads * width),
            "scores are divided by the root of the model's width instead of a head's",
        ),
        "length": (1 / math.sqrt(T), "scores are divided by the root of the length"),
    }
    cause = next((name for name, (value, _) in known.items() if abs(found / value - 1) <= SCALE_TOLERANCE), "other")
    diagnosis = known[cause][1] if cause in known else "the scale matches no known mistake"
    return failed(
        cause, measured, SCALE_TOLERANCE, case=f"the scale is {found:.4g}; expected {expected:.4g}", diagnosis=diagnosis
    )


def _slope(probe: AttentionProbe) -> float | None:
    """The slope of log weights over products, from the difference of two rows, as both have the same bias (ALiBi)."""
    q, k, _ = probe.qkv()
    W, products = probe.weights(q, k), (q @ k.transpose(-1, -2)).double()  # noqa: N806
    if softmax(probe).status != "passed":
        raise DoesNotApply("the weights are not a softmax over the keys; see attention.softmax")
    if causal(probe).status != "passed":
        raise DoesNotApply("the built-in mask is wrong; see attention.causal")
    nonzero = W.amin(0) > 1e-30
    logs, centred = W.clamp(min=1e-30).log(), []
    for values in (logs[0] - logs[1], products[0] - products[1]):
        mean = (values * nonzero).sum(-1, keepdim=True) / nonzero.sum(-1, keepdim=True).clamp(min=1)
        centred.append((values - mean)[nonzero])
    slope = float(centred[0] @ centred[1] / (centred[1] @ centred[1]))
    return slope if relative_error(centred[0], slope * centred[1]) <= SCALE_TOLERANCE else None


def causal(probe: AttentionProbe) -> Outcome:
    """Every token is attended to, or only those up to the query's own.

    A built-in mask is often one diagonal off: each token then sees its successor, or not itself.

    Which key influences which query is read from the weights, without a mask. A window that hides distant tokens is
    right as well. Declare which one is intended with `PartSubject(part, {"causal": True})`.
    """
    attended = probe.influence() > MIN_INFLUENCE
    if not attended.any():
        raise DoesNotApply("no token has any influence; see attention.values and attention.finite")
    ones = torch.ones(T, T, dtype=torch.bool)
    if not (attended & ~torch.eye(T, dtype=torch.bool)).any():
        diagnosis = "no token attends to any other: all others are hidden, or attention runs over another axis"
        return failed("alone", T * (T - 1), 0, case="no other token has influence", diagnosis=diagnosis)
    future_pairs, hidden_past = int(attended.triu(1).sum()), int((~attended).tril(-1).sum())
    is_causal = probe.declared.get("causal", future_pairs < T * (T - 1) // 2)
    if is_causal:
        wrong = int(attended.triu(1).sum()) + int((~attended).diagonal().sum())
        if wrong == 0:
            return passed(
                0, 0, "causal" + (f"; {hidden_past} earlier pairs are hidden, as by a window" if hidden_past else "")
            )
    else:
        wrong = int((~attended).sum())
        if wrong == 0:
            return passed(0, 0, "every token attends to every token")
    # the first row, whose keys are all hidden, is a softmax over -inf alone. In self-attention a token influences
    # its own output through its query, unless there is only one key
    not_itself = ones.tril(-1 if probe.is_core else 0)
    not_itself[1, 1] = False
    known = {"sees-ahead": ones.tril(1), "transposed": ones.triu(), "not-itself": not_itself, "no-mask": ones}
    cause = next((name for name, mask in known.items() if torch.equal(attended[1:], mask[1:])), "other")
    return failed(cause, wrong, 0, case=f"of {T * T} pairs {wrong} are wrong", diagnosis=CAUSAL_DIAGNOSES[cause])


CAUSAL_DIAGNOSES = {
    "sees-ahead": "the mask has the wrong diagonal: each token sees exactly one token ahead",
    "transposed": "the mask is transposed: each token sees itself and the future",
    "not-itself": "the mask has the wrong diagonal: a token does not see itself",
    "no-mask": "there is no causal mask, and one was declared",
    "other": "the mask is neither causal nor absent",
}
