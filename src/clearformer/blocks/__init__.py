"""The parts of a transformer, one per file: the formula as a function, and the module that runs its fastest kernel.

In the order of the data flow: embedding, positions, masks, attention, multihead, cache, feedforward, norm, residual,
encoder, decoder. Each has a short demonstration, such as `python -m clearformer.blocks.attention`.
"""
