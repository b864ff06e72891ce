"""Intervals and decision rules: pure functions on numbers, from numpy and scipy alone."""
