"""Evaluate a backend: its predictions and scores, the drop against another, and the parity of an export."""
