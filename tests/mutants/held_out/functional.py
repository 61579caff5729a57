"""Bugs in the functional masked language model, set aside while the checks are written."""

from bare.answers import DROPOUT, DROWNED, INFERENCE
from bare.bug import Bug

BUGS = (
    Bug(
        "embedding-not-scaled-beside-its-positions",
        "order",
        'p["embed"][tokens] * math.sqrt(WIDTH) + positions(real)',
        'p["embed"][tokens] + positions(real)',
        "embeddings of 0.02 are not scaled up: positions of size 1 drown them",
        DROWNED,
    ),
    Bug(
        "dropout-without-its-scale",
        "dropout",
        "return x * keep / (1 - DROPOUT)",
        "return x * keep",
        "dropout does not scale up what it keeps: training sees smaller numbers than evaluation",
        (*DROPOUT, *INFERENCE),
    ),
)
