"""The Python API: `train`, `open_run` and what a `Run` does, text in and text out. The command calls the same."""
