"""Models of Hugging Face's transformers in and out: a table of names for each format, read in both directions."""
