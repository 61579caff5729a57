"""From batches to a trained model: loss, optimizer, schedule, and the loop, which is a generator."""
