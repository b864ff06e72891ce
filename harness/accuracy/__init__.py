"""What was answered, whether it is the same, and what it scores."""
