"""The demo: train two models, prove four claims and write a report."""
