"""Training: loss, optimizer, learning-rate schedule, and the loop, which is a generator."""
