"""Intervals and decision rules: pure functions on arrays."""
