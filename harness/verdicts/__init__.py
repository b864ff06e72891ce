"""TODO verdicts."""
