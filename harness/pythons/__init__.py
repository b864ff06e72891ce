"""Python environments beside the one that pytest runs in."""
