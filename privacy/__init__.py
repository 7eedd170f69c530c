"""Secure sums, differential privacy and its accounting. No Flower, no network."""
