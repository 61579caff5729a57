"""Bugs in the model like those of Hugging Face."""

from bare.answers import EPSILON, UNUSED_ARGUMENT
from bare.bug import Bug

BUGS = (
    Bug(
        "position-ids-ignored",
        "arguments",
        "        if position_ids is None:\n            position_ids =",
        "        if position_ids is None or position_ids is not None:\n            position_ids =",
        "position_ids are taken and have no influence",
        UNUSED_ARGUMENT,
    ),
    Bug(
        "norm-with-an-epsilon-of-a-half",
        "numbers",
        "return self.weight * hidden_states * torch.rsqrt(variance + self.eps)",
        "return self.weight * hidden_states * torch.rsqrt(variance + 0.5)",
        "the norm's epsilon of a half is far above the mean square of the embeddings",
        EPSILON,
    ),
)
