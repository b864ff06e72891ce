"""Python environments other than pytest's, in which backends build and run."""
