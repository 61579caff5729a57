"""Bugs in the functional masked language model."""

from bare.answers import DROPOUT, RESIDUAL, ROWS_IN_TRAINING
from bare.bug import Bug

BUGS = (
    Bug(
        "only-the-last-layer's-result-kept",
        "residual",
        'x = layer_norm(p, "feed_forward_norm", layer, x + dropout(fed, training))',
        'x = layer_norm(p, "feed_forward_norm", layer, dropout(fed, training))',
        "the residual around the feed-forward is missing",
        RESIDUAL,
    ),
    Bug(
        "dropout-drawn-once-for-the-batch",
        "dropout",
        "    keep = torch.rand(x.shape) >= DROPOUT\n",
        "    keep = torch.rand(x.shape[1:]) >= DROPOUT\n",
        "all rows of a batch share one dropout mask",
        (*DROPOUT, *ROWS_IN_TRAINING),
    ),
)
