"""Does the model know in which order its tokens stand?"""

import torch
from torch import Tensor

from clearformer.checks.outcome import DoesNotApply, Outcome, failed, passed
from clearformer.checks.probe.attention import Attention, record_attention
from clearformer.checks.probe.influence import TOLERANCE
from clearformer.checks.probe.probe import Inputs, Probe, difference

SAME = 1e-3
"""a share of the largest value: turned vectors differ by 1e-5 in length and angle, in float32"""


def exchanged(probe: Probe, inputs: Inputs) -> Tensor:
    """[T-2]: how far the logits of the other tokens move, where most, when those at s and s + 1 change places."""
    T = inputs.tokens.shape[1]  # noqa: N806
    rows = inputs.map(lambda tensor: tensor.repeat_interleave(T - 1, dim=0))
    for s in range(T - 2):
        rows.tokens[s + 1, [s, s + 1]] = inputs.tokens[0, [s + 1, s]]
    logits = probe.logits(rows)
    moved = [difference(row, logits[0]) for row in logits[1:]]
    if probe.kind == "classifier":
        return torch.stack(moved)
    return torch.stack([torch.cat((row[:s], row[s + 2 :])).max() for s, row in enumerate(moved)])


def in_source(probe: Probe, inputs: Inputs) -> bool:
    """Whether some logit moves when two neighbours of the source change places."""
    assert inputs.source is not None
    S = inputs.source.shape[1]  # noqa: N806
    rows = inputs.map(lambda tensor: tensor.repeat_interleave(S, dim=0))
    assert rows.source is not None
    for s in range(S - 1):
        rows.source[s + 1, [s, s + 1]] = inputs.source[0, [s + 1, s]]
    logits = probe.logits(rows)
    return float(difference(logits[1:], logits[:1].expand_as(logits[1:])).max()) > TOLERANCE


def in_turn(probe: Probe) -> Inputs:
    """One row in which neighbours differ."""
    inputs = probe.inputs(1)
    tokens = inputs.tokens.clone()
    for t in range(1, tokens.shape[1]):
        while torch.equal(tokens[0, t], tokens[0, t - 1]):
            tokens[0, t] = probe.draw(1)[0]
    return inputs.replace(tokens=tokens)


def one_token(probe: Probe) -> Inputs:
    """One row of the same token."""
    inputs = probe.inputs(1)
    return inputs.replace(tokens=inputs.tokens[:, :1].expand_as(inputs.tokens).clone())


def matters(probe: Probe) -> Outcome:
    """Exchanging two earlier tokens changes the output.

    Attention by itself sees a set of tokens and not a sequence. Positions that were computed and not added, or added to
    something that is thrown away, leave a model that cannot tell "dog bites man" from "man bites dog". Neighbours
    change places in turn, of the tokens and of an encoder-decoder's source.
    """
    inputs = in_turn(probe)
    moved = exchanged(probe, inputs)
    unmoved = int((moved <= TOLERANCE).sum())
    if inputs.source is not None and not in_source(probe, inputs):
        diagnosis = "The encoder sees a set of tokens: its positions do not reach attention."
        case = "no exchange of two neighbours in the source moves any logit"
        return failed("no-order-in-source", inputs.source.shape[1] - 1, 0, case=case, diagnosis=diagnosis)
    if not len(moved) or unmoved < len(moved):
        return passed(0, 0)
    return failed(
        "no-order",
        unmoved,
        0,
        case="no exchange of two neighbours moves the logits of another token",
        diagnosis="The model sees a set of tokens: its positions do not reach attention.",
    )


def positions(probe: Probe) -> Outcome:
    """Each position is a place of its own, the same in each row, up to the full context.

    With one token everywhere, no two neighbours have the same query, where positions make them differ at all; equal
    rows of a batch give equal logits; and the whole context can be read, which positions that start too late run out
    of. Positions count tokens along the second axis, from 0.
    """
    inputs = in_turn(probe)
    rows = probe.logits(inputs.map(lambda tensor: tensor.repeat_interleave(3, dim=0)))
    apart = float(difference(rows[1:], rows[:1].expand_as(rows[1:])).max())
    if apart > SAME:
        return failed(
            "positions-by-row",
            apart,
            SAME,
            case=f"three equal rows of a batch give logits that differ by {apart:.2g} of their spread",
            diagnosis="What row a text stands in matters: positions count rows, arange(B), where they should count tokens.",
        )
    places = first(probe, one_token(probe)).queries
    same = (places[..., 1:, :] - places[..., :-1, :]).abs().amax((0, -1)) <= SAME * places.abs().max()
    if same.any() and varies(places):
        t = int(same.nonzero()[0])
        return failed(
            "repeated",
            int(same.sum()),
            0,
            case=f"one token everywhere asks the same at {t} and {t + 1}; there are {int(same.sum())} such pairs",
            diagnosis="Neighbours share a position: look for a division, a rounding or a clamp of the positions.",
        )
    probe.logits(probe.inputs(1, probe.max_length))  # the full context must be possible; if it is not, the model says so
    return passed(apart, SAME)


def rotary(probe: Probe) -> Outcome:
    """Rotary positions turn queries and keys alike, and their scores depend on distance alone.

    Rotary positions have two layouts, halves (x, x + E/2) and neighbours (2x, 2x + 1). The cosines of one with the
    pairs of the other are no rotation: the model still learns, less well, and imported weights are garbage. With one
    token everywhere, all queries are one vector, turned: their lengths must be equal, and the product of query t and
    key s a function of t - s.
    """
    attention = first(probe, one_token(probe))
    q, k, v = attention.queries, attention.keys, attention.values
    assert v is not None
    if varies(v):
        if lengths(v) <= SAME:
            return failed(
                "values-turned",
                float(spread(v)),
                SAME,
                case="of equal tokens the values differ, at equal lengths",
                diagnosis="The values are turned too: rotary positions are for queries and keys only.",
            )
        raise DoesNotApply("positions are added to the embeddings")
    if not varies(q) and not varies(k):
        raise DoesNotApply("queries and keys of equal tokens are equal: positions come in elsewhere, or not at all")
    if not (varies(q) and varies(k)):
        what = ("queries", "keys") if varies(q) else ("keys", "queries")
        return failed(
            "one-turned",
            1,
            0,
            case=f"of equal tokens the {what[0]} differ and the {what[1]} do not",
            diagnosis=f"Only the {what[0]} are turned; turn the {what[1]} by their positions too.",
        )
    longer = max(lengths(q), lengths(k))
    if longer > SAME:
        return failed(
            "not-a-rotation",
            longer,
            SAME,
            case=f"the lengths of one vector, turned to {q.shape[-2]} places, differ by {longer:.1%}",
            diagnosis="Cosines and sines are of one layout and the pairs of the other (halves against neighbours), or a "
            "sign is wrong.",
        )
    relative = by_diagonal(attention.products)
    if relative > SAME:
        cause, diagnosis = (
            "not-relative",
            "Queries and keys are turned by different angles: does one of them have an offset?",
        )
        if by_diagonal(attention.products.flip(-1)) <= SAME:
            cause, diagnosis = "opposite-turns", "Queries and keys turn in opposite directions: scores depend on t + s."
        case = f"products of query t and key s at one distance differ by {relative:.1%}"
        return failed(cause, relative, SAME, case=case, diagnosis=diagnosis)
    return passed(relative, SAME, f"rotary positions, layout: {layout(q)}")


def first(probe: Probe, inputs: Inputs) -> Attention:
    """The first attention of the tokens to themselves."""
    T = inputs.tokens.shape[1]  # noqa: N806
    for attention in record_attention(probe, inputs):
        if attention.used.shape[-2:] == (T, T) and attention.values is not None:
            return attention
    raise DoesNotApply("no attention was seen")


def spread(x: Tensor) -> Tensor:
    """How far vectors [*, T, E] differ from their first, as a share of the largest value."""
    return (x - x[..., :1, :]).abs().max() / x.abs().max()


def varies(x: Tensor) -> bool:
    return float(spread(x)) > SAME


def lengths(x: Tensor) -> float:
    """How far the lengths of vectors [*, T, E] differ."""
    norms = x.norm(dim=-1)
    return float(((norms - norms[..., :1]) / norms[..., :1]).abs().max())


def by_diagonal(products: Tensor) -> float:
    """How far [*, T, S] is from being the same along each diagonal, as a share of its largest value."""
    return float((products[..., 1:, 1:] - products[..., :-1, :-1]).abs().max() / products.abs().max())


def layout(q: Tensor) -> str:
    """Which pairs of numbers turn together: those whose sum of squares stays the same."""
    half = q.shape[-1] // 2
    pairs = {
        "halves": q[..., :half].square() + q[..., half:].square(),
        "neighbours": q[..., ::2].square() + q[..., 1::2].square(),
    }
    return min(pairs, key=lambda name: float(spread(pairs[name])))
