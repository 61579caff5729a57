"""A run's folder: configuration, tokenizer, data, metrics, checkpoints; and the session that trains it."""
