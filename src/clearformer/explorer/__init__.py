"""The page in which a browser runs a run's model: `static` is its source, and `write` puts all into one file."""
