"""The checks, a file a group; `catalogue` lists them."""
