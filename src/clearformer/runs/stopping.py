"""When training ends before its last step: at a low validation loss, or once validations bring no new best."""

import math
from collections.abc import Sequence

from clearformer.config import TrainConfig


def since_best(losses: Sequence[float]) -> int:
    """How many validations there were after the one with the lowest loss; of equal ones, after the first."""
    best, count = math.inf, 0
    for loss in losses:
        best, count = (loss, 0) if loss < best else (best, count + 1)
    return count


def reason_to_stop(losses: Sequence[float], config: TrainConfig) -> str:
    """Why the validation losses so far, in their order, end training, in words; "" if they do not."""
    if losses and losses[-1] < config.stop_below:
        return f"the validation loss is below {config.stop_below:g}"
    if 0 < config.patience <= since_best(losses):
        return f"{config.patience} validations in a row brought no new best loss"
    return ""
