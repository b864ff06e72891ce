"""Rows of a task: read from their source, split, and encoded as tensors; files of the Hugging Face Hub."""
