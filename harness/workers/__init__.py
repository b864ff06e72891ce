"""One backend in a process of its own, and the parent's end of it."""
