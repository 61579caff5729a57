"""Bugs in the GPT in a single file."""

from bare.answers import INFERENCE, RESIDUAL
from bare.bug import Bug

BUGS = (
    Bug(
        "hidden-layer-replaces-the-stream",
        "residual",
        "        return x + self.mlp(self.ln_2(x))\n",
        "        return self.mlp(self.ln_2(x))\n",
        "the residual around the feed-forward is missing",
        RESIDUAL,
    ),
    Bug(
        "inference-of-another-position",
        "inference",
        "return self.head(x[:, [-1], :]), None",
        "return self.head(x[:, [T // 2], :]), None",
        "without targets the logits are those of the middle position",
        INFERENCE,
    ),
    Bug(
        "inference-before-the-last-norm",
        "inference",
        "        x = self.ln_f(x)\n        if targets is None:\n            return self.head(x[:, [-1], :]), None\n",
        "        if targets is None:\n            return self.head(x[:, [-1], :]), None\n        x = self.ln_f(x)\n",
        "without targets the last norm is left out",
        INFERENCE,
    ),
)
