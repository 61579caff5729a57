"""A transformer in C11, compiled at first use: see transformer.h, which says in which order to read the C files.

In Python: `library` (compile and declare), `model` (weights and forward passes), `training`, `decoding`, `engine`, and
`touch` to look inside.
"""
