"""Sharing the rows of one task out over simulated sites: drawn from a seed, saved and hashed."""
