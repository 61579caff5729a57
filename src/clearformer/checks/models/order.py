"""Does the model know the order of its tokens?"""

import math

import torch
from torch import Tensor

from clearformer.checks.outcome import DoesNotApply, ModelCrashed, Outcome, failed, passed
from clearformer.checks.probe.attention import Attention, record_attention
from clearformer.checks.probe.influence import TOLERANCE
from clearformer.checks.probe.probe import Inputs, Probe, difference

ROTATION_TOLERANCE = 1e-3
"""relative to the largest value: rotated vectors differ by 1e-5 in length and angle, in float32"""

MAX_BY_POSITION, MAX_BY_TOKEN = 30.0, 100.0
"""right models were between a fiftieth and 16, as Marian with its initial values"""


def swap_influence(probe: Probe, inputs: Inputs) -> Tensor:
    """[T-2]: the largest change of the other tokens' logits when the tokens at s and s + 1 are swapped."""
    T = inputs.tokens.shape[1]  # noqa: N806
    rows = inputs.map(lambda tensor: tensor.repeat_interleave(T - 1, dim=0))
    for s in range(T - 2):
        rows.tokens[s + 1, [s, s + 1]] = inputs.tokens[0, [s + 1, s]]
    logits = probe.logits(rows)
    changes = [difference(row, logits[0]) for row in logits[1:]]
    if probe.kind == "classifier":
        return torch.stack(changes)
    return torch.stack([torch.cat((row[:s], row[s + 2 :])).max() for s, row in enumerate(changes)])


def source_order_matters(probe: Probe, inputs: Inputs) -> bool:
    """Whether swapping two neighbours of the source changes a logit."""
    assert inputs.source is not None
    S = inputs.source.shape[1]  # noqa: N806
    rows = inputs.map(lambda tensor: tensor.repeat_interleave(S, dim=0))
    assert rows.source is not None
    for s in range(S - 1):
        rows.source[s + 1, [s, s + 1]] = inputs.source[0, [s + 1, s]]
    logits = probe.logits(rows)
    return float(difference(logits[1:], logits[:1].expand_as(logits[1:])).max()) > TOLERANCE


def distinct_neighbours(probe: Probe) -> Inputs:
    """One row in which neighbours are different tokens."""
    inputs = probe.inputs(1)
    tokens = inputs.tokens.clone()
    for t in range(1, tokens.shape[1]):
        while torch.equal(tokens[0, t], tokens[0, t - 1]):
            tokens[0, t] = probe.draw(1)[0]
    return inputs.replace(tokens=tokens)


def repeated_token(probe: Probe) -> Inputs:
    """One row of the same token everywhere."""
    inputs = probe.inputs(1)
    return inputs.replace(tokens=inputs.tokens[:, :1].expand_as(inputs.tokens).clone())


def matters(probe: Probe) -> Outcome:
    """Swapping two earlier tokens changes the output.

    Attention by itself sees a set of tokens and not a sequence. Positions that were computed and not added, or added to
    something that is discarded, leave a model that cannot tell "dog bites man" from "man bites dog". Neighbours are
    swapped in turn, among the tokens and in an encoder-decoder's source.
    """
    inputs = distinct_neighbours(probe)
    changes = swap_influence(probe, inputs)
    unaffected = int((changes <= TOLERANCE).sum())
    if inputs.source is not None and not source_order_matters(probe, inputs):
        diagnosis = "The encoder sees a set of tokens: its positions do not reach attention."
        case = "no swap of two neighbours in the source changes a logit"
        return failed("no-order-in-source", inputs.source.shape[1] - 1, 0, case=case, diagnosis=diagnosis)
    if not len(changes) or unaffected < len(changes):
        return passed(0, 0)
    return failed(
        "no-order",
        unaffected,
        0,
        case="no swap of two neighbours changes the logits of another token",
        diagnosis="The model sees a set of tokens: its positions do not reach attention.",
    )


def positions(probe: Probe) -> Outcome:
    """Each position is distinct, the same in each row, up to the full context.

    With the same token everywhere, no two neighbours may have the same query, if positions affect queries at all; equal
    rows of a batch must give equal logits; and the full context must work, which positions that start too late exceed.
    Positions count tokens along the second axis, from 0.
    """
    inputs = distinct_neighbours(probe)
    rows = probe.logits(inputs.map(lambda tensor: tensor.repeat_interleave(3, dim=0)))
    row_difference = float(difference(rows[1:], rows[:1].expand_as(rows[1:])).max())
    if row_difference > ROTATION_TOLERANCE:
        return failed(
            "positions-by-row",
            row_difference,
            ROTATION_TOLERANCE,
            case=f"three equal rows of a batch give logits that differ by {row_difference:.2g} standard deviations",
            diagnosis="The index of a row matters: positions count rows, arange(B), instead of tokens.",
        )
    queries = first_self_attention(probe, repeated_token(probe)).queries
    steps = (queries[..., 1:, :] - queries[..., :-1, :]).abs().amax(-1).flatten(0, -2).amax(0)
    equal = steps <= ROTATION_TOLERANCE * queries.abs().max()
    if equal.any() and varies(queries):
        t = int(equal.nonzero()[0])
        return failed(
            "repeated",
            int(equal.sum()),
            0,
            case=f"with one token everywhere, queries {t} and {t + 1} are equal; there are "
            f"{int(equal.sum())} such pairs",
            diagnosis="Neighbours share a position: look for division, rounding or clamping of positions.",
        )
    if (error := _error_at_full_context(probe)) is not None:
        return failed(
            "context-too-long",
            probe.max_length,
            probe.max_length - 1,
            case=f"{probe.max_length - 1} tokens work, and the full context of {probe.max_length} raises {error}",
            diagnosis="Positions begin too late, at 1 instead of 0, or their table is shorter than the context.",
        )
    return passed(row_difference, ROTATION_TOLERANCE)


def _error_at_full_context(probe: Probe) -> str | None:
    """What the model raises at its full context, if it takes one token less."""
    try:
        probe.logits(probe.inputs(1, probe.max_length))
    except ModelCrashed as error:
        if probe.max_length > 1:
            probe.logits(probe.inputs(1, probe.max_length - 1))
            return str(error)
        raise
    return None


def balance(probe: Probe) -> Outcome:
    """Neither tokens nor positions drown the other.

    Where embeddings and positions are added, the smaller one is lost if the other is far larger: embeddings of
    deviation 0.02 beside sines and cosines, or positions of deviation 0.02 beside embeddings that were multiplied by
    sqrt(d_model). The model first has to learn to hear it.

    With its own initial values, the queries of the first attention are computed for sequences of one token each. They
    must not vary more than 30 times as much with the position as with the token, nor 100 times as much with the token;
    learned positions a fiftieth of the embeddings' size are common.
    """
    rows = 8
    tokens = probe.inputs(rows, 1).tokens.repeat_interleave(probe.length(), dim=1)
    inputs = probe.inputs(rows).replace(tokens=tokens)
    queries = first_self_attention(probe, inputs).queries
    if math.prod(queries.shape[:-2]) % rows:
        raise DoesNotApply("the rows of a batch are not computed together")
    table = queries.reshape(rows, -1, *queries.shape[-2:]).transpose(1, 2).flatten(2)  # [rows, T, *]
    by_token, by_position = (float((table - table.mean(axis, keepdim=True)).square().mean().sqrt()) for axis in (0, 1))
    if by_position <= ROTATION_TOLERANCE * by_token or by_token == 0:
        raise DoesNotApply("the queries of the first attention do not depend on both token and position")
    ratio = max(by_position / by_token / MAX_BY_POSITION, by_token / by_position / MAX_BY_TOKEN)
    case = f"queries vary by {by_token:.2g} with the token and by {by_position:.2g} with the position"
    if ratio <= 1:
        return passed(ratio, 1.0, case)
    cause = "tokens-drowned" if by_position > by_token else "positions-drowned"
    return failed(cause, ratio, 1.0, case=case, diagnosis=DROWNED[cause])


DROWNED = {
    "tokens-drowned": "Positions are far larger than embeddings: multiply the embeddings by sqrt(d_model), or make "
    "their initial values larger.",
    "positions-drowned": "Embeddings are far larger than positions: do not multiply them, give them smaller initial "
    "values, or the positions larger ones.",
}


def rotary(probe: Probe) -> Outcome:
    """Rotary positions rotate queries and keys alike, so that their scores depend on distance alone.

    Rotary positions have two layouts, halves (x, x + E/2) and neighbours (2x, 2x + 1). The cosines of one with the
    pairs of the other are no rotation: the model still learns, less well, and imported weights are useless. With the
    same token everywhere, all queries are one vector, rotated: their lengths must be equal, and the product of query t
    and key s a function of t - s.
    """
    inputs = repeated_token(probe)
    attention = first_self_attention(probe, inputs)
    q, k, v = attention.queries, attention.keys, attention.values
    assert v is not None
    if varies(v):
        if norm_spread(v) <= ROTATION_TOLERANCE:
            return failed(
                "values-turned",
                float(relative_spread(v)),
                ROTATION_TOLERANCE,
                case="equal tokens have different values of equal length",
                diagnosis="The values are rotated too: rotary positions are for queries and keys only.",
            )
        raise DoesNotApply("positions are added to the embeddings")
    if not varies(q) and not varies(k):
        raise DoesNotApply("queries and keys of equal tokens are equal: positions are added elsewhere, or not at all")
    if not (varies(q) and varies(k)):
        names = ("queries", "keys") if varies(q) else ("keys", "queries")
        return failed(
            "one-turned",
            1,
            0,
            case=f"equal tokens have different {names[0]} and equal {names[1]}",
            diagnosis=f"Only the {names[0]} are rotated; rotate the {names[1]} by their positions too.",
        )
    another = probe.replacements(inputs.tokens[:, :1]).expand_as(inputs.tokens).clone()
    if not varies(q - first_self_attention(probe, inputs.replace(tokens=another)).queries):
        raise DoesNotApply("positions are added to what queries and keys are made of")
    norm_difference = max(norm_spread(q), norm_spread(k))
    if norm_difference > ROTATION_TOLERANCE:
        if is_scaled_by_element(q) and is_scaled_by_element(k):
            raise DoesNotApply("queries and keys are scaled by element after they are turned, as by a norm's weight")
        return failed(
            "not-a-rotation",
            norm_difference,
            ROTATION_TOLERANCE,
            case=f"one vector, rotated to {q.shape[-2]} positions, changes its length by {norm_difference:.1%}",
            diagnosis="Cosines and sines are in one layout and the pairs in the other (halves or neighbours), or a "
            "sign is wrong.",
        )
    diagonal_difference = diagonal_spread(attention.products)
    if diagonal_difference > ROTATION_TOLERANCE:
        cause, diagnosis = (
            "not-relative",
            "Queries and keys are rotated by different angles: does one of them have an offset?",
        )
        if diagonal_spread(attention.products.flip(-1)) <= ROTATION_TOLERANCE:
            cause, diagnosis = (
                "opposite-turns",
                "Queries and keys are rotated in opposite directions: scores depend on t + s.",
            )
        case = f"products of query t and key s at the same distance differ by {diagonal_difference:.1%}"
        return failed(cause, diagonal_difference, ROTATION_TOLERANCE, case=case, diagnosis=diagnosis)
    return passed(diagonal_difference, ROTATION_TOLERANCE, f"rotary positions, layout: {layout(q)}")


def first_self_attention(probe: Probe, inputs: Inputs) -> Attention:
    """The first self-attention of one forward pass. Raises DoesNotApply where none is recorded."""
    T = inputs.tokens.shape[1]  # noqa: N806
    for attention in record_attention(probe, inputs):
        if attention.applied.shape[-2:] == (T, T) and attention.values is not None:
            return attention
    raise DoesNotApply("no attention was recorded")


def relative_spread(x: Tensor) -> Tensor:
    """The largest difference of vectors [*, T, E] from the first, relative to the largest value."""
    return (x - x[..., :1, :]).abs().max() / x.abs().max()


def varies(x: Tensor) -> bool:
    return float(relative_spread(x)) > ROTATION_TOLERANCE


def norm_spread(x: Tensor) -> float:
    """The largest relative difference in length of vectors [*, T, E] from the first."""
    norms = x.norm(dim=-1)
    return float(((norms - norms[..., :1]) / norms[..., :1]).abs().max())


def is_scaled_by_element(x: Tensor) -> bool:
    """Whether vectors [*, T, E] are one vector, turned and then multiplied element by element.

    Then each pair that is turned moves on an ellipse along its axes: a weighted sum of its two squares is constant.
    """
    if x.shape[-1] % 2:
        return False
    squares, half = x.double().square(), x.shape[-1] // 2
    for first, second in ((squares[..., :half], squares[..., half:]), (squares[..., ::2], squares[..., 1::2])):
        pairs = torch.stack([first, second], dim=-1).transpose(-3, -2)  # [*, E / 2, T, 2]
        pairs = pairs / pairs.amax((-2, -1), keepdim=True)
        ones = torch.ones_like(pairs[..., :1])
        weights = torch.linalg.pinv(pairs) @ ones
        if float((pairs @ weights - ones).abs().max()) <= ROTATION_TOLERANCE:
            return True
    return False


def diagonal_spread(products: Tensor) -> float:
    """The largest difference along a diagonal of [*, T, S], relative to the largest value; 0 if a function of t - s."""
    return float((products[..., 1:, 1:] - products[..., :-1, :-1]).abs().max() / products.abs().max())


def layout(q: Tensor) -> str:
    """Which elements are rotated in pairs: those whose sum of squares is the same everywhere."""
    half = q.shape[-1] // 2
    pairs = {
        "halves": q[..., :half].square() + q[..., half:].square(),
        "neighbours": q[..., ::2].square() + q[..., 1::2].square(),
    }
    return min(pairs, key=lambda name: float(relative_spread(pairs[name])))
