"""The order in which test rows are asked for: drawn once, the same for every backend."""

from __future__ import annotations

import numpy as np

SEED = 0


def order_of(rows: int, seed: int = SEED) -> list[int]:
    """The numbers of `rows` test rows in that order."""
    return [int(row) for row in np.random.default_rng(seed).permutation(rows)]


def batch_of(order: list[int], first: int, size: int) -> list[int]:
    """The rows of a batch whose first stands at place `first` of the order; after its last the order begins again."""
    return [order[(first + at) % len(order)] for at in range(size)]
