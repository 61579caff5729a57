"""Checks of single parts of a transformer: `clearformer check FILE.py:FUNCTION --as PART`."""
