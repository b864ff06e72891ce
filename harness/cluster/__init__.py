"""Sessions over a Ray cluster: comparisons are measured on its nodes, and their results come back."""
