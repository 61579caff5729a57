"""Checks of rotary positions."""

import torch

from clearformer.checks.outcome import DoesNotApply, Outcome, failed, passed
from clearformer.checks.parts.probe import relative_error
from clearformer.checks.parts.rotary import LENGTH, OFFSET, TOLERANCE, RotaryProbe, rotation_error
from clearformer.checks.parts.sinusoidal import BASE, FREQUENCY_TOLERANCE
from clearformer.checks.parts.sinusoidal_checks import explain_frequencies


def layout(probe: RotaryProbe) -> Outcome:
    """Elements are rotated in pairs: neighbours, or half a head apart.

    Both layouts are right, and the one found is reported. The paper and Meta's Llama rotate neighbours (interleaved),
    Hugging Face's Llama and GPT-NeoX rotate halves; weights of one do not fit the other until rows are permuted, and
    nothing raises an error.

    The effect of each position on each element is read as a matrix. Declare a layout with `PartSubject(part, {"layout":
    "interleaved"})`, or "half-split".
    """
    reading = probe.reading
    if reading is not None:
        expected = probe.declared.get("layout", reading.layout)
        if expected != reading.layout and reading.width > 2:
            diagnosis = (
                f"elements are paired as {reading.layout}, and {expected} is declared: imported weights do not fit"
            )
            return failed("layout", 1.0, 0.0, case="which elements are rotated in pairs", diagnosis=diagnosis)
        note = f"{reading.layout}; called with {probe.arguments} as {probe.shape}"
        if reading.width < probe.width:
            note += f"; only the first {reading.width} of {probe.width} elements are rotated"
        return passed(0.0, 0.0, note)
    diagonal = float((probe.rotations - torch.eye(probe.width)).abs().max())
    if not probe.rotations.isfinite().all():
        return failed(
            "not-finite",
            torch.inf,
            0.0,
            case="NaN or infinity at the first positions",
            diagnosis="the cosines or sines are not finite",
        )
    if diagonal == 0.0:
        diagnosis = "nothing is rotated: the output is the input"
        return failed("unturned", 1.0, 0.0, case="the first 8 positions", diagnosis=diagnosis)
    off = probe.rotations * (1 - torch.eye(probe.width))
    if float(off.abs().max()) == 0.0:
        diagnosis = "the sines are missing: each element is only multiplied by a cosine"
        return failed("no-sine", 1.0, 0.0, case="no element has influence on another", diagnosis=diagnosis)
    diagnosis = "the elements of a pair are neither neighbours nor half a head apart"
    return failed("pairs", 1.0, 0.0, case="which elements are rotated in pairs", diagnosis=diagnosis)


def norm(probe: RotaryProbe) -> Outcome:
    """A vector is rotated and keeps its length.

    A wrong sign in one half, or angles in one layout with pairs in the other, stretches vectors, by a different factor
    at each position. Attention then still depends on positions, so training works, but not on distances.

    The matrix of each position times its transpose must be the identity. The rotation is (a cos - b sin, b cos + a
    sin).
    """
    R, measured = probe.rotations, rotation_error(probe)  # noqa: N806
    if measured <= TOLERANCE:
        return passed(measured, TOLERANCE)
    if probe.reading is None:
        raise DoesNotApply("elements are not rotated in pairs; see rotary.layout")
    i, half = torch.arange(probe.reading.width // 2), probe.reading.width // 2
    a, b = (i, i + half) if probe.reading.layout == "half-split" else (2 * i, 2 * i + 1)
    if relative_error(R[:, a, a], R[:, b, b]) > TOLERANCE:
        cause, diagnosis = "mixed-layouts", "the pairs are of one layout, and the angles are repeated as in the other"
    elif relative_error(R[:, a, b], R[:, b, a]) <= TOLERANCE:
        cause, diagnosis = "sign", "the sine has the same sign in both halves of a pair; one of them must be negative"
    else:
        cause, diagnosis = "scaled", "vectors are made longer or shorter"
    return failed(
        cause, measured, TOLERANCE, case="lengths change at one of the first 8 positions", diagnosis=diagnosis
    )


def relative(probe: RotaryProbe) -> Outcome:
    """The score of a query and a key depends on their distance alone.

    This is the purpose of rotary positions: R(p) q · R(s) k is the same for all p and s with the same s - p.

    Products of the matrices at distances 0 to 4 are compared at several positions.
    """
    R = probe.rotations  # noqa: N806
    if _positions_are_alike(probe):
        diagnosis = "all positions are treated alike: the positions have no effect"
        return failed("positions-ignored", 1.0, TOLERANCE, case="the first 8 positions", diagnosis=diagnosis)
    keys = probe.matrices()[-1]
    scores = torch.einsum("pij,sik->psjk", R, keys)
    worst = (
        max(relative_error(scores[p, p + d], scores[0, d]) for d in range(5) for p in range(LENGTH - d))
        / probe.width**0.5
    )
    if worst <= TOLERANCE:
        return passed(worst, TOLERANCE)
    case, diagnosis = "the same distance at two positions gives two scores", "scores depend on absolute positions"
    return failed("absolute", worst, TOLERANCE, case=case, diagnosis=diagnosis)


def _positions_are_alike(probe: RotaryProbe) -> bool:
    return relative_error(probe.rotations, probe.rotations[:1].expand_as(probe.rotations)) <= TOLERANCE


def frequencies(probe: RotaryProbe) -> Outcome:
    """The angles fall by a constant factor from pair to pair: base^(-2i/E) per position.

    Bases from 10,000 (RoFormer, Llama) to 10,000,000 are used for long contexts, and the one found is reported. A model
    does not work with another base than it was trained with.

    The angles are measured between neighbouring positions. Declare a base with `PartSubject(part, {"base": 500_000})`;
    then it must be this one.
    """
    step = probe.require_reading().angles[1] - probe.require_reading().angles[0]
    found = ((step + torch.pi) % (2 * torch.pi) - torch.pi).abs()
    half, declared_base = len(found), probe.declared.get("base")
    ratio = float(found[-1] / found[0]) ** (1 / max(half - 1, 1)) if half > 1 else BASE ** (-1 / half)
    likely = half == 1 or 0.99 * BASE < ratio**-half < 1.01e7
    base = float(declared_base) if declared_base is not None else (ratio**-half if likely else BASE)
    expected = base ** -(torch.arange(half, dtype=torch.float64) / half)
    measured = float((found / expected - 1).abs().max())
    if measured <= FREQUENCY_TOLERANCE:
        return passed(measured, FREQUENCY_TOLERANCE, f"base {base:.5g}")
    cause, diagnosis = explain_frequencies(found, base)
    case = (
        f"the angles of a step are {found[0]:.3g} to {found[-1]:.3g}; expected {expected[0]:.3g} to {expected[-1]:.3g}"
    )
    return failed(cause, measured, FREQUENCY_TOLERANCE, case=case, diagnosis=diagnosis)


def start(probe: RotaryProbe) -> Outcome:
    """At position 0 nothing is rotated.

    Another start changes no score as long as queries and keys agree; but weights and caches of other implementations
    start at 0.

    The angle at the first position is measured, in steps of one position.
    """
    angles = probe.require_reading().angles
    found = float(angles[0, 0] / (angles[1, 0] - angles[0, 0]))
    if abs(found) <= FREQUENCY_TOLERANCE:
        return passed(abs(found), FREQUENCY_TOLERANCE)
    case = f"the first position is {found:.4g}"
    diagnosis = "positions do not start at 0"
    return failed(
        "starts-at-1" if abs(found - 1) <= FREQUENCY_TOLERANCE else "start",
        abs(found),
        FREQUENCY_TOLERANCE,
        case=case,
        diagnosis=diagnosis,
    )


def offset(probe: RotaryProbe) -> Outcome:
    """Tokens after cached ones are rotated by their own positions.

    If the offset is ignored, each new token gets position 0 again: generation with a cache fails while training is
    fine.

    The matrices from offset 3 on are compared with those from 0.
    """
    if probe.arguments in ("x", "q, k"):
        raise DoesNotApply("it takes neither positions nor an offset")
    if _positions_are_alike(probe):
        raise DoesNotApply("all positions are treated alike; see rotary.relative")
    later, first = probe.matrices(OFFSET)[0], probe.rotations
    n = LENGTH - OFFSET - 1
    measured = relative_error(later[:n], first[OFFSET : OFFSET + n])
    if measured <= TOLERANCE:
        return passed(measured, TOLERANCE)
    if relative_error(later, first) <= TOLERANCE:
        cause, diagnosis = "offset-ignored", "positions start at 0, whatever the offset or positions passed"
    elif any(relative_error(later[:n], first[OFFSET + k : OFFSET + k + n]) <= TOLERANCE for k in (-1, 1)):
        cause, diagnosis = "off-by-one", "with an offset, positions are off by one"
    else:
        cause, diagnosis = "other", "the offset is not added to the positions"
    return failed(
        cause,
        measured,
        TOLERANCE,
        case=f"position {OFFSET}, by an offset and in a sequence from 0",
        diagnosis=diagnosis,
    )


def both(probe: RotaryProbe) -> Outcome:
    """Queries and keys are rotated by the same angles.

    If only one of them is rotated, or both by different angles, a score depends on absolute positions.

    The matrices of queries and keys are compared.
    """
    if not probe.arguments.startswith("q"):
        raise DoesNotApply("it rotates one tensor at a time")
    q, k = probe.matrices()
    measured = relative_error(k, q)
    if measured <= TOLERANCE:
        return passed(measured, TOLERANCE)
    identity = torch.eye(probe.width).expand(LENGTH, -1, -1)
    if relative_error(k, identity) <= TOLERANCE:
        cause, diagnosis = "only-queries", "keys are not rotated"
    elif relative_error(q, identity) <= TOLERANCE:
        cause, diagnosis = "only-keys", "queries are not rotated"
    else:
        cause, diagnosis = "differ", "queries and keys are rotated by different angles"
    return failed(cause, measured, TOLERANCE, case="queries and keys at the first 8 positions", diagnosis=diagnosis)
