"""The toy's work in a plain process that belongs to nobody: `python -m harness.selftest.bare SIZE`.

It answers a line when it is awake, as a worker does that is given its batch, and the next one with the nanoseconds of
one call: the comparison for what a worker adds.
"""

from __future__ import annotations

import sys
from time import perf_counter_ns

import numpy as np

from harness.selftest.toys import product


def main(size: int) -> None:
    """Serve until standard input ends."""
    run = product(size)
    arrays = {"x": np.ones((1, 4), dtype=np.float32)}
    for _ in sys.stdin:
        print(flush=True)  # noqa: T201  # standard output is its pipe
        sys.stdin.readline()
        began = perf_counter_ns()
        run(arrays)
        print(perf_counter_ns() - began, flush=True)  # noqa: T201  # standard output is its pipe


if __name__ == "__main__":
    main(int(sys.argv[1]))
