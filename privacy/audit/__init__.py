"""Attacks on our own mechanisms: what they prove about epsilon, beside what is proven of it."""
