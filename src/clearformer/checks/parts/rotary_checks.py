"""Checks of rotary positions."""

import torch

from clearformer.checks.outcome import DoesNotApply, Outcome, failed, passed
from clearformer.checks.parts.probe import apart
from clearformer.checks.parts.rotary import LENGTH, OFFSET, TURNED, Rotary, lengths_off
from clearformer.checks.parts.sinusoidal import BASE, CLOSE
from clearformer.checks.parts.sinusoidal_checks import explain_frequencies


def layout(part: Rotary) -> Outcome:
    """Elements are turned in pairs: side by side, or half a head apart.

    Both layouts are right, and it is said which was found. The paper and Meta's Llama turn neighbours (interleaved),
    Hugging Face's Llama and GPT-NeoX turn halves; weights of one are wrong in the other until rows are permuted, and
    nothing raises an error.

    What each position does to each element is read off as a matrix. Say which is meant with
    `Meant(part, {"layout": "interleaved"})`, or "half-split".
    """
    reading = part.reading
    if reading is not None:
        wanted = part.says.get("layout", reading.layout)
        if wanted != reading.layout and reading.width > 2:
            diagnosis = f"elements are paired as {reading.layout}, and {wanted} was meant: imported weights do not fit"
            return failed("layout", 1.0, 0.0, case="which elements are turned together", diagnosis=diagnosis)
        some = f"; only the first {reading.width} of {part.width} elements are turned"
        seen = f"{reading.layout}; called with {part.arguments} as {part.shape}"
        return passed(0.0, 0.0, seen + some * (reading.width < part.width))
    diagonal = float((part.turns - torch.eye(part.width)).abs().max())
    if not part.turns.isfinite().all():
        return failed(
            "not-finite", torch.inf, 0.0, case="NaN or infinity at the first positions", diagnosis="see the model's numbers"
        )
    if diagonal == 0.0:
        diagnosis = "nothing is turned: the vectors come back as they went in"
        return failed("unturned", 1.0, 0.0, case="the first 8 positions", diagnosis=diagnosis)
    off = part.turns * (1 - torch.eye(part.width))
    if float(off.abs().max()) == 0.0:
        diagnosis = "the sines are missing: each element is only multiplied by a cosine"
        return failed("no-sine", 1.0, 0.0, case="no element has influence on another", diagnosis=diagnosis)
    diagnosis = "elements are mixed that are neither neighbours nor half a head apart"
    return failed("pairs", 1.0, 0.0, case="which elements are turned together", diagnosis=diagnosis)


def norm(part: Rotary) -> Outcome:
    """A vector is turned and keeps its length.

    A wrong sign in one half, or angles in one layout with pairs in the other, stretches vectors instead, by another
    amount at each place. Attention then knows something of positions, so training works, but not of distances.

    The matrix of each position times its transpose must be the identity. The rotation is
    (a cos - b sin, b cos + a sin).
    """
    R, measured = part.turns, lengths_off(part)  # noqa: N806
    if measured <= TURNED:
        return passed(measured, TURNED)
    if part.reading is None:
        raise DoesNotApply("elements are not turned in pairs; see rotary.layout")
    i, half = torch.arange(part.reading.width // 2), part.reading.width // 2
    a, b = (i, i + half) if part.reading.layout == "half-split" else (2 * i, 2 * i + 1)
    if apart(R[:, a, a], R[:, b, b]) > TURNED:
        cause, diagnosis = "mixed-layouts", "the pairs are of one layout, and the angles are repeated as in the other"
    elif apart(R[:, a, b], R[:, b, a]) <= TURNED:
        cause, diagnosis = "sign", "the sine has the same sign in both halves of a pair; one of them must be negative"
    else:
        cause, diagnosis = "scaled", "vectors are made longer or shorter"
    return failed(cause, measured, TURNED, case="lengths change at one of the first 8 positions", diagnosis=diagnosis)


def relative(part: Rotary) -> Outcome:
    """The score of a query and a key depends on their distance alone.

    This is what rotary positions are for: R(p) q · R(s) k is the same wherever the two stand, if s - p is.

    Products of the matrices at distances 0 to 4 are compared at several places.
    """
    R = part.turns  # noqa: N806
    if _alike(part):
        diagnosis = "all positions are treated alike: the positions have no effect"
        return failed("positions-ignored", 1.0, TURNED, case="the first 8 positions", diagnosis=diagnosis)
    keys = part.matrices()[-1]
    scores = torch.einsum("pij,sik->psjk", R, keys)
    worst = max(apart(scores[p, p + d], scores[0, d]) for d in range(5) for p in range(LENGTH - d)) / part.width**0.5
    if worst <= TURNED:
        return passed(worst, TURNED)
    case, diagnosis = "the same distance at two places gives two scores", "scores depend on the places themselves"
    return failed("absolute", worst, TURNED, case=case, diagnosis=diagnosis)


def _alike(part: Rotary) -> bool:
    return apart(part.turns, part.turns[:1].expand_as(part.turns)) <= TURNED


def frequencies(part: Rotary) -> Outcome:
    """The angles fall by one factor from pair to pair: base^(-2i/E) a position.

    Bases from 10,000 (RoFormer, Llama) to 10,000,000 are in use for long texts, and the one found is said. Another base
    than a model was trained with spoils what it knows.

    They are measured as the angle between neighbouring positions. Say which base is meant with
    `Meant(part, {"base": 500_000})`; then it must be this one.
    """
    step = part.read().angles[1] - part.read().angles[0]
    found = ((step + torch.pi) % (2 * torch.pi) - torch.pi).abs()
    half, said = len(found), part.says.get("base")
    ratio = float(found[-1] / found[0]) ** (1 / max(half - 1, 1)) if half > 1 else BASE ** (-1 / half)
    likely = half == 1 or 0.99 * BASE < ratio**-half < 1.01e7
    base = float(said) if said is not None else (ratio**-half if likely else BASE)
    expected = base ** -(torch.arange(half, dtype=torch.float64) / half)
    measured = float((found / expected - 1).abs().max())
    if measured <= CLOSE:
        return passed(measured, CLOSE, f"base {base:.5g}")
    cause, diagnosis = explain_frequencies(found, base)
    case = (
        f"the angles of a step are {found[0]:.3g} to {found[-1]:.3g}; expected {expected[0]:.3g} to {expected[-1]:.3g}"
    )
    return failed(cause, measured, CLOSE, case=case, diagnosis=diagnosis)


def start(part: Rotary) -> Outcome:
    """At position 0 nothing is turned.

    Starting at another number changes no score as long as queries and keys agree; but weights and caches of others
    count from 0.

    The angle at the first position is measured, in steps of one position.
    """
    angles = part.read().angles
    found = float(angles[0, 0] / (angles[1, 0] - angles[0, 0]))
    if abs(found) <= CLOSE:
        return passed(abs(found), CLOSE)
    case = f"the first position is {found:.4g}"
    diagnosis = "positions are counted from another number than 0"
    return failed("starts-at-1" if abs(found - 1) <= CLOSE else "start", abs(found), CLOSE, case=case, diagnosis=diagnosis)


def offset(part: Rotary) -> Outcome:
    """Tokens after a cached past are turned as at their own places.

    If the offset is ignored, each new token stands at position 0 again: generation with a cache falls apart while
    training is fine.

    The matrices from offset 3 on are compared with those from 0.
    """
    if part.arguments in ("x", "q, k"):
        raise DoesNotApply("it takes neither positions nor an offset")
    if _alike(part):
        raise DoesNotApply("all positions are treated alike; see rotary.relative")
    later, first = part.matrices(OFFSET)[0], part.turns
    n = LENGTH - OFFSET - 1
    measured = apart(later[:n], first[OFFSET : OFFSET + n])
    if measured <= TURNED:
        return passed(measured, TURNED)
    if apart(later, first) <= TURNED:
        cause, diagnosis = "offset-ignored", "positions start at 0 whatever offset or positions are given"
    elif any(apart(later[:n], first[OFFSET + k : OFFSET + k + n]) <= TURNED for k in (-1, 1)):
        cause, diagnosis = "off-by-one", "with an offset, positions are one too far or one too few"
    else:
        cause, diagnosis = "other", "the offset is not added to the positions"
    return failed(cause, measured, TURNED, case=f"position {OFFSET} by offset and counted from 0", diagnosis=diagnosis)


def both(part: Rotary) -> Outcome:
    """Queries and keys are turned by the same angles.

    If only one of them is turned, or both by different angles, a score depends on the places themselves.

    The matrices of queries and keys are compared.
    """
    if not part.arguments.startswith("q"):
        raise DoesNotApply("it turns one tensor at a time")
    q, k = part.matrices()
    measured = apart(k, q)
    if measured <= TURNED:
        return passed(measured, TURNED)
    still = torch.eye(part.width).expand(LENGTH, -1, -1)
    if apart(k, still) <= TURNED:
        cause, diagnosis = "only-queries", "keys are not turned"
    elif apart(q, still) <= TURNED:
        cause, diagnosis = "only-keys", "queries are not turned"
    else:
        cause, diagnosis = "differ", "queries and keys are turned by different angles"
    return failed(cause, measured, TURNED, case="queries and keys at the first 8 positions", diagnosis=diagnosis)
