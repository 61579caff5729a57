"""Checks of sinusoidal positions."""

import math

import torch
from torch import Tensor

from clearformer.checks.outcome import DoesNotApply, Outcome, failed, passed
from clearformer.checks.parts.probe import closest, first_tensor, relative_error
from clearformer.checks.parts.sinusoidal import BASE, FREQUENCY_TOLERANCE, LENGTH, SinusoidalProbe


def layout(probe: SinusoidalProbe) -> Outcome:
    """Sine and cosine of the same angle are in pairs.

    With both, the vector of a later position is a fixed rotation of this one, so distances look the same everywhere.
    With sines alone, or with a frequency of its own for every column, they do not.

    The paper's columns alternate (sin, cos, sin, cos); tensor2tensor has all sines first. Both are right and the one
    found is reported; but weights trained with one do not fit the other.
    """
    reading = probe.reading
    if reading is not None:
        expected = probe.declared.get("layout", reading.layout)
        if expected != reading.layout:
            diagnosis = f"sines and cosines are laid out as {reading.layout}, and {expected} is declared"
            return failed("layout", 1.0, 0.0, case="the order of the columns", diagnosis=diagnosis)
        order = ", cosines first" if reading.cosine_first else ""
        return passed(0.0, 0.0, f"layout: {reading.layout}{order}; called with {probe.form}")
    p, j = torch.arange(LENGTH, dtype=torch.float64)[:, None], torch.arange(probe.width, dtype=torch.float64)
    shared, per_column, doubled = (p * BASE ** (-exponent / probe.width) for exponent in (j // 2 * 2, j, 2 * j))
    table = {"only-sines": shared.sin(), "only-cosines": shared.cos()}
    for angles in (per_column, doubled):
        alternating = torch.where(j % 2 == 0, angles.sin(), angles.cos())
        if relative_error(probe.table, alternating) <= FREQUENCY_TOLERANCE:
            table["own-frequencies"] = alternating
    cause = closest(probe.table, table, FREQUENCY_TOLERANCE)
    squares = min(relative_error(square, torch.ones_like(square)) for square in _squares(probe))
    return failed(
        cause,
        squares,
        FREQUENCY_TOLERANCE,
        case="sin² + cos² of a pair of columns is not 1 everywhere",
        diagnosis=DIAGNOSES[cause],
    )


def _squares(probe: SinusoidalProbe) -> tuple[Tensor, Tensor]:
    return probe.table.unflatten(1, (-1, 2)).square().sum(-1), probe.halves().square().sum(-1)


DIAGNOSES = {
    "own-frequencies": "every column has a frequency of its own: the exponent uses the column's index j instead of the "
    "pair's, 2 (j // 2)",
    "only-sines": "all columns are sines",
    "only-cosines": "all columns are cosines",
    "other": "the columns are not a sine and a cosine of the same angle, either side by side or half the width apart",
}


def frequencies(probe: SinusoidalProbe) -> Outcome:
    """The frequencies fall from 1 to nearly 1/10000, by a constant factor from pair to pair.

    The angle of pair i at position p is p / 10000^(2i/D). Twice the exponent leaves most pairs almost constant over the
    length of a sequence; half of it, or a small base, makes distant positions look alike.

    They are measured as the angle between neighbouring positions. An exponent of i / (D/2 - 1), as in tensor2tensor and
    fairseq, is right too. Measured is the largest relative error.
    """
    found, half = probe.require_reading().frequencies, probe.width // 2
    base, i = float(probe.declared.get("base", BASE)), torch.arange(half, dtype=torch.float64)
    steps = {"i/(D/2)": i / half, "i/(D/2 - 1)": i / max(half - 1, 1)}
    errors = {name: float((found / base**-step - 1).abs().max()) for name, step in steps.items()}
    name = min(errors, key=lambda name: errors[name])
    if errors[name] <= FREQUENCY_TOLERANCE:
        return passed(errors[name], FREQUENCY_TOLERANCE, f"base {base:g}, exponent {name}")
    cause, diagnosis = explain_frequencies(found, base)
    return failed(
        cause,
        errors[name],
        FREQUENCY_TOLERANCE,
        case=f"found {_shortened(found)}; expected {_shortened(base ** -steps['i/(D/2)'])}",
        diagnosis=diagnosis,
    )


def explain_frequencies(found: Tensor, base: float) -> tuple[str, str]:
    """The cause of wrong frequencies, and its diagnosis; used for rotary positions too."""
    half = len(found)
    if not bool((found > 0).all()) or abs(float(found[0]) - 1) > FREQUENCY_TOLERANCE:
        return "scaled", f"the highest frequency is {float(found[0]):.4g} instead of 1: positions are multiplied by it"
    ratios = found[1:] / found[:-1]
    if half < 2 or float((ratios / ratios[0] - 1).abs().max()) > 10 * FREQUENCY_TOLERANCE:
        return (
            "uneven",
            "they do not fall by a constant factor; if that is intended (YaRN, Llama 3), ignore this check",
        )
    of_base = float(ratios[0]) ** -half
    if math.isclose(of_base, base**2, rel_tol=0.01):
        return "exponent-doubled", "the exponent is 4i/D instead of 2i/D: an even number was doubled again"
    if math.isclose(of_base, base**0.5, rel_tol=0.01):
        return "exponent-halved", "the exponent is i/D instead of 2i/D: every frequency is too high"
    return "base", f"the base is {of_base:.5g} instead of {base:g}"


def _shortened(numbers: Tensor) -> str:
    shown = [f"{number:.3g}" for number in numbers.tolist()]
    return ", ".join(shown if len(shown) < 6 else [*shown[:3], "...", shown[-1]])


def start(probe: SinusoidalProbe) -> Outcome:
    """The first position is 0: its sines are 0 and its cosines 1.

    Another start does no harm by itself, but weights trained with one start do not fit another, and a cache that counts
    from 0 shifts every new token by one.

    The first row's angle is measured, in steps of one position.
    """
    found = probe.require_reading().start
    if abs(found) <= FREQUENCY_TOLERANCE:
        return passed(abs(found), FREQUENCY_TOLERANCE)
    case, diagnosis = f"the first row is position {found:.4g}", "positions do not start at 0"
    return failed(
        "starts-at-1" if abs(found - 1) <= FREQUENCY_TOLERANCE else "start",
        abs(found),
        FREQUENCY_TOLERANCE,
        case=case,
        diagnosis=diagnosis,
    )


def length(probe: SinusoidalProbe) -> Outcome:
    """A position's vector does not depend on the length of the sequence.

    If positions are divided by the length, or counted from the end, the same position has another vector in every
    sequence.

    Tables of 12 and of 7 positions are compared row by row.
    """
    measured = relative_error(probe.make(7), probe.table[:7])
    if measured <= FREQUENCY_TOLERANCE:
        return passed(measured, FREQUENCY_TOLERANCE)
    diagnosis = "positions are scaled by the length, or counted from the end"
    return failed(
        "depends-on-length",
        measured,
        FREQUENCY_TOLERANCE,
        case="the rows of 7 positions and the first 7 of 12",
        diagnosis=diagnosis,
    )


def added(probe: SinusoidalProbe) -> Outcome:
    """Positions are added to x, and x itself is unchanged.

    A product instead of the sum, or dropout that is always on, mixes the content of a token with its position.

    The module is called with zeros and with random vectors; the difference must be the vectors, or nothing where it
    returns the table alone. Some modules multiply x by sqrt(D) first; that is right too, if the embedding does not.
    """
    if not probe.form.startswith("x"):
        raise DoesNotApply("it makes a table and reads no vectors")
    x = probe.draw(*probe.example()[0].shape)
    difference = (
        (first_tensor(probe.call_raw(x.clone())) - first_tensor(probe.call_raw(0 * x))).reshape(x.shape).double()
    )
    forms = {"x is added": x, "x is not added": torch.zeros_like(x), "x sqrt(D) is added": x * math.sqrt(probe.width)}
    name = closest(difference, forms, FREQUENCY_TOLERANCE)
    if name != "other":
        return passed(0.0, FREQUENCY_TOLERANCE, name)
    diagnosis = "x is changed by more than an addition: by dropout that is always on, or a product instead of the sum"
    return failed(
        "x-changed",
        relative_error(difference, x),
        FREQUENCY_TOLERANCE,
        case="with random vectors and with zeros",
        diagnosis=diagnosis,
    )
