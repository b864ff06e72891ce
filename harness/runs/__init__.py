"""Runs of other days: what became of a case since."""
