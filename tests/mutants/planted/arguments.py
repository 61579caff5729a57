"""Bugs in what a model does with what it is given."""

from planted.mutant import Mutant

PLANTED = {
    "arguments.used": [
        Mutant("given-positions-ignored", "hugging", "if position_ids is None:", "if True:", "unused"),
    ],
    "arguments.unchanged": [
        Mutant(
            "labels-rewritten",
            "single_file",
            "y.masked_fill(y == -100, -1)",
            "y.masked_fill_(y == -100, -1)",
            "in-place",
        ),
        Mutant(
            "mask-of-real-tokens-rewritten",
            "functional",
            "mask = real[:, None, None, :]",
            "mask = real.clone()[:, None, None, :]\n    real[:, -1] = True",
            "in-place",
        ),
    ],
}
