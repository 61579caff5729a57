"""Look inside a model with hooks on its blocks, and draw what they record. Models are not changed for it."""
