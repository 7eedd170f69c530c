"""A stock Flower app, and the same with secure aggregation."""
