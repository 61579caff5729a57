"""One alphabet of dimensions, the same in signatures, error messages and on plots.

A signature such as `Float[Tensor, "B T D"]` names its axes with these letters; under pytest they are checked at every
call. Lower-case `*tokens` stands for any number of leading axes.
"""

ALPHABET = {
    "B": "batch",
    "T": "query or target length, in tokens",
    "S": "key or source length, in tokens",
    "D": "model width (d_model)",
    "H": "attention heads",
    "G": "key-value heads",
    "E": "width of one head",
    "F": "feed-forward width (d_ff)",
    "V": "vocabulary",
    "L": "layers",
    "C": "classes",
}
