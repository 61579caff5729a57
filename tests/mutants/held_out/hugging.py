"""Bugs in the model like those of Hugging Face, set aside while the checks are written."""

from bare.answers import INPUT
from bare.bug import Bug

BUGS = (
    Bug(
        "labels-overwritten-by-the-loss",
        "input",
        "    shift_logits, shift_labels = logits[:, :-1], labels[:, 1:]\n",
        "    labels[:, 0] = -100\n    shift_logits, shift_labels = logits[:, :-1], labels[:, 1:]\n",
        "the loss writes into the caller's labels",
        INPUT,
    ),
)
