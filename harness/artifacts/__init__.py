"""What is built once and kept."""
