"""The coordinator's half: rounds over a Flower grid, of which it learns sums only."""
