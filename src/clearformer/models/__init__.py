"""The families, assembled from blocks: `transformer` (encoder-decoder), `gpt` (decoder-only), `bert`, `classifier`.

`initial` has the name, shape and initial value of every parameter, in NumPy alone.
"""
