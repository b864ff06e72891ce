"""TODO regression."""
