"""The phases of grokking: memorisation, formation of the circuit, cleanup.

    memorised   first step whose loss on the training equations is below THRESHOLD
    formed      first step whose restricted loss is: the key frequencies alone answer every equation
    grokked     first step whose loss on the held-out equations is: the model does

Nanda et al. 2023, arXiv:2301.05217, section 5.2, read three phases off their curves: the training loss falls; then the
restricted loss falls and the excluded rises, while the held-out loss stays high; at last the held-out loss falls, when
weight decay removes what was memorised. Cleanup is here what is left to do once the circuit could answer alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

THRESHOLD = 0.1
"""nats: the right answer has then a probability of about 0.9"""
NAMES = ("memorisation", "circuit formation", "cleanup")


@dataclass(frozen=True)
class Phases:
    """The step at which each phase is over; None where it is not."""

    memorised: int | None
    formed: int | None
    grokked: int | None

    def spans(self, first: int, last: int) -> dict[str, tuple[int, int]]:
        """First and last step of each phase, between the steps `first` and `last`.

        With much training data a model generalises while it memorises, and lacks later phases. Without a restricted
        loss, formation and cleanup cannot be told apart, and count as formation.
        """
        formed = min((step for step in (self.formed, self.grokked) if step is not None), default=None)
        found, begin = {}, first
        for name, over in zip(NAMES, (self.memorised, formed, self.grokked), strict=True):
            end = last if over is None else over
            if end > begin:
                found[name] = (begin, end)
                begin = end
        return found


def first_below(steps: Sequence[int], values: Sequence[float | None]) -> int | None:
    """The first step whose value is below THRESHOLD."""
    below = (step for step, value in zip(steps, values, strict=True) if value is not None and value < THRESHOLD)
    return next(below, None)


def phases(
    steps: Sequence[int],
    loss: Sequence[float],
    restricted_loss: Sequence[float | None],
    held_out_loss: Sequence[float],
) -> Phases:
    """The phases of these curves, in steps; `restricted_loss` is None where the operation has no circle."""
    return Phases(*(first_below(steps, curve) for curve in (loss, restricted_loss, held_out_loss)))
