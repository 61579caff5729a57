"""Stage 5, explain: what a measured difference means, and which cause it has."""
