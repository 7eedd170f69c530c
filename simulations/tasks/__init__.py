"""Built-in tasks on real data; each is also an example to copy."""
