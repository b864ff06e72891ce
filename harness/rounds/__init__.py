"""Every backend answers the same batches in turn, until the evidence suffices."""
