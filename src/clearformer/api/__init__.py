"""The Python API: `train`, `open_run` and `Run`, text in and text out. The command line uses the same functions."""
