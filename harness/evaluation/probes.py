"""Probes of one worker: does it remember answers, does it leak memory?"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from statistics import median
from typing import TYPE_CHECKING

from harness.errors import WorkerError
from harness.stats.intervals import median_interval

if TYPE_CHECKING:
    from harness.contracts.kind import Arrays
    from harness.measure.client import Worker

PAIRS = 16
"""Rows of one shape, each timed when new and when just seen."""
CONFIDENCE = 0.998
"""15 of 16 pairs must agree, so that an honest arm on a noisy machine is not refused."""
SEEN_BEFORE = 1.10
"""Honest calls on rows of one shape differ by a thousandth; by this much only if work was left out."""
LEAK_PARTS = 8
"""Memory readings after the first; the later half is judged, since allocators settle."""
MAX_CALLS, MIN_CALLS = 8, 2
"""Calls between two readings."""
CALLING_S = 1.0
"""Intended duration of all calls, if that many are enough."""
MAX_CALLING_S = 10.0
"""An arm whose fewest calls take longer is not checked, nor one that would be silent for half its timeout."""
LEAK_BYTES = 64 * 1024
"""Growth per call. Five models on eight backends each stood still in at least one of the judged parts; an LSTM on
PyTorch rose and fell by 368 KiB per call, the others rose by 34 KiB in at most one part."""


def check_memoization(name: str, shapes: Sequence[Hashable], time_ns: Callable[[int], int]) -> str:
    """Time rows of one shape when new and when just seen; WorkerError for a worker that is too fast on seen ones.

    There is one of `shapes` for each row. `time_ns` asks the worker called `name` for a row; it must not have answered
    any before. Return why the check was impossible, or an empty string.
    """
    ((most_common, _),) = Counter(shapes).most_common(1)
    rows = [row for row, shape in enumerate(shapes) if shape == most_common][-PAIRS:]
    if len(rows) < PAIRS:
        return f"not checked for remembered answers: only {len(rows)} rows share a shape; the check needs {PAIRS}"
    rng, ratios = random.Random(0), []
    for row in rows:
        new_ns = time_ns(row)
        # Once or twice more: some runtimes are slower at every other call, which would look like memory if always once.
        ratios.append(math.log(new_ns / median([time_ns(row) for _ in range(rng.choice((1, 2)))])))
    interval = median_interval(ratios, CONFIDENCE)
    if interval.low > math.log(SEEN_BEFORE):
        raise WorkerError(
            f"{name}: answers rows that it has just seen {math.exp(interval.estimate):.1f} times as fast as new rows "
            "of the same shape; it remembers answers, so its time means nothing"
        )
    return ""


def check_leaks(worker: Worker, batch: Arrays) -> str:
    """Call the worker on the same batch again and again; WorkerError if it grows each time.

    Return why that was impossible, or an empty string.
    """
    worker.put(batch)
    call_ns, max_s = worker.run().elapsed_ns, min(MAX_CALLING_S, worker.timeout_s / 2)
    if (calls := plan_calls(call_ns, max_s)) == 0:
        fewest = LEAK_PARTS * MIN_CALLS
        return (
            f"{worker.name}: not checked for a leak: {fewest} calls would take {fewest * call_ns / 1e9:.0f} s, "
            f"more than {max_s:g}"
        )
    worker.put(batch)
    held = worker.repeat(LEAK_PARTS, calls)
    if leaked := leaked_bytes(held, calls):
        raise WorkerError(
            f"{worker.name}: leaks memory: over {LEAK_PARTS * calls} calls on the same rows its worker grew from "
            f"{held[0] / 1e6:.0f} to {held[-1] / 1e6:.0f} MB, in the end by {leaked / 1e6:.2g} MB per call"
        )
    return "" if held else "not checked for leaks: this system does not report a process's own memory"


def plan_calls(call_ns: float, max_s: float) -> int:
    """Return the number of calls between two readings; 0 for an arm whose fewest calls take longer than `max_s`."""
    if LEAK_PARTS * MIN_CALLS * call_ns > max_s * 1e9:
        return 0
    return max(MIN_CALLS, min(MAX_CALLS, int(CALLING_S * 1e9 / LEAK_PARTS / call_ns)))


def leaked_bytes(held: Sequence[int], calls: int) -> float:
    """Return the growth per call over the later half of these readings, `calls` calls apart.

    0 unless each reading of that half is LEAK_BYTES per call above all before it: else memory has settled.
    """
    first = len(held) // 2
    rises = [held[at] - max(held[:at]) for at in range(first + 1, len(held))]
    if not rises or min(rises) < LEAK_BYTES * calls:
        return 0.0
    return (held[-1] - held[first]) / (len(rises) * calls)
