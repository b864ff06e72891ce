"""What the evidence allows to be said, and which backend it recommends."""
