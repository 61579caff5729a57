"""Checks of sinusoidal positions."""

import math

import torch
from torch import Tensor

from clearformer.checks.outcome import DoesNotApply, Outcome, failed, passed
from clearformer.checks.parts.probe import apart, closest, tensor_of
from clearformer.checks.parts.sinusoidal import BASE, CLOSE, LENGTH, Sinusoidal


def layout(part: Sinusoidal) -> Outcome:
    """Sine and cosine of the same angle stand in pairs.

    With both, the vector of a place further on is a fixed rotation of this one, so distances look the same everywhere.
    With sines alone, or with a frequency of its own for every column, they do not.

    The paper's columns alternate (sin, cos, sin, cos); tensor2tensor has all sines first. Both are right and it is said
    which was found; but weights trained with one do not fit the other.
    """
    reading = part.reading
    if reading is not None:
        wanted = part.says.get("layout", reading.layout)
        if wanted != reading.layout:
            diagnosis = f"sines and cosines are laid out as {reading.layout}, and {wanted} was meant"
            return failed("layout", 1.0, 0.0, case="the order of the columns", diagnosis=diagnosis)
        order = ", cosines first" if reading.cosine_first else ""
        return passed(0.0, 0.0, f"layout: {reading.layout}{order}; called with {part.style}")
    p, j = torch.arange(LENGTH, dtype=torch.float64)[:, None], torch.arange(part.width, dtype=torch.float64)
    shared, own, doubled = (p * BASE ** (-exponent / part.width) for exponent in (j // 2 * 2, j, 2 * j))
    table = {"only-sines": shared.sin(), "only-cosines": shared.cos()}
    for angles in (own, doubled):
        alternating = torch.where(j % 2 == 0, angles.sin(), angles.cos())
        if apart(part.table, alternating) <= CLOSE:
            table["own-frequencies"] = alternating
    cause = closest(part.table, table, CLOSE)
    squares = min(apart(square, torch.ones_like(square)) for square in _squares(part))
    return failed(
        cause, squares, CLOSE, case="sin² + cos² of a pair of columns is not 1 everywhere", diagnosis=DIAGNOSES[cause]
    )


def _squares(part: Sinusoidal) -> tuple[Tensor, Tensor]:
    return part.table.unflatten(1, (-1, 2)).square().sum(-1), part.halves().square().sum(-1)


DIAGNOSES = {
    "own-frequencies": "every column has a frequency of its own: the exponent is the column's number j where it should "
    "be that of the pair, 2 (j // 2)",
    "only-sines": "all columns are sines",
    "only-cosines": "all columns are cosines",
    "other": "the columns are not a sine and a cosine of the same angle, either side by side or half the width apart",
}


def frequencies(part: Sinusoidal) -> Outcome:
    """The frequencies fall from 1 to nearly 1/10000, by the same factor from pair to pair.

    The angle of pair i at position p is p / 10000^(2i/D). Twice the exponent leaves most pairs without any motion over
    a text's length; half of it, or a small base, makes far places look alike.

    They are measured as the angle between neighbouring positions. An exponent of i / (D/2 - 1), which tensor2tensor and
    fairseq have, is right too. Measured is the largest deviation, as a share.
    """
    found, half = part.read().frequencies, part.width // 2
    base, i = float(part.says.get("base", BASE)), torch.arange(half, dtype=torch.float64)
    steps = {"i/(D/2)": i / half, "i/(D/2 - 1)": i / max(half - 1, 1)}
    off = {name: float((found / base**-step - 1).abs().max()) for name, step in steps.items()}
    name = min(off, key=lambda name: off[name])
    if off[name] <= CLOSE:
        return passed(off[name], CLOSE, f"base {base:g}, exponent {name}")
    cause, diagnosis = explain_frequencies(found, base)
    return failed(
        cause, off[name], CLOSE, case=f"found {_few(found)}; expected {_few(base ** -steps['i/(D/2)'])}", diagnosis=diagnosis
    )


def explain_frequencies(found: Tensor, base: float) -> tuple[str, str]:
    """Cause and meaning, of rotary positions too."""
    half = len(found)
    if not bool((found > 0).all()) or abs(float(found[0]) - 1) > CLOSE:
        return "scaled", f"the highest frequency is {float(found[0]):.4g} and not 1: positions are multiplied by it"
    ratios = found[1:] / found[:-1]
    if half < 2 or float((ratios / ratios[0] - 1).abs().max()) > 10 * CLOSE:
        return (
            "uneven",
            "they do not fall by one factor; if that is meant (YaRN, Llama 3), leave this check out with --skip",
        )
    of_base = float(ratios[0]) ** -half
    if math.isclose(of_base, base**2, rel_tol=0.01):
        return "exponent-doubled", "the exponent is 4i/D where it should be 2i/D: an even number was doubled again"
    if math.isclose(of_base, base**0.5, rel_tol=0.01):
        return "exponent-halved", "the exponent is i/D where it should be 2i/D: every frequency is too high"
    return "base", f"the base is {of_base:.5g} and not {base:g}"


def _few(numbers: Tensor) -> str:
    shown = [f"{number:.3g}" for number in numbers.tolist()]
    return ", ".join(shown if len(shown) < 6 else [*shown[:3], "...", shown[-1]])


def start(part: Sinusoidal) -> Outcome:
    """The first position is 0: its sines are 0 and its cosines 1.

    Starting elsewhere does no harm by itself, but weights trained with one start do not fit another, and a cache that
    counts from 0 shifts every new token by one.

    The first row's angle is measured, in steps of one position.
    """
    found = part.read().start
    if abs(found) <= CLOSE:
        return passed(abs(found), CLOSE)
    case, diagnosis = f"the first row is position {found:.4g}", "positions are counted from another number than 0"
    return failed("starts-at-1" if abs(found - 1) <= CLOSE else "start", abs(found), CLOSE, case=case, diagnosis=diagnosis)


def length(part: Sinusoidal) -> Outcome:
    """A position's vector does not depend on how long the text is.

    If positions are divided by the length, or counted from the end, the same place has another vector in every text.

    Tables of 12 and of 7 positions are compared row by row.
    """
    measured = apart(part.make(7), part.table[:7])
    if measured <= CLOSE:
        return passed(measured, CLOSE)
    diagnosis = "positions are scaled by the length, or counted from the end"
    return failed(
        "depends-on-length", measured, CLOSE, case="the rows of 7 positions and the first 7 of 12", diagnosis=diagnosis
    )


def added(part: Sinusoidal) -> Outcome:
    """Positions are added to x, and x itself stays as it is.

    A product in the sum's place, or dropout that is always on, mixes what a token is with where it stands.

    The module is called with zeros and with random vectors; the difference must be the vectors, or nothing where it
    returns the table alone. Some modules multiply x by sqrt(D) first; that is right too, if the embedding does not.
    """
    if not part.style.startswith("x"):
        raise DoesNotApply("it makes a table and reads no vectors")
    x = part.draw(*part.example()[0].shape)
    difference = (tensor_of(part.raw(x.clone())) - tensor_of(part.raw(0 * x))).reshape(x.shape).double()
    forms = {"x is added": x, "x is not added": torch.zeros_like(x), "x sqrt(D) is added": x * math.sqrt(part.width)}
    name = closest(difference, forms, CLOSE)
    if name != "other":
        return passed(0.0, CLOSE, name)
    diagnosis = "x is changed by more than an addition: dropout that is always on, or a product in place of the sum"
    return failed("x-changed", apart(difference, x), CLOSE, case="with random vectors and with zeros", diagnosis=diagnosis)
