"""Compare runs over time: today's with a stored baseline, and every committed run with the one before it."""
