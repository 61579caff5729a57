"""The transformer in tinygrad, on whatever device it has; `adapter` knows its versions, and starts it."""
