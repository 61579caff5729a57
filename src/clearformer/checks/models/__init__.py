"""Stage 4, check: the checks of a whole model, a file per group; `catalogue` lists them and `run` runs them."""
