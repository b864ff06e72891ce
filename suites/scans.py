"""Shared by the suites on handwritten digits: scikit-learn's scans, one by one or laid out on canvases."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness import Package

CANVASES, SCALE = 1_500, 2
INK = 32
"""Grey value from which a pixel belongs to a digit."""


class Placed(NamedTuple):
    """A digit on a canvas."""

    digit: int
    y: int
    x: int
    ink: NDArray[np.bool_]
    """Which of its pixels, from the corner (y, x) on, belong to it."""


def scikit_digits(read: Callable[[Path], Iterable[dict[str, Any]]]) -> Package:
    """Return the 1,797 scans as rows that `read` yields from their file."""
    return Package(
        "scikit-learn",
        "sklearn/datasets/data/digits.csv.gz",
        sha256="09f66e6debdee2cd2b5ae59e0d6abbb73fc2b0e0185d2e1957e9ebb51e23aa22",
        read=read,
    )


def scans(file: Path) -> Iterator[dict[str, Any]]:
    """Yield one row a line: 64 grey values from 0 to 16, then the digit."""
    for line in np.loadtxt(file, delimiter=",", dtype=np.int64):
        yield {"image": (line[:64].reshape(8, 8) * 255 // 16).astype(np.uint8), "digit": str(line[64])}


def canvases(file: Path, side: int, margin: int = 0) -> Iterator[tuple[NDArray[np.uint8], list[Placed]]]:
    """Yield square canvases of one to three digits that do not overlap; `margin` stays free below and to the right."""
    digits = [(row["image"].repeat(SCALE, 0).repeat(SCALE, 1), int(row["digit"])) for row in scans(file)]
    rng = np.random.default_rng(0)
    for _ in range(CANVASES):
        canvas, placed = np.zeros((side, side), np.uint8), []
        for _ in range(rng.integers(1, 4)):
            image, digit = digits[rng.integers(len(digits))]
            y, x = rng.integers(0, side - margin - len(image) + 1, 2).tolist()
            place = canvas[y : y + len(image), x : x + len(image)]
            if not place.any():
                place[:] = image
                placed.append(Placed(digit, y, x, image >= INK))
        yield canvas, placed
