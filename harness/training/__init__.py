"""A model and rows become a checkpoint."""
