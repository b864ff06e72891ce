"""Whether an arm keeps memory for every answer: its worker would run out of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.errors import WorkerError
from harness.rounds.crew import Crew
from harness.rounds.samples import Load

PARTS = 8
"""Readings after the first; the later half of them is judged, for allocators settle."""
MOST, LEAST = 8, 2
"""Calls in each part."""
ANSWERING_S = 1.0
"""The calls of all parts last about so long, where so few are enough."""
LONGEST_S = 10.0
"""An arm that needs more for the fewest calls is not looked at; nor one that would be silent for half its timeout."""
LEAK_BYTES = 64 * 1024
"""A call. Of MiniLM, a ViT, an LSTM, a bag and a writer, on eight backends, every one stood still in one of the judged
parts at least; the LSTM on PyTorch went up and down by 368 KiB a call, the others rose by 34 in one part at most."""


def look(crew: Crew, load: Load, call_ns: Mapping[str, float], timeout_s: float) -> None:
    """Ask every arm, which took so long for a call, the same rows again and again; one that grows each time leaves."""
    batch = load.arrays(load.rows(0))
    longest_s = min(LONGEST_S, timeout_s / 2)
    silent = False
    for name in list(crew.workers):
        calls = planned(call_ns[name], longest_s)
        if calls == 0:
            crew.found.unprobed.append(
                f"{name}: not checked for a leak: {PARTS * LEAST} calls would take "
                f"{PARTS * LEAST * call_ns[name] / 1e9:.0f} s, more than {longest_s:g}"
            )
            continue
        with crew.guard(name):
            crew.workers[name].put(batch)
            held = crew.workers[name].repeat(PARTS, calls)
            silent = silent or not held
            _check(name, held, calls)
    if silent:
        crew.found.unprobed.append("not checked for leaks: this system does not tell what memory a process holds")


def planned(call_ns: float, longest_s: float) -> int:
    """Calls in each part; none for an arm that needs longer for the fewest."""
    if PARTS * LEAST * call_ns > longest_s * 1e9:
        return 0
    return max(LEAST, min(MOST, int(ANSWERING_S * 1e9 / PARTS / call_ns)))


def leaked(held: Sequence[int], calls: int) -> float:
    """Bytes a call by which a process grew over the later half of these readings, with so many calls between two.

    0 unless each reading of that half is above all before it by LEAK_BYTES a call: what goes up and down has settled.
    """
    first = len(held) // 2
    rises = [held[at] - max(held[:at]) for at in range(first + 1, len(held))]
    if not rises or min(rises) < LEAK_BYTES * calls:
        return 0.0
    return (held[-1] - held[first]) / (len(rises) * calls)


def _check(name: str, held: Sequence[int], calls: int) -> None:
    """WorkerError for readings that grow."""
    grown = leaked(held, calls)
    if grown:
        raise WorkerError(
            f"{name}: it leaks memory: asked the same rows {PARTS * calls} times, its worker grew from "
            f"{held[0] / 1e6:.0f} to {held[-1] / 1e6:.0f} MB, at last by {grown / 1e6:.2g} MB a call"
        )
