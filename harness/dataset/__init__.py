"""Rows of a source become splits, and splits arrays."""
