"""Queries over the pooled rows: what is counted for them, and what the sums say."""
