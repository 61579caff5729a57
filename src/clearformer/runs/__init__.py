"""Runs: the folder with configuration, tokenizer, metrics and checkpoints, and the session that trains it."""
