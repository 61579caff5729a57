"""Bugs in the modular encoder-decoder, set aside while the checks are written."""

from bare.answers import CACHE, GENERATE, INFERENCE
from bare.bug import Bug

BUGS = (
    Bug(
        "step-encodes-the-target",
        "cache",
        "memory = self.encode(source, all_real(source)) if cache is None else cache.memory",
        "memory = self.encode(target, all_real(target)) if cache is None else cache.memory",
        "step encodes the first tokens of the target in place of the source",
        (*CACHE, *GENERATE, *INFERENCE),
    ),
)
