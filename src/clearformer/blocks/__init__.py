"""The parts of a transformer, one file a part: the formula as a function, and the module that runs its kernel.

In the order of the data: embedding, positions, masks, attention, multihead, cache, feedforward, norm, residual,
encoder, decoder. `python -m clearformer.blocks.attention` shows a block at work, and so does every other.
"""
