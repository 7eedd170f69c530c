"""Sweeps: many runs of one configuration with some settings varied, and what they say together."""
