"""Look inside a model from outside: hooks on its blocks, and pictures of what they saw. Models know nothing of it."""
