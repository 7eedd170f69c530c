"""Mechanisms: what is added to a value before it may leave a site."""
