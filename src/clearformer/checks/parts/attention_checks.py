"""Checks of attention: what it computes, when no mask is given."""

import math

import torch

from clearformer.checks.outcome import DoesNotApply, Outcome, failed, passed
from clearformer.checks.parts.attention import AttentionProbe, B, E, H, T
from clearformer.checks.parts.probe import apart

NEAR = 1e-4
"""float32 attention differs from the formula by 2e-6; mistakes give 1e-2 and more"""
HIDDEN = 1e-7
"""a share of the largest influence: hidden tokens have none at all"""
SCALE = 1e-2
"""the scale is read from weights to 1e-4; a wrong one is off by half or more"""


def rows(part: AttentionProbe) -> Outcome:
    """Rows of a batch and heads do not see each other.

    A reshape in the wrong order mixes heads with tokens, and a softmax over the axis of heads makes them compete. With
    the wrong axis for the batch (`batch_first=False`), texts of one batch attend to each other.

    One row, and then one head, is exchanged, and the others must not move.
    """
    if part.is_core:
        inputs, axes = part.qkv(), ("rows", "heads") if part.style != "[B, T, E]" else ("rows",)
        function = part.attend
    else:
        inputs, axes, function = (part.draw(B, T, part.width),), ("rows",), part.on_x  # type: ignore[assignment]
    before, moved = function(*inputs), {}
    for axis, name in enumerate(axes):
        changed = [tensor.clone() for tensor in inputs]
        for tensor in changed:
            tensor.select(axis, 1).copy_(part.draw(*tensor.select(axis, 1).shape))
        after = function(*changed)
        moved[name] = apart(after.select(axis, 0), before.select(axis, 0))
    worst = max(moved, key=lambda name: moved[name])
    if moved[worst] <= NEAR:
        return passed(moved[worst], NEAR)
    case = f"other {worst} exchanged: these moved by {moved[worst]:.2g} of the output's size"
    alone = not part.is_core and float(part.influence().fill_diagonal_(0.0).max()) <= NEAR
    cause = "sequence-first" if alone else worst
    return failed(cause, moved[worst], NEAR, case=case, diagnosis=ROWS[cause])


ROWS = {
    "rows": "rows of the batch see each other: a reshape in the wrong order, or a softmax over the batch",
    "sequence-first": "rows see each other and tokens do not: x is read as [T, B, D] (batch_first=False); if that is "
    "meant, return lambda x: attention(x.transpose(0, 1)).transpose(0, 1)",
    "heads": "heads see each other: the softmax runs over the axis of heads, or heads and tokens are exchanged",
}


def values(part: AttentionProbe) -> Outcome:
    """The output is the weights times the values, and nothing else.

    Values are what attention moves. A slip of the pen takes the keys for them, and it still trains.

    The weights are read with one-hot values, and their product with random values is compared with the output.
    """
    part.core()
    q, k, v = part.qkv()
    weights, out = part.weights(q, k), part.attend(q, k, v)
    measured = apart(out, weights @ v.double())
    if measured <= NEAR:
        return passed(measured, NEAR)
    zero = part.attend(q, k, torch.zeros_like(v))
    case = "random values against weights times values"
    if float(weights.abs().max()) == 0.0:
        diagnosis = "the values have no effect: keys, or queries, stand in their place"
        return failed("values-unused", measured, NEAR, case=case, diagnosis=diagnosis)
    if float(zero.abs().max()) > 0.0:
        diagnosis = "something is added to the weighted values: with values of zero the output is not zero"
        return failed("adds", measured, NEAR, case=case, diagnosis=diagnosis)
    return failed("other", measured, NEAR, case=case, diagnosis="the output is not linear in the values")


def softmax(part: AttentionProbe) -> Outcome:
    """Each query's weights are positive and sum to one, over the keys.

    So the output is a mean of the values. A softmax over another axis gives sums that drift away from one, and lets
    each key choose its queries, future ones included.

    The weights' sums over the keys are compared with one.
    """
    if not part.is_core:
        seen = part.watched
        sums, used = seen.weights.sum(-1).double(), seen.used.sum(-1).double()
        if seen.dim != -1:
            axis = {-2: "queries", -3: "heads"}.get(seen.dim, "batch")
            off = apart(sums, torch.ones_like(sums))
            return failed(f"over-{axis}", off, NEAR, case=f"the softmax has dim={seen.dim}", diagnosis=AXES[axis])
        measured = apart(used, torch.ones_like(used))
        if measured <= NEAR:
            return passed(measured, NEAR)
        diagnosis = "the weights that meet the values are not those of the softmax: a mask or dropout comes after it"
        return failed("after-softmax", measured, NEAR, case="the weights that the values met", diagnosis=diagnosis)
    W = part.weights(*part.qkv()[:2])  # noqa: N806
    if not W.isfinite().all():
        diagnosis = "NaN or infinity among the weights"
        return failed("not-finite", torch.inf, NEAR, case="random queries and keys", diagnosis=diagnosis)
    sums = W.sum(-1)
    measured = apart(sums, torch.ones_like(sums)) + max(0.0, -float(W.min()))
    if measured <= NEAR:
        return passed(measured, NEAR)
    over = {"queries": W.sum(2), "heads": W.sum(1), "batch": W.sum(0), "all": W.sum((2, 3))}
    axis = next((name for name, total in over.items() if apart(total, torch.ones_like(total)) <= NEAR), "")
    case = f"the weights of a query sum to {float(sums.min()):.3g} to {float(sums.max()):.3g}"
    if axis:
        return failed(f"over-{axis}", measured, NEAR, case=case, diagnosis=AXES[axis])
    diagnosis = "the weights are no softmax; if values are wrong too, see attention.values"
    return failed("no-softmax", measured, NEAR, case=case, diagnosis=diagnosis)


AXES = {
    "queries": "the softmax runs over the queries: it should be softmax(scores, dim=-1)",
    "heads": "the softmax runs over the heads: it should be softmax(scores, dim=-1)",
    "batch": "the softmax runs over the batch: it should be softmax(scores, dim=-1)",
    "all": "the softmax runs over all pairs of a head at once: it should be softmax(scores, dim=-1)",
}


def scale(part: AttentionProbe) -> Outcome:
    """Scores are queries times keys over the root of a head's width, 1/sqrt(E).

    Without it scores grow with the width, the softmax picks one token, and its gradient dies. Dividing by E, or by the
    root of the model's width, makes attention nearly uniform.

    The scale is the slope of log weights over queries times keys; of a module it is read from the operations that
    PyTorch reports. Say another with `Meant(part, {"scale": ...})`.
    """
    if part.is_core:
        width, found, heads = E, _slope(part), 1 if part.style == "[B, T, E]" else H
    else:
        width, found = part.watched.queries.shape[-1], part.watched.scale
        heads = max(part.width // width, 1)
    if found is None:
        diagnosis = "scores are not queries times keys times a number; if the function has weights, return the module"
        return failed("no-product", torch.inf, SCALE, case="random queries and keys", diagnosis=diagnosis)
    wanted = float(part.says.get("scale", 1 / math.sqrt(width)))
    measured = abs(found / wanted - 1)
    if measured <= SCALE:
        return passed(measured, SCALE, f"scale {found:.4g}")
    known = {
        "no-scale": (1.0, "scores are not scaled"),
        "squared": (1 / width, "scores are divided by E where it should be its root"),
        "inverted": (math.sqrt(width), "scores are multiplied by sqrt(E) where they should be divided"),
        "twice": (1 / (math.sqrt(width) * width), "scores are scaled more than once"),
        "model-width": (1 / math.sqrt(heads * width), "the root of the model's width is taken, not that of a head's"),
        "length": (1 / math.sqrt(T), "scores are divided by the root of the length"),
    }
    cause = next((name for name, (value, _) in known.items() if abs(found / value - 1) <= SCALE), "other")
    diagnosis = known[cause][1] if cause in known else "the scale is none that is known here"
    return failed(cause, measured, SCALE, case=f"the scale is {found:.4g}; expected {wanted:.4g}", diagnosis=diagnosis)


def _slope(part: AttentionProbe) -> float | None:
    """Of log weights over products. The two rows' difference is taken: a bias of positions (ALiBi) is in both."""
    q, k, _ = part.qkv()
    W, products = part.weights(q, k), (q @ k.transpose(-1, -2)).double()  # noqa: N806
    if softmax(part).status != "passed":
        raise DoesNotApply("the weights are no softmax over the keys; see attention.softmax")
    if causal(part).status != "passed":
        raise DoesNotApply("the mask that is built in is wrong; see attention.causal")
    seen = W.amin(0) > 1e-30
    logs, flat = W.clamp(min=1e-30).log(), []
    for values in (logs[0] - logs[1], products[0] - products[1]):
        mean = (values * seen).sum(-1, keepdim=True) / seen.sum(-1, keepdim=True).clamp(min=1)
        flat.append((values - mean)[seen])
    slope = float(flat[0] @ flat[1] / (flat[1] @ flat[1]))
    return slope if apart(flat[0], slope * flat[1]) <= SCALE else None


def causal(part: AttentionProbe) -> Outcome:
    """Either every token is seen, or just those up to the query's own.

    A mask that is built in is one diagonal off more often than not: each token then sees its successor, or not itself.

    Which key has influence on which query is read from the weights, without a mask given. A window that hides tokens
    far back is right as well. Say which is meant with `Meant(part, {"causal": True})`.
    """
    seen = part.influence() > HIDDEN
    if not seen.any():
        raise DoesNotApply("no token has influence on any; see attention.values and attention.finite")
    ones = torch.ones(T, T, dtype=torch.bool)
    if not (seen & ~torch.eye(T, dtype=torch.bool)).any():
        diagnosis = "no token sees any other: all others are hidden, or attention runs over another axis"
        return failed("alone", T * (T - 1), 0, case="no other token has influence", diagnosis=diagnosis)
    future_influence, back = int(seen.triu(1).sum()), int((~seen).tril(-1).sum())
    meant = part.says.get("causal", future_influence < T * (T - 1) // 2)
    if meant:
        wrong = int(seen.triu(1).sum()) + int((~seen).diagonal().sum())
        if wrong == 0:
            return passed(0, 0, "causal" + (f"; {back} earlier pairs are hidden, as by a window" if back else ""))
    else:
        wrong = int((~seen).sum())
        if wrong == 0:
            return passed(0, 0, "every token sees every token")
    # the first row, whose keys are all hidden, gets whatever a softmax over nothing gives. In self-attention a token
    # moves its own output by its query, unless it has one key to choose from
    not_itself = ones.tril(-1 if part.is_core else 0)
    not_itself[1, 1] = False
    known = {"sees-ahead": ones.tril(1), "transposed": ones.triu(), "not-itself": not_itself, "no-mask": ones}
    cause = next((name for name, mask in known.items() if torch.equal(seen[1:], mask[1:])), "other")
    return failed(cause, wrong, 0, case=f"of {T * T} pairs {wrong} are wrong", diagnosis=CAUSAL[cause])


CAUSAL = {
    "sees-ahead": "the mask has the wrong diagonal: each token sees exactly one ahead",
    "transposed": "the mask is transposed: each token sees itself and the future",
    "not-itself": "the mask has the wrong diagonal: a token does not see itself",
    "no-mask": "there is no causal mask, and one was meant",
    "other": "the mask is neither causal nor absent",
}
