"""What `python -m harness` does by itself, and how it finds the cases of suites."""
