"""Stage 3, probe: make inputs, call the model, and measure what depends on what."""
