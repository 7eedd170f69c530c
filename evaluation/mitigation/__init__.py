"""Treating groups more alike: weights, multipliers, thresholds, and what they changed."""
