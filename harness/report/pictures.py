"""What a comparison looks like: each picture a figure and, in words, what it shows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.records.schema import Result
from harness.report import footprint, speeds
from harness.report.drawing import Picture
from harness.report.svg import style

DRAWN = (
    speeds.speedups,
    speeds.tradeoff,
    speeds.latencies,
    speeds.lengths,
    footprint.starting,
    footprint.sizes,
)
"""In the order of the page; each gives None where results do not allow it."""


def pictures(group: Sequence[Result]) -> Iterator[Picture]:
    """Those that the results of one comparison allow."""
    measured = [result for result in group if result.series]
    if not measured:
        return
    with style():
        for draw in DRAWN:
            found = draw(measured)
            if found is not None:
                yield found
