"""Helpers that know nothing of benchmarks: files, the store, fingerprints, text, the machine, the console."""
