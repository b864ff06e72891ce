"""Build checkpoints, artifacts and answers once, and keep them."""
