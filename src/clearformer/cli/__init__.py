"""The command `clearformer`: it parses, calls and prints; what it does stands elsewhere."""
