"""Bugs in the GPT in a single file, set aside while the checks are written."""

from bare.answers import GRADIENTS
from bare.bug import Bug

BUGS = (
    Bug(
        "joint-projection-of-two-thirds",
        "parameters",
        "        q, k, v = self.qkv(x).split(D, dim=2)\n",
        "        q, k, _ = self.qkv(x).split(D, dim=2)\n        v = k\n",
        "values are the keys: a third of the joint projection is never trained",
        GRADIENTS,
    ),
)
