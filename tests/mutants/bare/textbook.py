"""Bugs in the textbook's classifier."""

from bare.answers import GRADIENTS, ORDER, PADDING, PAST, RESIDUAL
from bare.bug import Bug

BUGS = (
    Bug(
        "classifier-without-attention's-residual",
        "residual",
        "        x = self.norm_1(x + self.dropout(self.attention(x, real)))\n",
        "        x = self.norm_1(self.dropout(self.attention(x, real)))\n",
        "the residual around attention is missing",
        RESIDUAL,
    ),
    Bug(
        "padded-places-hide-the-tokens",
        "masks",
        "scores.masked_fill(~real[:, None, :], -1e30)",
        "scores.masked_fill(real[:, None, :], -1e30)",
        "attention sees the padding and not the tokens",
        (*PADDING, *PAST, *ORDER, *GRADIENTS),
    ),
)
