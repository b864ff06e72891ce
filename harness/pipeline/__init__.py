"""The way from a comparison to its results: the only place that knows the order of the stages."""
