"""A transformer in NumPy, with a gradient library of its own: what PyTorch does for a model, small enough to read.

In the order of reading: `rules` (the table of derivatives), `modes` and `tape` (how a gradient goes back), `tensor` (an
array that remembers where it came from), `fused` (whole formulas with derivatives by hand), and `functional` (all of
it, by name).
"""
