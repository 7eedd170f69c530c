"""Fairness, calibration and drift, learned only as sums. No Flower, no network."""
