"""The command `clearformer`: parses arguments, calls the API and prints; it contains no other logic."""
