"""A transformer in NumPy, with its own autograd: what PyTorch does for a model, small enough to read.

Reading order: `rules` (the table of derivatives), `modes` and `tape` (the backward pass), `tensor` (an array that
records the operation that created it), `fused` (whole formulas with hand-written derivatives), and `functional` (all
operations by name).
"""
