"""Stage 1, load: the user's model from a file, a module or a run, and the line of it that an error comes from."""
