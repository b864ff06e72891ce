"""What is known of a case, on disk and as tables."""
