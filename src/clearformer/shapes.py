"""The alphabet of dimensions, shared by signatures, error messages and plots.

A signature such as `Float[Tensor, "B T D"]` names its axes with these letters; the tests check it at every call.
An axis outside the alphabet is a lower-case word. `*tokens` stands for any number of leading axes.
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
    "V": "vocabulary size",
    "L": "layers",
    "C": "classes",
}
