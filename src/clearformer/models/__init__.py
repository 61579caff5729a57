"""The families, assembled from blocks: `transformer` (encoder-decoder) and `gpt` (decoder-only).

`initial` says what every parameter is called, how large it is and where it starts, in NumPy alone.
"""
