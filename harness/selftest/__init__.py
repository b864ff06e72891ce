"""The experiments behind the numbers: `python -m harness selftest`.

Each part counts how often a safety works, and how often the error returns once the safety is switched off. Every seed,
count and threshold is in `figures.py`; `command.py` lists the parts.
"""
