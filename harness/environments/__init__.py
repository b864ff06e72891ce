"""TODO environments."""
