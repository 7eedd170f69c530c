"""The run report: one self-contained page, and rows for a terminal, from a `Summary` alone."""
